"""The least programs that enqueue: a client process, a server process, a Unix socket, and an insert with an fsync.

The server reads a request from each client that has sent one, stores all of them in one transaction and replies. It has this
project's table and its statement of an insert, and nothing else: no checks, no routing, no workers. The floor under
`enqueue_lone` and `enqueue_many` on the same machine.
"""

from __future__ import annotations

import json
import multiprocessing
import selectors
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, BinaryIO, Final

from bench.figures import Goal, Plan
from bench.scenarios.enqueue_lone import PRODUCERS
from bench.scenarios.enqueue_many import COUNT
from bench.scenarios.raw_ceiling import inserted
from tako_lite.records import NewRun, new_id, new_ids
from tako_lite.store.sqlite import queries
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import SqliteTransaction
from tako_lite.store.transitions.enqueue import enqueue_many
from tako_lite.store.transitions.rows import InsertedRun

MOST_RUNS = 99
GOALS = {
    "one": Goal("least program: requests one by one, one client", of="lone_insert"),
    "many": Goal("least program: the same, 32 clients", of="lone_insert"),
    "bulk": Goal("least program: 50,000 rows in requests of 1,000"),
}
BATCH: Final = 1_000
WINDOW: Final = 4
"""Requests in flight: the client encodes while the server inserts."""
_DUE: Final = 1_700_000_000_000
_FORK: Final = multiprocessing.get_context("fork")

Insert = Callable[[sqlite3.Connection, Sequence[bytes]], None]


def measure(plan: Plan) -> dict[str, float]:
    alone, each = plan.size(4_000, 1_000), plan.size(500, 150)
    return {
        "one": alone / _seconds(plan.folder, _insert_each, 1, _send_lone, alone),
        "many": PRODUCERS * each / _seconds(plan.folder, _insert_each, PRODUCERS, _send_lone, each),
        "bulk": COUNT / _seconds(plan.folder, _insert_many, 1, _send_bulk, COUNT),
    }


def _seconds(folder: Path, insert: Insert, clients: int, send: Callable[[socket.socket, int], None], count: int) -> float:
    """Seconds until all clients, which begin together, have their last reply."""
    file, address = folder / "floor.db", folder / "floor.socket"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(address))
        listener.listen(clients)
        gate = _FORK.Barrier(clients + 1)
        server = _FORK.Process(target=_serve, args=(file, listener, clients, insert))
        senders = [_FORK.Process(target=_client, args=(address, send, count, gate)) for _ in range(clients)]
        for process in (server, *senders):
            process.start()
        gate.wait(60)
        start = time.perf_counter()
        gate.wait(120)
        elapsed = time.perf_counter() - start
        for process in (*senders, server):
            process.join()
    for left in folder.glob("floor.*"):
        left.unlink()
    return elapsed


def _client(address: Path, send: Callable[[socket.socket, int], None], count: int, gate: Barrier) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as connected:
        connected.connect(str(address))
        gate.wait(60)
        send(connected, count)
        gate.wait(120)


def _send_lone(connected: socket.socket, count: int) -> None:
    for number in range(count):
        connected.sendall(json.dumps({"id": new_id(), "payload": {"n": number}}).encode() + b"\n")
        connected.recv(4096)


def _send_bulk(connected: socket.socket, count: int) -> None:
    replies = connected.makefile("rb")
    under_way = 0
    for first in range(0, count, BATCH):
        ids = new_ids(BATCH)
        rows = [[id, f'{{"n":{number}}}'] for number, id in enumerate(ids, first)]
        connected.sendall(json.dumps(rows).encode() + b"\n")
        under_way += 1
        if under_way == WINDOW:
            replies.readline()
            under_way -= 1
    for _ in range(under_way):
        replies.readline()


def _serve(file: Path, listener: socket.socket, clients: int, insert: Insert) -> None:
    """Store what clients send, all that is there in one transaction; ends with the last client."""
    connection = connect(file, "disk")
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            connected, _address = listener.accept()
            selector.register(connected, selectors.EVENT_READ, connected.makefile("rb"))
        while selector.get_map():
            arrived: list[tuple[Any, bytes]] = []
            for key, _events in selector.select():
                reader: BinaryIO = key.data
                if line := reader.readline():
                    arrived.append((key.fileobj, line))
                else:
                    selector.unregister(key.fileobj)
            if arrived:
                insert(connection, [line for _, line in arrived])
                for connected, _line in arrived:
                    connected.sendall(b"{}\n")
    connection.close()


def _insert_each(connection: sqlite3.Connection, lines: Sequence[bytes]) -> None:
    bound = queries.runs.insert.bound(InsertedRun)
    requests = map(json.loads, lines)
    rows = [inserted(NewRun(one["id"], "work", "g", "g", json.dumps(one["payload"]), _DUE, 0, 3)) for one in requests]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(bound.text, rows if bound.values is None else map(bound.values, rows))
    connection.execute("COMMIT")


def _insert_many(connection: sqlite3.Connection, lines: Sequence[bytes]) -> None:
    like = NewRun("", "work", "g", "g", "", _DUE, 0, 3)
    connection.execute("BEGIN IMMEDIATE")
    enqueue_many(SqliteTransaction(connection, _DUE), [(like, json.loads(line)) for line in lines])
    connection.execute("COMMIT")
