"""The queue file of a project, and one of an older release."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tako_lite.records import new_id
from tako_lite.states import RUN_STATES
from tako_lite.store.migrate import migrations
from tako_lite.store.sqlite.file import APPLICATION_ID, PACKAGE
from tests.support.project import Project


def queue_file(project: Project) -> Path:
    return project.state_dir / "queue.db"


def wal(project: Project) -> Path:
    return project.state_dir / "queue.db-wal"


def make_older(file: Path) -> dict[str, str]:
    """A file with the first schema and a run in each state; their ids by their states."""
    ids = {state: new_id() for state in RUN_STATES}
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.executescript(migrations(PACKAGE)[0].script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executemany(
            "INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, priority, run_at, due_order,"
            " max_attempts, created_at, payload) VALUES (?, 'greet', 'default', 'default', ?, 1, 0, 0, 0, 3, 0, '{}')",
            [(id, state) for state, id in ids.items()],
        )
    return ids
