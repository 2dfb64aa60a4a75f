"""Counts what a daemon and its workers do, in memory that they share with the test: no timing, so load changes nothing.

The product has no code for this. In a process that calls `count_work`, the functions of the standard library through which
all such work goes count their calls: statements of `sqlite3`, `send` and `recv` of sockets, `select` of event loops.
"""

from __future__ import annotations

import mmap
import operator
import os
import selectors
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

FILE: Final = "counts"
_SIZE: Final = 4096


class Counts(NamedTuple):
    """How often something was done."""

    transactions: int
    """Transactions that wrote."""
    statements: int
    """Statements in these, without BEGIN and COMMIT; one for each row of `executemany`."""
    turns: int
    """Turns of the daemon's event loop."""
    hops: int
    """Wake-ups of the daemon's event loop by a thread."""
    to_worker: int
    """Calls of `send` to a worker: one for each frame that is not too long for it."""
    from_worker: int
    """Calls of `recv` that had something from a worker."""
    from_client: int
    """Calls of `recv` that had something from a client."""
    to_client: int
    worker_turns: int
    """Turns of the event loops of all workers."""

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]
        return Counts._make(map(operator.add, self, other))

    def __sub__(self, other: Counts) -> Counts:
        return Counts._make(map(operator.sub, self, other))

    def __mul__(self, times: int) -> Counts:  # type: ignore[override]
        return Counts._make(number * times for number in self)

    def beyond(self, limit: Counts) -> dict[str, str]:
        """What there is more of than a limit allows."""
        pairs = zip(self._fields, self, limit, strict=True)
        return {name: f"{found} instead of at most {most}" for name, found, most in pairs if found > most}


def of(**numbers: int) -> Counts:
    """Counts of which most are 0."""
    return Counts._make(numbers.get(name, 0) for name in Counts._fields)


class SharedCounts:
    """The counts in the file of a folder, which all its processes map."""

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, _SIZE)
            self._numbers = memoryview(mmap.mmap(file, _SIZE)).cast("Q")
        finally:
            os.close(file)

    def read(self) -> Counts:
        """The counts as they are."""
        return Counts._make(self._numbers[: len(Counts._fields)])

    def counter(self, name: str) -> Callable[[], None]:
        """A function that counts one more; only one thread of one process may count under a name at a time."""
        place, numbers = Counts._fields.index(name), self._numbers

        def count() -> None:
            numbers[place] += 1

        return count


def count_work(folder: Path, process: Literal["daemon", "worker"]) -> None:
    """Count the work of this process from now on."""
    counts = SharedCounts(folder)
    if process == "worker":
        _count_turns(counts.counter("worker_turns"))
        return
    _count_turns(counts.counter("turns"))
    _count_statements(counts)
    _count_messages(counts)


def _count_turns(count: Callable[[], None]) -> None:
    select = selectors.DefaultSelector.select

    def counted(self: Any, timeout: float | None = None) -> Any:
        count()
        return select(self, timeout)

    selectors.DefaultSelector.select = counted  # type: ignore[method-assign]


def _count_statements(counts: SharedCounts) -> None:
    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(_Tracer(counts).on_statement)
        return connection

    sqlite3.connect = counted


class _Tracer:
    """Follows the transactions of one connection."""

    def __init__(self, counts: SharedCounts) -> None:
        self._within = ""
        self._transaction = counts.counter("transactions")
        self._statement = counts.counter("statements")

    def on_statement(self, text: str) -> None:
        if text.startswith("BEGIN"):
            self._within = text
        elif text in ("COMMIT", "ROLLBACK"):
            if self._within == "BEGIN IMMEDIATE" and text == "COMMIT":
                self._transaction()
            self._within = ""
        elif self._within == "BEGIN IMMEDIATE":
            self._statement()
        elif not self._within and not text.startswith(("SELECT", "PRAGMA", "WITH")):  # a transaction of its own
            self._transaction()
            self._statement()


def _count_messages(counts: SharedCounts) -> None:
    """Count what goes through sockets: those with a name lead to clients, the others to workers or from threads."""
    hop = counts.counter("hops")
    sent = {"client": counts.counter("to_client"), "worker": counts.counter("to_worker")}
    received = {"client": counts.counter("from_client"), "worker": counts.counter("from_worker")}
    send, recv = socket.socket.send, socket.socket.recv

    def other_end(connected: socket.socket) -> str:
        return "client" if connected.getsockname() else "worker"

    def counted_send(self: socket.socket, data: bytes, *flags: int) -> int:
        if bytes(data) == b"\0":  # the loop's own socket, by which threads wake it
            hop()
        else:
            sent[other_end(self)]()
        return send(self, data, *flags)

    def counted_recv(self: socket.socket, size: int, *flags: int) -> bytes:
        data = recv(self, size, *flags)
        if data.strip(b"\0"):
            received[other_end(self)]()
        return data

    socket.socket.send = counted_send  # type: ignore[assignment,method-assign]
    socket.socket.recv = counted_recv  # type: ignore[method-assign]
