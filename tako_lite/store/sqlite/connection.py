"""The one writing connection: a thread of its own, and group commit."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.errors import StoreError, TakoError
from tako_lite.store.base import Effects
from tako_lite.store.sqlite.file import translate
from tako_lite.store.sqlite.transaction import Transaction, commit

T = TypeVar("T")

RETRY_AFTER: Final = 0.25
"""Seconds between two tries to commit what must not be dropped, such as a result, while the disk is full."""


class _Entry(NamedTuple):
    operation: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    keep: bool


async def open_thread(connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """A connection on a thread of its own, which a hung disk cannot make outlive the process."""
    connection = aiosqlite.Connection(connector, iter_chunk_size=64)
    connection._thread.daemon = True
    try:
        return await connection
    except BaseException:
        connection._thread.join(5)  # it was told to end, and has nothing else to do
        raise


async def on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on the connection's thread, in one hop.

    In public aiosqlite has one hop a statement and none for a function: this is the only place that reaches for more. The
    dependency is bounded by version and a test holds the shape of what is used.
    """
    return await connection._execute(function, connection._conn)  # type: ignore[no-any-return, no-untyped-call]


class GroupCommit:
    """Runs operations in the order in which they come; those that wait at the same time share a transaction and its fsync."""

    def __init__(
        self, connection: aiosqlite.Connection, path: Path, clock: Clock, on_commit: Callable[[Effects], None]
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._on_commit = on_commit
        self._entries: list[_Entry] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    def submit(self, operation: Callable[[Transaction], T], *, keep: bool = False) -> asyncio.Future[T]:
        """A future of the operation's result, done after COMMIT.

        With `keep`, a full or locked disk does not fail the operation: it is tried again until it is stored or we stop.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreError("the queue is closed: the daemon is stopping"))
        else:
            self._entries.append(_Entry(operation, future, keep))
            self._wake.set()
        return future

    async def stop(self) -> None:
        """Commit what is left, then take no more."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while True:
            if not self._entries:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                # One more turn of the loop: what this one's callbacks cause, such as a claim after an enqueue, comes along.
                await asyncio.sleep(0)
            entries, self._entries = self._entries, []
            await self._commit(entries)

    async def _commit(self, entries: list[_Entry]) -> None:
        work = partial(commit, now=self._clock.now(), operations=[entry.operation for entry in entries])
        try:
            results, effects = await on_thread(self._connection, work)
        except Exception as error:
            if _is_of_the_file(error):
                await self._later(entries, translate(error, self._path))
            elif len(entries) == 1:
                _fail(entries, translate(error, self._path))
            else:
                for entry in entries:  # one of them brought the error along; the others deserve another try
                    await self._commit([entry])
        else:
            self._tell(effects)
            for entry, result in zip(entries, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)

    def _tell(self, effects: Effects) -> None:
        try:
            self._on_commit(effects)
        except Exception:  # what is committed is to be acknowledged, whatever a listener makes of it
            logging.getLogger("tako_lite").exception("a listener of the queue failed")

    async def _later(self, entries: list[_Entry], error: TakoError) -> None:
        kept = [] if self._closing else [entry for entry in entries if entry.keep]
        _fail([entry for entry in entries if entry not in kept], error)
        if kept:
            await asyncio.sleep(RETRY_AFTER)
            self._entries[:0] = kept


def _is_of_the_file(error: Exception) -> bool:
    """Whether any operation would have met the error: a full disk, a lock, a damaged file."""
    brought_along = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, brought_along)


def _fail(entries: list[_Entry], error: TakoError) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)


class ReadingConnection:
    """A second connection that cannot write, opened when somebody first reads."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connector = connector
        self._path = path
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function of reads on the connection's thread."""
        try:
            async with self._opening:
                if self._connection is None:
                    self._connection = await open_thread(self._connector)
            return await on_thread(self._connection, function)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    async def stop(self) -> None:
        """Close the connection, if it was ever opened."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
