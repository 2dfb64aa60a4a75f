"""`tako-lite init`: what it writes, what it leaves alone, and that the project works at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import templates
from tests.support.project import REPOSITORY, command_in

pytestmark = pytest.mark.long

SECOND_COMMANDS = [
    ("minimal", "hello", '{"name": "Ann"}', "Hello, Ann!"),
    ("cron", "nightly", "null", ["backup done", "check done"]),
    ("agent", "agent", '{"question": "add 4 and 38"}', "The sum is 42."),
]


@pytest.mark.parametrize(("template", "workflow", "payload", "result"), SECOND_COMMANDS)
def test_a_new_project_passes_its_tests_and_executes_its_workflow(
    tmp_path: Path, template: str, workflow: str, payload: str, result: Any
) -> None:
    answer = templates.make(tmp_path, template, "--agents", "--no-git")
    assert {"tako.toml", "tako.schema.json", "pyproject.toml", ".gitignore", "AGENTS.md"} <= set(answer["made"])
    assert any(command.startswith(f"tako-lite enqueue {workflow}") for command in answer["next"])
    templates.passes_its_tests(tmp_path)
    assert templates.result_of(tmp_path, workflow, payload) == result


def test_files_that_exist_stay_and_are_listed(tmp_path: Path) -> None:
    (tmp_path / "tako.toml").write_text('name = "mine"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    (tmp_path / ".gitignore").write_text("*.log")
    done = command_in(tmp_path, "init", "--no-git")
    assert done.returncode == 0
    assert "tako.toml exists and was left as it is" in done.stderr
    assert (tmp_path / "tako.toml").read_text() == 'name = "mine"\n'
    assert (tmp_path / "pyproject.toml").read_text() == '[project]\nname = "mine"\n'
    assert (tmp_path / ".gitignore").read_text() == "*.log\n.tako/\n"
    assert (tmp_path / "workflows/hello.py").exists()


def test_with_force_the_new_file_goes_beside_the_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "tako.toml").write_text('name = "mine"\n')
    done = command_in(tmp_path, "init", "--force", "--no-git", "--json")
    assert json.loads(done.stdout)["beside"] == ["tako.toml.tako-new"]
    assert (tmp_path / "tako.toml").read_text() == 'name = "mine"\n'
    assert "#:schema ./tako.schema.json" in (tmp_path / "tako.toml.tako-new").read_text()


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    assert command_in(tmp_path, "init", "--no-git").returncode == 0
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    again = command_in(tmp_path, "init", "--no-git", "--json")
    assert (json.loads(again.stdout)["made"], json.loads(again.stdout)["kept"]) == ([], [])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("file", "text", "template"),
    [
        ("manage.py", 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")\n', "web-django"),
        ("pyproject.toml", '[project]\ndependencies = ["fastapi>=0.115", "httpx"]\n', "web-fastapi"),
        ("requirements.txt", "requests\nFlask==3.1\n", "web-flask"),
        ("pyproject.toml", "not toml [", "minimal"),
    ],
)
def test_the_template_follows_from_what_is_there(tmp_path: Path, file: str, text: str, template: str) -> None:
    (tmp_path / file).write_text(text)
    made = json.loads(command_in(tmp_path, "init", "--no-git", "--json").stdout)
    assert made["template"] == template
    assert "app.py" not in made["made"] and "config/settings.py" not in made["made"]
    if template == "web-django":
        assert 'DJANGO_SETTINGS_MODULE = "mysite.settings"' in (tmp_path / "tako.toml").read_text()


def test_a_folder_a_name_and_a_git_repository_are_made(tmp_path: Path) -> None:
    done = command_in(tmp_path, "init", "my shop", "--name", "shop")
    assert done.returncode == 0
    assert 'name = "shop"' in (tmp_path / "my shop/tako.toml").read_text()
    ignored = subprocess.run(
        ["git", "status", "--short", "--ignored"], cwd=tmp_path / "my shop", capture_output=True, text=True
    )
    assert "?? tako.toml" in ignored.stdout
    assert command_in(tmp_path, "init", "my shop").returncode == 0
    invalid = command_in(tmp_path, "init", "other", "--name", "my shop")
    assert (invalid.returncode, (tmp_path / "other").exists()) == (2, False)


def test_a_name_for_the_project_is_made_of_the_name_of_the_folder(tmp_path: Path) -> None:
    assert command_in(tmp_path, "init", "Ünsere Läden 2", "--no-git").returncode == 0
    assert command_in(tmp_path / "Ünsere Läden 2", "check").returncode == 0


@pytest.mark.parametrize("requirements", ["pyproject.toml", "requirements.txt"])
def test_a_container_of_a_project_installs_its_packages_and_ignores_its_state(tmp_path: Path, requirements: str) -> None:
    if requirements == "requirements.txt":
        (tmp_path / requirements).write_text("tako-lite[web]\n")
    assert command_in(tmp_path, "init", "--no-git", "--deploy", "compose", "--name", "My.Shop").returncode == 0
    dockerfile = (tmp_path / "deploy/Dockerfile").read_text()
    assert (f"COPY {requirements} ." in dockerfile, f"-r {requirements}\n" in dockerfile) == (True, True)
    assert (REPOSITORY / "examples/container/Dockerfile").read_text().partition("# The state")[2] in dockerfile
    compose = (tmp_path / "deploy/compose.yaml").read_text()
    assert "name: my-shop\n" in compose
    assert (tmp_path / "deploy" / re.findall(r"context: (\S+)", compose)[0]).resolve() == tmp_path.resolve()
    assert (tmp_path / re.findall(r"dockerfile: (\S+)", compose)[0]).is_file()
    assert ".tako" in (tmp_path / ".dockerignore").read_text().splitlines()


def test_the_script_of_a_server_checks_the_project_and_installs_its_units(tmp_path: Path) -> None:
    assert command_in(tmp_path, "init", "--no-git", "--deploy", "systemd", "--name", "shop").returncode == 0
    said, script = tmp_path / "said", tmp_path / "deploy/install.sh"
    program = f'#!/bin/sh\necho "$(basename "$0") $*" >> "{said}"\n'
    for name in (".venv/bin/tako-lite", "bin/sudo"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    subprocess.run([script], cwd="/", env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}, check=True)
    assert said.read_text().splitlines() == [
        "tako-lite check",
        f"sudo {tmp_path}/.venv/bin/tako-lite systemd --install",
        "sudo systemctl daemon-reload",
        "sudo systemctl enable --now tako-shop.service",
        "tako-lite status",
    ]
