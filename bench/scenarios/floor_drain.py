"""The least program that drains with ten slots: one transaction, one line to the worker and one back for ten runs.

The statements are those of the raw ceiling in batches of ten; what is added is a process that gets each batch and reports it.
The floor under `drain` at `concurrency = 10` on the same machine.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sqlite3
import time
from typing import BinaryIO, Final

from bench.figures import Goal, Plan
from bench.scenarios.raw_ceiling import claim, complete, own

MOST_RUNS = 99
GOALS = {"ten": Goal("least program: batches of 10 to a worker and back")}
SLOTS: Final = 10
_FORK: Final = multiprocessing.get_context("fork")


def measure(plan: Plan) -> dict[str, float]:
    count = plan.size(15_000, 5_000)
    near, far = socket.socketpair()
    worker = _FORK.Process(target=_work, args=(far, near))
    worker.start()
    far.close()
    with near, near.makefile("rb") as replies, own(plan.folder, count) as connection:
        start = time.perf_counter()
        done = _drain(connection, near, replies)
        elapsed = time.perf_counter() - start
    worker.join()
    if done != count:
        raise RuntimeError(f"{done} runs were completed, not {count}")
    return {"ten": count / elapsed}


def _drain(connection: sqlite3.Connection, link: socket.socket, replies: BinaryIO) -> int:
    finished: list[tuple[str, int]] = []
    count = 0
    while True:
        now = time.time_ns() // 1_000_000
        connection.execute("BEGIN IMMEDIATE")
        complete(connection, now, finished)
        count += len(finished)
        claimed = claim(connection, now, SLOTS)
        connection.execute("COMMIT")
        if not claimed:
            return count
        link.sendall(json.dumps([[id, token, '{"n": 1}'] for id, token in claimed]).encode() + b"\n")
        finished = [(id, token) for id, token, _ in json.loads(replies.readline())]


def _work(link: socket.socket, not_ours: socket.socket) -> None:
    """Report each batch as done; ends with the other process."""
    not_ours.close()
    with link.makefile("rb") as lines:
        for line in lines:
            link.sendall(json.dumps([[id, token, "null"] for id, token, payload in json.loads(line)]).encode() + b"\n")
