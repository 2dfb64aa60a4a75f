"""The ceiling: plain `sqlite3` on the same disk, with nothing around it, one transaction for a batch of runs.

Measured with this project's own tables and statements, which is what the other scenarios are a share of, and with the least
table that could do, which shows what ours cost.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench.figures import Goal, Plan
from tako_lite.records import Claimed, NewRun, new_ids
from tako_lite.store.sqlite import queries
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import commit
from tako_lite.store.transitions.enqueue import enqueue_many
from tako_lite.store.transitions.rows import CompletedRun, InsertedRun

MOST_RUNS = 99
GOALS = {
    "claim_complete": Goal("raw ceiling: claim + complete, batches of 100"),
    "claim_complete_10": Goal("raw ceiling: claim + complete, batches of 10"),
    "least": Goal("raw ceiling: the same with the least table, batches of 100"),
    "lone_insert": Goal("raw ceiling: inserts one by one"),
}

_LEAST = """
CREATE TABLE runs (
    id           TEXT    NOT NULL PRIMARY KEY,
    workflow     TEXT    NOT NULL,
    worker_group TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    run_at       INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    claim_token  INTEGER NOT NULL DEFAULT 0,
    payload      TEXT    NOT NULL,
    result       TEXT,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER
) STRICT;
CREATE INDEX runs_ready ON runs (worker_group, run_at, id) WHERE state = 'pending';
"""
_DUE: Final = 1_700_000_000_000


class _Work(NamedTuple):
    """How a batch is claimed, and completed: rows of id and token."""

    claim: Callable[[sqlite3.Connection, int, int], list[tuple[str, int]]]
    complete: Callable[[sqlite3.Connection, int, list[tuple[str, int]]], Any]


def measure(plan: Plan) -> dict[str, float]:
    count = plan.size(30_000, 10_000)
    with own(plan.folder, count) as connection:
        hundred = _drain(connection, _OWN, 100, count)
    with own(plan.folder, count // 5) as connection:
        ten = _drain(connection, _OWN, 10, count // 5)
        alone = _lone_inserts(connection)
    with _least(plan.folder, count) as connection:
        least = _drain(connection, _LEAST_WORK, 100, count)
    return {"claim_complete": hundred, "claim_complete_10": ten, "least": least, "lone_insert": alone}


def _drain(connection: sqlite3.Connection, work: _Work, batch: int, count: int) -> float:
    """Runs a second."""
    done: list[tuple[str, int]] = []
    completed = 0
    start = time.perf_counter()
    while True:
        now = time.time_ns() // 1_000_000
        connection.execute("BEGIN IMMEDIATE")
        work.complete(connection, now, done)
        completed += len(done)
        done = work.claim(connection, now, batch)
        connection.execute("COMMIT")
        if not done:
            break
    elapsed = time.perf_counter() - start
    if completed != count:
        raise RuntimeError(f"{completed} runs were completed, not {count}")
    return count / elapsed


def _lone_inserts(connection: sqlite3.Connection) -> float:
    times = []
    for id in new_ids(200):
        row = inserted(NewRun(id, "work", "default", "default", '{"n":1}', _DUE, 0, 3))
        bound = queries.runs.insert.bound(InsertedRun)
        values = row if bound.values is None else bound.values(row)
        start = time.perf_counter()
        connection.execute(bound.text, values)
        times.append(time.perf_counter() - start)
    return 1 / median(times)


# With this project's tables and statements


def claim(connection: sqlite3.Connection, now: int, batch: int) -> list[tuple[str, int]]:
    names = {"group": "default", "hold": None, "limit": batch, "server": "bench", "boot_id": "bench", "now": now}
    found = connection.execute(queries.runs.claim, {**names, "allowed": None}).fetchall()
    return [(run.id, run.token) for run in map(Claimed._make, found)]


def complete(connection: sqlite3.Connection, now: int, done: list[tuple[str, int]]) -> None:
    rows = [CompletedRun(id, token, "null", 1, now) for id, token in done]
    bound = queries.runs.complete.bound(CompletedRun)
    connection.executemany(bound.text, rows if bound.values is None else map(bound.values, rows))


def inserted(run: NewRun) -> InsertedRun:
    return InsertedRun._make(getattr(run, field, _DUE) for field in InsertedRun._fields)


_OWN = _Work(claim, complete)


@contextmanager
def own(folder: Path, count: int) -> Iterator[sqlite3.Connection]:
    path = folder / "raw" / "own.db"
    connection = connect(path, "disk")
    like = NewRun("", "work", "default", "default", "", _DUE, 0, 3)
    commit(
        connection, _DUE, [lambda transaction: enqueue_many(transaction, [(like, [(id, '{"n":1}') for id in new_ids(count)])])]
    )
    yield from _closing(connection, path)


# With the least table


def _claim_least(connection: sqlite3.Connection, now: int, batch: int) -> list[tuple[str, int]]:
    chosen = "SELECT rowid FROM runs WHERE worker_group = 'default' AND state = 'pending' ORDER BY run_at, id LIMIT ?"
    update = "UPDATE runs SET state = 'running', claim_token = claim_token + 1, started_at = ?"
    return connection.execute(f"{update} WHERE rowid IN ({chosen}) RETURNING id, claim_token", (now, batch)).fetchall()


def _complete_least(connection: sqlite3.Connection, now: int, done: list[tuple[str, int]]) -> None:
    update = "UPDATE runs SET state = 'succeeded', result = 'null', finished_at = ?, attempts = attempts + 1"
    where = "WHERE id = ? AND claim_token = ? AND state = 'running'"
    connection.executemany(f"{update} {where}", [(now, id, token) for id, token in done])


_LEAST_WORK = _Work(_claim_least, _complete_least)


@contextmanager
def _least(folder: Path, count: int) -> Iterator[sqlite3.Connection]:
    path = folder / "raw" / "least.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_LEAST)
    insert = (
        "INSERT INTO runs (id, workflow, worker_group, state, run_at, payload, created_at) "
        "VALUES (?, 'work', 'default', 'pending', ?, '{}', ?)"
    )
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(insert, [(id, _DUE, _DUE) for id in new_ids(count)])
    connection.execute("COMMIT")
    yield from _closing(connection, path)


def _closing(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    finally:
        connection.close()
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
