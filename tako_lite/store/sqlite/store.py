"""The store on one SQLite file: a writing thread with group commit, and a reading one."""

from __future__ import annotations

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.errors import StoreError, StoreGone, TakoError
from tako_lite.store import reading
from tako_lite.store.base import Effects
from tako_lite.store.group_commit import GroupCommit
from tako_lite.store.sqlite.backup import back_up, size_of
from tako_lite.store.sqlite.connection import ReadingConnection, SqliteSession, open_thread
from tako_lite.store.sqlite.file import Durability, connect, connect_reading, translate
from tako_lite.store.sqlite.transaction import SqliteSnapshot, consistent
from tako_lite.store.transactional import TransactionalStore
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")


class SqliteStore(TransactionalStore):
    """The transitions of `store.base.Store`; those that workers report are kept while the disk is full."""

    def __init__(
        self, path: Path, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> None:  # fmt: skip
        super().__init__(clock, server, boot_id, on_commit)
        self.path = path
        self._durability = durability
        self._connection: aiosqlite.Connection | None = None
        self._session: SqliteSession | None = None
        self._writer: GroupCommit | None = None
        self._reader: ReadingConnection | None = None

    @property
    def trouble(self) -> TakoError | None:
        return self._writer.trouble if self._writer is not None else None

    def check_file(self) -> TakoError | None:
        if self._session is None or self._writer is None:
            return None
        lost = self._session.check_file()
        if lost is not None or isinstance(self._writer.trouble, StoreGone):
            self._writer.trouble = lost
        return lost

    async def wait_until_damaged(self) -> TakoError:
        if self._writer is None:
            raise _not_open()
        return await asyncio.shield(self._writer.damaged)

    async def start(self) -> None:
        """Open the file, and create or migrate it."""
        self._connection = await open_thread(partial(connect, self.path, self._durability, check_integrity=True))
        self._session = SqliteSession(self._connection, self.path)
        self._writer = GroupCommit(self._session, self.clock, self._committed, self.counts)
        self._reader = ReadingConnection(partial(connect_reading, self.path), self.path)

    async def stop(self) -> None:
        """Commit what was submitted and close; stopping twice is safe."""
        if self._reader is not None:
            open_reader, self._reader = self._reader, None
            await open_reader.stop()  # first: the last connection to close checkpoints, and only the writer may
        if self._writer is not None and self._connection is not None:
            writer, connection = self._writer, self._connection
            await writer.stop()
            self._writer = self._connection = None
            await connection.close()

    async def back_up(self, file: Path) -> int:
        return await self._reading().run(partial(back_up, file=file))

    def _write(self, operation: Callable[[Transaction], T], *, keep: bool, urgent: bool, size: int) -> Future[T]:
        if self._writer is None:
            raise _not_open()
        return self._writer.submit(operation, keep=keep, urgent=urgent, size=size)

    async def _read(self, function: Callable[[Snapshot], T]) -> T:
        return await self._reading().run(partial(consistent, function=function))

    async def _read_between(self, function: Callable[[Snapshot], T]) -> T:
        if self._session is None or self._connection is None:
            raise _not_open()
        try:
            return await self._session.read(lambda connection: function(SqliteSnapshot(connection)))
        except sqlite3.Error as error:
            translated = translate(error, self.path)
            if self._writer is not None:
                self._writer.stop_writing(translated)
            raise translated from error

    async def get_stats(self) -> dict[str, Any]:
        def read(snapshot: SqliteSnapshot) -> dict[str, Any]:
            return {"file_bytes": size_of(snapshot.connection), "pruned": reading.count_pruned(snapshot)}

        return await self._reading().run(partial(consistent, function=read))

    def _reading(self) -> ReadingConnection:
        if self._reader is None:
            raise _not_open()
        return self._reader


def _not_open() -> StoreError:
    return StoreError("the queue is not open")
