"""The least program of our shape: what a warm start costs before there is a queue, a group or a worker to speak of.

The way of a run and nothing else: client → unix socket → loop → a thread that commits one insert with an fsync → loop →
socketpair → the loop of another process, which says when the line arrived. The floor under `latency` on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from bench.arrivals import at_random, percentile
from bench.figures import Goal, Plan

MOST_RUNS = 99
GOALS = {
    "p50": Goal("the least program of a warm start, p50", "ms"),
    "p99": Goal("the same, p99", "ms"),
}

_FORK: Final = multiprocessing.get_context("fork")
_Work = queue.SimpleQueue[tuple[bytes, Callable[[], None]]]


def measure(plan: Plan) -> dict[str, float]:
    folder = plan.folder / "floor"
    folder.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    near, far = socket.socketpair()
    reading, writing = os.pipe()
    worker = _FORK.Process(target=_worker, args=(far, writing, (near, listener)))
    daemon = _FORK.Process(target=_daemon, args=(folder / "floor.db", listener, near, (far,)))
    for process in (worker, daemon):
        process.start()
    for end in (near, far, listener):
        end.close()
    os.close(writing)
    with socket.socket(socket.AF_UNIX) as client, os.fdopen(reading, "rb") as arrivals:
        client.connect(str(folder / "socket"))
        with client.makefile("rb") as replies:
            ask = partial(_start, client, replies, arrivals)
            times = _sample(ask, plan.size(400, 100))
    for process in (daemon, worker):  # each ends when the one before it has hung up
        process.join()
    for file in folder.iterdir():
        file.unlink()
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}


def _sample(ask: Callable[[int], float], count: int) -> list[float]:
    for number in range(20):
        ask(-number)
    pause, times = at_random(0.015), []
    for number in range(1, count + 1):
        pause()
        times.append(ask(number))
    return sorted(times)


def _start(client: socket.socket, replies: BinaryIO, arrivals: BinaryIO, number: int) -> float:
    """Milliseconds from the request until the other process had it; the reply is waited for as well."""
    sent = time.monotonic()
    client.sendall(json.dumps({"id": number, "payload": {"sent": sent}}).encode() + b"\n")
    replies.readline()
    return (float(arrivals.readline()) - sent) * 1000


def _daemon(file: Path, listener: socket.socket, link: socket.socket, not_ours: tuple[socket.socket, ...]) -> None:
    """Store each line of the one client, pass it on, and reply; ends with the client."""
    for end in not_ours:
        end.close()

    async def main() -> None:
        work: _Work = queue.SimpleQueue()
        threading.Thread(target=_commit_all, args=(file, work, asyncio.get_running_loop()), daemon=True).start()
        _, to_worker = await asyncio.open_unix_connection(sock=link)
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            def stored(line: bytes) -> None:
                to_worker.write(line)
                writer.write(b"{}\n")

            while line := await reader.readline():
                work.put((line, partial(stored, line)))
            writer.close()
            ended.set()

        async with await asyncio.start_unix_server(serve, sock=listener):
            await ended.wait()
        to_worker.close()

    asyncio.run(main())


def _commit_all(file: Path, work: _Work, loop: asyncio.AbstractEventLoop) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, body TEXT, state TEXT) STRICT")
    while True:
        line, stored = work.get()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO runs VALUES (?, ?, 'running')", (json.loads(line)["id"], line.decode()))
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(stored)


def _worker(link: socket.socket, told: int, not_ours: tuple[socket.socket, ...]) -> None:
    """Say of each line when it came; ends with the daemon."""
    for end in not_ours:
        end.close()

    async def main() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=link)
        while await reader.readline():
            os.write(told, f"{time.monotonic()}\n".encode())
        writer.close()

    asyncio.run(main())
