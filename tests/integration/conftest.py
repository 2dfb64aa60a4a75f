"""The fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import live, project

__all__ = ["live", "project"]


@pytest.fixture(autouse=True)
def _only_its_own_workflows(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delete the workflow files that a test adds to a live project: its workers would import those of every test before."""
    if "live" not in request.fixturenames:
        yield
        return
    folder = request.getfixturevalue("live").root / "workflows"
    before = set(folder.rglob("*.py"))
    yield
    for file in set(folder.rglob("*.py")) - before:
        file.unlink()
