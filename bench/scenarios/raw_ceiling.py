"""The ceiling: plain `sqlite3` on the same disk, with the least schema that could do, one transaction for a hundred runs."""

from __future__ import annotations

import sqlite3
import time
import uuid
from statistics import median

from bench.figures import Goal, Plan

MOST_RUNS = 99
BATCH = 100
GOALS = {
    "claim_complete": Goal("raw ceiling: claim + complete, batches of 100"),
    "lone_insert": Goal("raw ceiling: a lone insert", "ms"),
}

_SCHEMA = """
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
_INSERT = (
    "INSERT INTO runs (id, workflow, worker_group, state, run_at, payload, created_at) VALUES (?, ?, ?, 'pending', ?, ?, ?)"
)
_CLAIM = """
UPDATE runs SET state = 'running', claim_token = claim_token + 1, started_at = ?
WHERE rowid IN (SELECT rowid FROM runs WHERE worker_group = 'default' AND state = 'pending' ORDER BY run_at, id LIMIT ?)
RETURNING id, claim_token
"""
_COMPLETE = """
UPDATE runs SET state = 'succeeded', result = ?, finished_at = ?, attempts = attempts + 1
WHERE id = ? AND claim_token = ? AND state = 'running'
"""


def measure(plan: Plan) -> dict[str, float]:
    path = plan.folder / f"raw-{uuid.uuid4().hex}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        count = plan.size(30_000, 15_000)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [_row(number) for number in range(count)])
        connection.execute("COMMIT")
        start = time.perf_counter()
        _drain(connection)
        elapsed = time.perf_counter() - start
        return {"claim_complete": count / elapsed, "lone_insert": median(_lone_inserts(connection, count)) * 1000}
    finally:
        connection.close()
        for file in plan.folder.glob(f"{path.name}*"):
            file.unlink()


def _drain(connection: sqlite3.Connection) -> None:
    done: list[tuple[str, int, str, int]] = []
    while True:
        now = time.time_ns() // 1_000_000
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_COMPLETE, done)
        claimed = connection.execute(_CLAIM, (now, BATCH)).fetchall()
        connection.execute("COMMIT")
        if not claimed:
            return
        done = [("null", now, id, token) for id, token in claimed]


def _lone_inserts(connection: sqlite3.Connection, first: int) -> list[float]:
    times = []
    for number in range(first, first + 200):
        start = time.perf_counter()
        connection.execute(_INSERT, _row(number))
        times.append(time.perf_counter() - start)
    return times


def _row(number: int) -> tuple[str, str, str, int, str, int]:
    """Ids ascend, as those of our runs do."""
    return (
        str(uuid.UUID(int=(1 << 120) + number)),
        "work",
        "default",
        1_800_000_000_000,
        f'{{"n":{number}}}',
        1_800_000_000_000,
    )
