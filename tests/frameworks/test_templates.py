"""The templates of `init` for web frameworks: each new project passes its tests, and serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import templates

SIGN_UP = '{"email": "ann@example.com", "name": "Ann"}'


@pytest.mark.parametrize(
    ("template", "workflow", "payload", "result"),
    [
        ("web-fastapi", "welcome", SIGN_UP, "welcomed Ann"),
        ("web-flask", "welcome", SIGN_UP, "welcomed Ann"),
        ("web-django", "hello", '"Ann"', "Hello, Ann!"),
    ],
)
def test_a_new_project_of_a_framework_passes_its_tests_and_executes_its_workflow(
    tmp_path: Path, template: str, workflow: str, payload: str, result: str
) -> None:
    templates.make(tmp_path, template, "--no-git")
    templates.passes_its_tests(tmp_path)
    assert templates.result_of(tmp_path, workflow, payload) == result
