"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import Backend
from tests.support.project import Project
from tests.support.teardown import tear_down


@pytest.fixture
def project(backend: Backend, tmp_path: Path) -> Iterator[Project]:
    """A project without workflows; its daemon is not started yet, and ends with the test."""
    yield from served(Project(tmp_path, backend))


@pytest.fixture(scope="module")
def live(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose daemon runs for all tests of a module; each adds the workflows that it needs."""
    made = Project(tmp_path_factory.mktemp("live"), backend)
    made.serve()
    yield from served(made)


def served(made: Project) -> Iterator[Project]:
    """A project until its test ends; then its runs and its daemon end, the checker judges, and its queue is deleted."""
    yield made
    tear_down(made)
    made.backend.forget(made.root)
