"""The least programs that drain: one transaction, one line to the worker and one back for the runs of all slots.

The statements are those of the raw ceiling in such batches; what is added is a process that gets each batch and reports it.
With three steps, the same step of all runs in a batch is one more transaction, one line and one back. The floor under `drain`
and `three_step` on the same machine.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from bench.figures import Goal, Plan
from bench.scenarios.raw_ceiling import claim, complete, own
from tako_lite.store.base import SavedStep
from tako_lite.store.sqlite import queries

MOST_RUNS = 99
GOALS = {
    "ten": Goal("least program: batches of 10 to a worker and back"),
    "hundred": Goal("least program: batches of 100 to a worker and back"),
    "steps": Goal("least program: batches of 100 with three steps"),
}
STEPS: Final = ("first", "second", "third")
_FORK: Final = multiprocessing.get_context("fork")


def measure(plan: Plan) -> dict[str, float]:
    return {
        "ten": _per_second(plan, plan.size(15_000, 5_000), 10),
        "hundred": _per_second(plan, plan.size(30_000, 10_000), 100),
        "steps": _per_second(plan, plan.size(10_000, 3_000), 100, STEPS),
    }


def _per_second(plan: Plan, count: int, slots: int, steps: Sequence[str] = ()) -> float:
    near, far = socket.socketpair()
    worker = _FORK.Process(target=_work, args=(far, near))
    worker.start()
    far.close()
    with near, near.makefile("rb") as replies, own(plan.folder, count) as connection:
        start = time.perf_counter()
        done = _drain(connection, near, replies, slots, steps)
        elapsed = time.perf_counter() - start
    worker.join()
    if done != count:
        raise RuntimeError(f"{done} runs were completed, not {count}")
    return count / elapsed


def _drain(connection: sqlite3.Connection, link: socket.socket, replies: BinaryIO, slots: int, steps: Sequence[str]) -> int:
    finished: list[tuple[str, int]] = []
    count = 0
    while True:
        now = time.time_ns() // 1_000_000
        connection.execute("BEGIN IMMEDIATE")
        complete(connection, now, finished)
        count += len(finished)
        claimed = claim(connection, now, slots)
        connection.execute("COMMIT")
        if not claimed:
            return count
        finished = _exchange(link, replies, [(id, token, '{"n": 1}') for id, token in claimed])
        for name in steps:
            connection.execute("BEGIN IMMEDIATE")
            _save(connection, name, time.time_ns() // 1_000_000, finished)
            connection.execute("COMMIT")
            finished = _exchange(link, replies, [(id, token, "1") for id, token in finished])


def _exchange(link: socket.socket, replies: BinaryIO, batch: list[tuple[str, int, str]]) -> list[tuple[str, int]]:
    link.sendall(json.dumps(batch).encode() + b"\n")
    return [(id, token) for id, token, _ in json.loads(replies.readline())]


def _save(connection: sqlite3.Connection, name: str, now: int, runs: list[tuple[str, int]]) -> None:
    rows: list[Any] = [SavedStep(id, token, name, "run", "succeeded", "1", None, 1, now, now) for id, token in runs]
    bound = queries.steps.save.bound(SavedStep)
    connection.executemany(bound.text, rows if bound.values is None else map(bound.values, rows))


def _work(link: socket.socket, not_ours: socket.socket) -> None:
    """Report each batch as done; ends with the other process."""
    not_ours.close()
    with link.makefile("rb") as lines:
        for line in lines:
            link.sendall(json.dumps([[id, token, "null"] for id, token, payload in json.loads(line)]).encode() + b"\n")
