"""The connections of a daemon to its queue file: one that writes and one that reads, each on a thread of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from tako_lite.errors import StoreGone, TakoError
from tako_lite.store.base import Effects
from tako_lite.store.group_commit import Operation
from tako_lite.store.sqlite.file import BUSY_TIMEOUT, gone, translate
from tako_lite.store.sqlite.transaction import commit

T = TypeVar("T")


async def open_thread(connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """A connection on a thread of its own, which a hung disk cannot make outlive the process."""
    connection = aiosqlite.Connection(connector, iter_chunk_size=64)
    connection._thread.daemon = True
    try:
        return await connection
    except BaseException:
        connection._thread.join(5)  # it was asked to end, and has nothing else to do
        raise


async def on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on the connection's thread, in one hop.

    The public API of aiosqlite has one hop a statement and none for a function: only these two functions use its internals. The
    dependency is bounded by version and a test checks the internals that are used.
    """
    return await connection._execute(function, connection._conn)  # type: ignore[no-any-return, no-untyped-call]


class SqliteSession:
    """`store.group_commit.WritingSession` on the connection that writes the file."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._lock = threading.Lock()
        """Held by the thread or the loop, whichever uses the connection."""
        self._waits = True
        """Whether the connection waits for other programs that hold the lock of the file."""

    def start(self, function: Callable[[], None]) -> None:
        self._connection._tx.put_nowait((None, function))

    def commit(self, operations: Sequence[Operation], now: int) -> tuple[list[Any], Effects]:
        with self._lock:
            self._let_wait(True)
            return self._commit(operations, now)

    def commit_now(self, operations: Sequence[Operation], now: int) -> tuple[list[Any], Effects] | None:
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._let_wait(False)
            return self._commit(operations, now)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return None
            raise
        finally:
            self._lock.release()

    def _commit(self, operations: Sequence[Operation], now: int) -> tuple[list[Any], Effects]:
        if _identity(self._path) != self._file:  # SQLite continues to write a file that has no name any more
            raise gone(self._path)
        return commit(self._connection._conn, now, operations)

    def _let_wait(self, waits: bool) -> None:
        if waits != self._waits:
            self._connection._conn.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000) if waits else 0}").close()
            self._waits = waits

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function of reads on the thread, between two transactions."""

        def locked(connection: sqlite3.Connection) -> T:
            with self._lock:
                return function(connection)

        return await on_thread(self._connection, locked)

    def is_of_backend(self, error: Exception) -> bool:
        return _is_of_the_file(error)

    def find_spoiler(self, error: Exception) -> int | None:
        return None

    def translate(self, error: Exception) -> TakoError:
        return translate(error, self._path)

    def check_file(self) -> StoreGone | None:
        """The error if the file is no longer where it was."""
        return None if _identity(self._path) == self._file else gone(self._path)


def _identity(path: Path) -> tuple[int, int] | None:
    """The identity of the file. It is not opened, because closing it would drop SQLite's locks."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _is_of_the_file(error: Exception) -> bool:
    """Whether any operation would have met the error: a full disk, a lock, a file that is damaged or gone."""
    if isinstance(error, StoreGone):
        return True
    brought_along = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, brought_along)


class ReadingConnection:
    """A second connection that cannot write, opened by the first read."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connector = connector
        self._path = path
        self._file = _identity(path)
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function of reads on the connection's thread."""
        try:
            async with self._opening:
                if self._connection is None:
                    if _identity(self._path) != self._file:  # the file there now is not the one that the writer has open
                        raise gone(self._path)
                    self._connection = await open_thread(self._connector)
            return await on_thread(self._connection, function)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    async def stop(self) -> None:
        """Close the connection, if it was ever opened."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
