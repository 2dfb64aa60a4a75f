"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.support.teardown import tear_down


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project without workflows; its daemon is not started yet, and ends with the test."""
    made = Project(tmp_path)
    yield made
    tear_down(made)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose daemon runs for all tests of a module; each adds the workflows that it needs."""
    made = Project(tmp_path_factory.mktemp("live"))
    made.serve()
    yield made
    tear_down(made)
