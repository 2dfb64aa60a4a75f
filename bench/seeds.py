"""Queue files that hold work of the past or of the future already, written without a daemon: one row, many times."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.figures import Plan
from tako_lite.records import NewRun, new_id
from tako_lite.store.base import Completed
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import commit
from tako_lite.store.transitions import claims, enqueue, groups, runs
from tako_lite.store.transitions.transaction import Transaction

HOUR_MS: Final = 3_600_000
GROUP: Final = "default"
_AT: Final = ":at + n / 100"
"""When the n-th run was enqueued, in milliseconds: a hundred in each."""
_ID: Final = f"printf('%08x-%04x-7%03x-8000-%012x', ({_AT}) / 65536, ({_AT}) % 65536, n % 100, n)"
_CHANGED: Final = {
    "id": _ID,
    "created_at": _AT,
    "run_at": _AT,
    "due_order": _AT,
    "started_at": f"started_at - started_at + {_AT}",  # null stays null
    "finished_at": f"finished_at - finished_at + {_AT}",
}
_REPEAT: Final = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO runs ({columns}) SELECT {values} FROM numbers, runs WHERE id = :id
"""


def finished(plan: Plan, count: int) -> Path:
    """A queue with so many runs that succeeded an hour ago; made once for all runs of a scenario."""
    return seeded(plan, finished=count)


def pending(plan: Plan, count: int) -> Path:
    """A queue with so many due runs in group `default`, which is paused."""
    return seeded(plan, pending=count)


def seeded(plan: Plan, *, finished: int = 0, pending: int = 0) -> Path:
    """A queue with runs that succeeded an hour ago, and after them due ones in group `default`, which they leave paused."""
    path = plan.folder / f"finished-{finished}-pending-{pending}.db"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        with closing(connect(unfinished, "process")) as connection:
            connection.execute("PRAGMA cache_size = -400000")
            connection.execute("PRAGMA journal_mode = OFF").fetchall()  # the file is thrown away if this fails
            now = time.time_ns() // 1_000_000 - HOUR_MS
            if finished:
                _repeat(connection, now, finished, ended=True)
            if pending:
                _repeat(connection, now + finished // 100 + 1, pending, ended=False)
                commit(connection, now, [lambda transaction: groups.pause(transaction, GROUP, True)])
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        unfinished.rename(path)
    return path


def _repeat(connection: sqlite3.Connection, at: int, count: int, *, ended: bool) -> None:
    """Store one run as a daemon would, and put as many copies of its row in its place."""
    id = new_id()

    def store(transaction: Transaction) -> None:
        enqueue.enqueue(transaction, [NewRun(id, "work", GROUP, "workflow", '{"n": 1}', at, 0, 3)])
        if ended:
            got = claims.claim(transaction, GROUP, 1, None, None, "bench", "00000000-0000-7000-8000-000000000000")
            runs.complete(transaction, [Completed(run.id, run.token, "null", os.getpid()) for run in got.runs])

    commit(connection, at, [store])
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")]
    connection.execute("BEGIN IMMEDIATE")
    repeat = _REPEAT.format(columns=", ".join(columns), values=", ".join(_CHANGED.get(name, name) for name in columns))
    connection.execute(repeat, {"count": count, "at": at, "id": id})
    connection.execute("DELETE FROM runs WHERE id = ?", (id,))
    connection.execute("COMMIT")
