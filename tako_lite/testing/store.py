"""The SQLite store of production in memory: its transactions run in the thread of the loop, and end with the test."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.store import reading
from tako_lite.store.base import Effects, Store
from tako_lite.store.group_commit import GroupCommit, Operation
from tako_lite.store.opening import Durability
from tako_lite.store.sqlite.backup import back_up, size_of
from tako_lite.store.sqlite.connection import SqliteSession
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.queue import SqliteQueue
from tako_lite.store.sqlite.store import SqliteStore
from tako_lite.store.sqlite.transaction import SqliteTransaction, commit
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")
_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class LocalQueue(SqliteQueue):
    """The queue of one test; its path names no file."""

    def open(
        self, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> Store:
        return LocalStore(self.path, durability, clock, server, boot_id, on_commit)


class LocalStore(SqliteStore):
    """`SqliteStore` with one connection, to a database in memory, and no thread."""

    async def start(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256, check_same_thread=False)
        _empty_queue().backup(connection)
        self._connection = cast("aiosqlite.Connection", _Caller(connection))
        self._session = LocalSession(self._connection, self.path)
        self._writer = LocalCommit(self._session, self.clock, self._committed, self.counts)

    async def _read(self, function: Callable[[Snapshot], T]) -> T:
        return await self._read_between(function)

    async def back_up(self, file: Path) -> int:
        return await self._read_between(lambda snapshot: back_up(cast("SqliteTransaction", snapshot).connection, file))

    async def get_stats(self) -> dict[str, Any]:
        def read(snapshot: Snapshot) -> dict[str, Any]:
            connection = cast("SqliteTransaction", snapshot).connection
            return {"file_bytes": size_of(connection), "pruned": reading.count_pruned(snapshot)}

        return await self._read_between(read)

    async def empty(self) -> None:
        """Delete all rows."""

        def delete(transaction: Transaction) -> None:
            connection = cast("SqliteTransaction", transaction).connection
            for (table,) in connection.execute(_TABLES).fetchall():
                connection.execute(f'DELETE FROM "{table}"')  # noqa: S608 -- the name comes from the schema

        await self._write(delete, keep=False, urgent=True, size=1)

    @property
    def has_limits(self) -> bool:
        """Whether a workflow has a limit or a rate."""
        return bool(self._limits)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being committed."""
        return self._writer is None or self._writer.is_idle


class LocalSession(SqliteSession):
    """The session of a database that no file can be exchanged under."""

    def _commit(self, operations: Sequence[Operation], now: int) -> tuple[list[Any], Effects]:
        return commit(self._connection._conn, now, operations)


class LocalCommit(GroupCommit):
    """`GroupCommit` whose thread is that of the loop: slow transactions run like short ones."""

    def _work(self, entries: list[Any], now: int) -> None:
        self._work_now(entries)


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
def _empty_queue() -> sqlite3.Connection:
    """An empty queue of this release in memory, made once in a process."""
    made = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="tako-empty-") as folder:
        connection = connect(Path(folder) / "queue.db", "process")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.backup(made)
        connection.close()
    return made
