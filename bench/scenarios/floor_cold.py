"""The least program that starts a worker for a run: a request, an insert with an fsync beside a fork, a hello, one line.

The child is forked from a small process and executes no other program. The floor under `cold` on the same machine.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sqlite3
import time
from pathlib import Path
from typing import BinaryIO, Final

from bench.arrivals import percentile
from bench.figures import Goal, Plan

MOST_RUNS = 99
GOALS = {"p50": Goal("least program: from zero, p50", "ms")}
_FORK: Final = multiprocessing.get_context("fork")


def measure(plan: Plan) -> dict[str, float]:
    folder = plan.folder
    near, far = socket.socketpair()
    reading, writing = os.pipe()
    server = _FORK.Process(target=_serve, args=(folder / "floor.db", far, writing, near))
    server.start()
    far.close()
    os.close(writing)
    times = []
    with near, near.makefile("rb") as replies, os.fdopen(reading, "rb") as arrivals:
        for number in range(plan.size(20, 8) + 2):
            time.sleep(0.1)
            sent = time.monotonic()
            near.sendall(json.dumps({"id": number, "payload": {"sent": sent}}).encode() + b"\n")
            replies.readline()
            times.append((float(arrivals.readline()) - sent) * 1000)
    server.join()
    for file in folder.glob("floor.db*"):
        file.unlink()
    return {"p50": percentile(sorted(times[2:]), 0.5)}


def _serve(file: Path, client: socket.socket, told: int, not_ours: socket.socket) -> None:
    """Store each line, start a child for it, and reply; ends with the client."""
    not_ours.close()
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, body TEXT, state TEXT) STRICT")
    with client.makefile("rb") as lines:
        for line in lines:
            near, far = socket.socketpair()
            child = os.fork()
            if child == 0:
                near.close()
                _begin(far, told)
            far.close()
            connection.execute("INSERT INTO runs VALUES (?, ?, 'running')", (json.loads(line)["id"], line.decode()))
            with near, near.makefile("rb") as hello:
                _run(near, hello, line)
            client.sendall(b"{}\n")
            os.waitpid(child, 0)
    connection.close()


def _run(link: socket.socket, hello: BinaryIO, line: bytes) -> None:
    hello.readline()
    link.sendall(line)


def _begin(link: socket.socket, told: int) -> None:
    """In the child: say hello, wait for the run, and say when it came."""
    link.sendall(b"{}\n")
    with link.makefile("rb") as lines:
        lines.readline()
        os.write(told, f"{time.monotonic()}\n".encode())
    os._exit(0)
