"""What the gate tests of a project on PostgreSQL, where there is one; `make test-postgres` runs the whole suite on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import PostgresBackend
from tests.support.fixtures import served
from tests.support.postgres import Database
from tests.support.project import Project
from tests.support.runs import STEPS, charged, release


@pytest.fixture
def shared(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose queue is in a database."""
    yield from served(Project(tmp_path, PostgresBackend(database)))


def test_a_run_with_steps_is_executed_and_survives_a_kill_of_its_daemon(shared: Project) -> None:
    shared.workflow("a.py", STEPS)
    before = shared.command("enqueue", "two-steps", "1", "--json")
    assert before.returncode == 0, "a client needs no daemon"
    shared.serve()
    shared.wait_for_fact("second")
    shared.stop(signal.SIGKILL)
    shared.serve()
    release(shared)
    (run_id,) = shared.call("ids", workflow="two-steps")["ids"]
    assert charged(shared.wait(run_id)) == ("succeeded", 1, 0)
    assert {run["id"] for run in shared.call("runs")["runs"]} == {run_id}
