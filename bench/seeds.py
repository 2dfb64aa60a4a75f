"""Queue files that hold work of the past or of the future already, written without a daemon."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from bench.figures import Plan
from tako_lite.records import NewRun, new_ids
from tako_lite.store.base import Completed
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import commit
from tako_lite.store.transitions import claims, enqueue, groups, runs
from tako_lite.store.transitions.transaction import Transaction

BATCH = 10_000
HOUR_MS = 3_600_000


def finished(plan: Plan, count: int) -> Path:
    """A queue with so many runs that succeeded an hour ago; made once for all runs of a scenario."""
    return _cached(plan, f"finished-{count}", count, ended=True)


def pending(plan: Plan, count: int) -> Path:
    """A queue with so many due runs in group `default`, which is paused."""
    return _cached(plan, f"pending-{count}", count, ended=False)


def _cached(plan: Plan, name: str, count: int, *, ended: bool) -> Path:
    path = plan.folder / f"{name}.db"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        _write(unfinished, count, ended)
        unfinished.rename(path)
    return path


def _write(path: Path, count: int, ended: bool) -> None:
    connection = connect(path, "process")
    now = time.time_ns() // 1_000_000 - HOUR_MS
    try:
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            new = [NewRun(id, "work", "default", "workflow", '{"n": 1}', now, 0, 3) for id in new_ids(size)]
            steps = [partial(_enqueue, new), partial(_end, size)] if ended else [partial(_enqueue, new)]
            commit(connection, now, steps)
        if not ended:
            commit(connection, now, [lambda transaction: groups.pause(transaction, "default", True)])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def _enqueue(new: list[NewRun], transaction: Transaction) -> None:
    enqueue.enqueue(transaction, new)


def _end(size: int, transaction: Transaction) -> None:
    got = claims.claim(transaction, "default", size, None, None, "bench", "00000000-0000-7000-8000-000000000000")
    runs.complete(transaction, [Completed(run.id, run.token, "null", os.getpid()) for run in got.runs])
