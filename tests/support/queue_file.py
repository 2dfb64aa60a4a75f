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


def make_0_1_0(file: Path, count: int) -> None:
    """A file as a killed daemon of version 0.1.0 left it: half of the runs are over, a hundred running, the others due."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.executescript("".join(step.script for step in migrations(PACKAGE)[:2]))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.execute(_RUNS_OF_0_1_0, {"count": count})
        connection.execute("PRAGMA journal_mode = WAL")


_RUNS_OF_0_1_0 = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, priority, run_at, due_order, max_attempts, created_at,
    attempts, claim_token, server, boot_id, worker_pid, started_at, finished_at, payload, result)
SELECT printf('01900000-0000-7000-8000-%012x', n), 'greet', 'default', 'default',
    CASE n % 4 WHEN 0 THEN 'pending' WHEN 1 THEN iif(n < 400, 'running', 'pending') WHEN 2 THEN 'succeeded' ELSE 'dead' END,
    n % 4 = 0 OR n % 4 = 1 AND n >= 400, 0, 1700000000000 + n, 1700000000000 + n, 3, 1700000000000 + n, n % 4 / 2, n % 4 > 0,
    CASE WHEN n % 4 > 0 THEN 'here' END, CASE WHEN n % 4 > 0 THEN 'before' END, CASE WHEN n % 4 > 0 THEN 1 END,
    CASE WHEN n % 4 > 0 THEN 1700000000000 + n END,
    CASE WHEN n % 4 > 1 THEN unixepoch() * 1000 END, '{"n": 1}', CASE n % 4 WHEN 2 THEN 'null' END
FROM numbers
"""
