"""The SQLite store of production, on a file of one test: its transactions run in the thread of the loop, without fsync."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.store.base import Effects, Store
from tako_lite.store.group_commit import GroupCommit
from tako_lite.store.opening import Durability
from tako_lite.store.sqlite.connection import ReadingConnection, SqliteSession
from tako_lite.store.sqlite.file import connect, connect_reading
from tako_lite.store.sqlite.queue import SqliteQueue
from tako_lite.store.sqlite.store import SqliteStore
from tako_lite.store.sqlite.transaction import SqliteTransaction
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")
_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class LocalQueue(SqliteQueue):
    """The file of the queue of one test."""

    def open(
        self, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> Store:
        return LocalStore(self.path, durability, clock, server, boot_id, on_commit)


class LocalStore(SqliteStore):
    """`SqliteStore` with one connection and no thread; only a backup opens a second one."""

    async def start(self) -> None:
        shutil.copyfile(_empty_queue(), self.path)
        connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=256, check_same_thread=False)
        for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        self._connection = cast("aiosqlite.Connection", _Caller(connection))
        self._session = SqliteSession(self._connection, self.path)
        self._writer = GroupCommit(self._session, self.clock, self._committed, self.counts)
        self._reader = ReadingConnection(partial(connect_reading, self.path), self.path)

    async def _read(self, function: Callable[[Snapshot], T]) -> T:
        return await self._read_between(function)

    async def empty(self) -> None:
        """Delete all rows."""

        def delete(transaction: Transaction) -> None:
            connection = cast("SqliteTransaction", transaction).connection
            for (table,) in connection.execute(_TABLES).fetchall():
                connection.execute(f'DELETE FROM "{table}"')  # noqa: S608 -- the name comes from the schema

        await self._write(delete, keep=False)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being committed."""
        return self._writer is None or self._writer.is_idle


class _Caller:
    """What stands for the thread of a connection: it calls what the session and `on_thread` hand it at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = connection
        self._tx = self

    def put_nowait(self, item: tuple[None, Callable[[], Any]]) -> None:
        item[1]()

    async def _execute(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    async def close(self) -> None:
        self._conn.close()


@cache
def _empty_queue() -> Path:
    """An empty queue file of this release, made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="tako-empty-"))
    _remove_at_exit(folder)
    connection = connect(folder / "queue.db", "process")
    connection.execute("PRAGMA journal_mode = DELETE")  # of one file: a copy of it is complete
    connection.close()
    return folder / "queue.db"


def _remove_at_exit(folder: Path) -> None:
    import atexit  # only here

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
