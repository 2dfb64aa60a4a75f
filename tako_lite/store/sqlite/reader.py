"""A connection that only reads, for a program that looks at the queue for hours while the daemon writes it.

A reader that keeps a transaction open stops the checkpoints of the daemon, and the log of the queue then grows without bound.
So each read is a short transaction of its own, and a progress handler stops one that takes too long.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from tako_lite.errors import ReadTimeout
from tako_lite.store.sqlite.file import connect_reading, has_tables, translate
from tako_lite.store.sqlite.transaction import consistent
from tako_lite.store.transitions.transaction import Snapshot
from tako_lite.units import duration_text

T = TypeVar("T")

INSTRUCTIONS: Final = 20_000
"""Instructions of SQLite between two checks of the time: about a millisecond."""

Place = tuple[int, int]
"""Device and inode of a file."""


class SqliteReader:
    """`store.opening.Reader` on a file. A file that was replaced by another one is opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._place: Place | None = None
        self._opened_times = 0

    def version(self) -> str | None:
        with self._lock:
            try:
                connection = self._opened()
                if connection is None:
                    return None
                (version,) = connection.execute("PRAGMA data_version").fetchone()
            except (sqlite3.Error, OSError) as error:
                raise translate(error, self._path) from error
            return f"{self._opened_times}.{version}"

    def read(self, function: Callable[[Snapshot], T], nothing: T, limit: float) -> T:
        with self._lock:
            try:
                connection = self._opened()
                return nothing if connection is None else _bounded(connection, function, limit)
            except (sqlite3.Error, OSError) as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise ReadTimeout(
                        f"reading the queue took longer than {duration_text(limit)} and was stopped",
                        hint="narrow the search, for example to a state, a group or a shorter time",
                    ) from error
                raise translate(error, self._path) from error

    def close(self) -> None:
        with self._lock:
            self._close()

    def _opened(self) -> sqlite3.Connection | None:
        """The connection to the file that is at the path now; None if there is none, or if it has no tables yet."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._close()
            return None
        if self._place != (found.st_dev, found.st_ino):
            self._close()
        if self._connection is None:
            connection = connect_reading(self._path)
            try:
                if not has_tables(connection):
                    connection.close()
                    return None
            except BaseException:
                connection.close()
                raise
            self._connection, self._place = connection, (found.st_dev, found.st_ino)
            self._opened_times += 1
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = self._place = None


def _bounded(connection: sqlite3.Connection, function: Callable[[Snapshot], T], limit: float) -> T:
    end = time.monotonic() + limit
    connection.set_progress_handler(lambda: time.monotonic() > end, INSTRUCTIONS)
    try:
        return consistent(connection, function)
    finally:
        connection.set_progress_handler(None, 0)
