"""The store on a PostgreSQL database: a writing thread with group commit, and a reading one."""

from __future__ import annotations

import asyncio
import json
from asyncio import Future
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import psycopg

from tako_lite.clock import Clock
from tako_lite.errors import StoreError, TakoError
from tako_lite.linux import boottime
from tako_lite.store import reading
from tako_lite.store.base import Claims, Effects, Hold, Limit
from tako_lite.store.group_commit import GroupCommit
from tako_lite.store.opening import Durability
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.clock import DatabaseClock
from tako_lite.store.postgres.connection import READER, ConnectionThread, connect, consistent, is_passing, translate
from tako_lite.store.postgres.control import Control
from tako_lite.store.postgres.copying import back_up
from tako_lite.store.postgres.migrate import prepare
from tako_lite.store.postgres.session import PostgresSession
from tako_lite.store.postgres.size import size_of
from tako_lite.store.postgres.transaction import Connection, PostgresSnapshot
from tako_lite.store.postgres.watermark import Watermarks
from tako_lite.store.transactional import TransactionalStore
from tako_lite.store.transitions import limits
from tako_lite.store.transitions.transaction import Snapshot, Transaction
from tako_lite.units import Rate

T = TypeVar("T")


STOPS_WITHIN: Final = 10.0
"""Seconds for which the end waits for an answer of the database."""
ANSWERS_WITHIN: Final = 15.0
"""Seconds for a read; the server itself ends a statement of a reader after 10."""


class PostgresStore(TransactionalStore):
    """The transitions of `store.base.Store`; those that workers report are kept while the database does not answer."""

    def __init__(
        self,
        address: Address,
        durability: Durability,
        clock: Clock,
        server: str,
        boot_id: str,
        on_commit: Callable[[Effects], None],
    ) -> None:
        super().__init__(clock, server, boot_id, on_commit)
        self.address = address
        self._constants: dict[str, Any] = {"server": server, "boot_id": boot_id, "elsewhere": "[]"}
        self._watermarks = Watermarks(self._constants)
        self.membership: Control = Control(address, server, self._constants, self._set_time, self._notify, self._cut_writer)
        self._durability: Durability = durability
        self._session: PostgresSession | None = None
        self._writer: GroupCommit | None = None
        self._reader: ReadingConnection | None = None

    @property
    def trouble(self) -> TakoError | None:
        return self._writer.trouble if self._writer is not None else None

    def check_file(self) -> TakoError | None:
        """There is no file that could be replaced."""
        return None

    async def wait_until_damaged(self) -> TakoError:
        if self._writer is None:
            raise _not_open()
        return await asyncio.shield(self._writer.damaged)

    async def start(self) -> None:
        """Connect, and create or migrate the schema."""
        session = PostgresSession(self.address, self._durability, f"{self._server} writer", self._constants)
        try:
            await session.run(lambda: prepare(session.connection(), self.address))
            await session.run(lambda: self._read_time(session.connection()))
        except psycopg.Error as error:
            session.close()
            raise translate(error, self.address) from error
        except BaseException:
            session.close()
            raise
        self._session = session
        self._writer = GroupCommit(session, self.clock, self._committed, self.counts)
        self._reader = ReadingConnection(self.address, f"{self._server} reader")

    async def stop(self) -> None:
        """Commit what was submitted and close; stopping twice is safe."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()
        if self._writer is not None and self._session is not None:
            writer, session = self._writer, self._session
            session.closing = True
            stopping = asyncio.ensure_future(writer.stop())
            done, _ = await asyncio.wait({stopping}, timeout=STOPS_WITHIN)
            if not done:
                session.cut()
                await asyncio.wait({stopping}, timeout=STOPS_WITHIN)
                stopping.cancel()  # its thread may wait for the name of a host, and ends with that
            self._writer = self._session = None
            session.close()

    def _claim(
        self, transaction: Transaction, group: str, limit: int, hold: Hold | None, allowed: Sequence[str] | None
    ) -> Claims:
        claim = partial(super()._claim, transaction, group, limit, hold, allowed)
        return self._watermarks.claim(transaction, group, hold, claim)

    async def back_up(self, file: Path) -> int:
        return await asyncio.to_thread(back_up, self.address, file)

    def _set_time(self, database_ms: int, sent_at: float, took: float) -> None:
        """The database told its time; called on any thread."""
        if isinstance(self.clock, DatabaseClock):
            self.clock.set(database_ms, sent_at, took)

    def _read_time(self, connection: Connection) -> None:
        sent_at = boottime()
        ((now,),) = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchall()
        self._set_time(now, sent_at, boottime() - sent_at)

    def _notify(self, channel: str, payload: str) -> None:
        if self._session is not None:
            self._session.notify(channel, payload)

    def _cut_writer(self) -> None:
        if self._session is not None:
            self._session.cut()

    def _write(self, operation: Callable[[Transaction], T], *, keep: bool, urgent: bool, size: int) -> Future[T]:
        if self._writer is None:
            raise _not_open()
        return self._writer.submit(operation, keep=keep, urgent=urgent, size=size)

    async def _read(self, function: Callable[[Snapshot], T]) -> T:
        return await self._reading().run(function)

    async def _read_between(self, function: Callable[[Snapshot], T]) -> T:
        if self._session is None:
            raise _not_open()
        session = self._session

        def read() -> T:
            results, _ = session.commit([lambda transaction: function(transaction)], self.clock.now())
            result: T = results[0]
            return result

        try:
            return await session.run(read)  # type: ignore[no-any-return]
        except psycopg.Error as error:
            raise translate(error, self.address) from error

    def _announced(
        self, transaction: Transaction, known: Mapping[str, Limit], workflows: Collection[str]
    ) -> Mapping[str, Limit]:
        sql = queries.servers
        before = _limits(transaction)
        given = json.dumps(known, sort_keys=True)
        transaction.execute(sql.put_limits, limits=given)
        transaction.execute(sql.drop_limits, limits=given, workflows=json.dumps([*workflows]))
        after = _limits(transaction)
        if after != before:
            transaction.effects.overrides = True
        return after

    async def read_limits_again(self) -> None:
        if await self._read_between(_limits) != self._limits:
            await self._submit(lambda transaction: limits.replace(transaction, _limits(transaction)), locks=("limits",))

    async def get_stats(self) -> dict[str, Any]:
        def read(snapshot: PostgresSnapshot) -> dict[str, Any]:
            size, pruned = size_of(snapshot.connection), reading.count_pruned(snapshot)
            return {"file_bytes": size, "pruned": pruned, **self.address.shown}

        return await self._reading().run(read)

    def _reading(self) -> ReadingConnection:
        if self._reader is None:
            raise _not_open()
        return self._reader


class _StoredLimit(NamedTuple):
    """The limit of a workflow, as JSON."""

    workflow: str
    value: str


class ReadingConnection:
    """A second connection that only reads, opened by the first read."""

    def __init__(
        self, address: Address, purpose: str, on_connect: Callable[[Connection], None] = lambda connection: None
    ) -> None:
        self._address = address
        self._purpose = purpose
        self._on_connect = on_connect
        self._thread = ConnectionThread("tako-lite reader")
        self._connection: Connection | None = None

    async def run(self, function: Callable[[PostgresSnapshot], T]) -> T:
        """Run a function of reads on the connection's thread; all of its statements see the same commit."""
        return await self._thread.run(partial(self.run_here, function))

    def run_here(self, function: Callable[[PostgresSnapshot], T]) -> T:
        """The same on the thread of the caller, where `run` is never called."""
        for is_last in (False, True):
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self._address, self._purpose, READER, patience=ANSWERS_WITHIN)
                    self._on_connect(self._connection)
                return consistent(self._connection, self._address.schema, function)
            except psycopg.Error as error:
                if self._connection is not None and self._connection.closed and not is_last and is_passing(error):
                    continue  # the connection had been lost before
                raise translate(error, self._address) from error
        raise AssertionError

    def close(self) -> None:
        """Close the connection, if it was ever opened, and end the thread."""

        self._thread.start(self.hang_up)
        self._thread.stop()

    def hang_up(self) -> None:
        """On the thread, or where none was started: close the connection; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _limits(snapshot: Snapshot) -> dict[str, Limit]:
    """The limits of all servers."""
    found = {}
    for workflow, value in snapshot.rows(_StoredLimit, queries.servers.select_limits):
        most, on_limit, key, rate, rate_key = json.loads(value)
        found[workflow] = Limit(most, on_limit, key, rate and Rate(*rate), rate_key)
    return found


def _not_open() -> StoreError:
    return StoreError("the queue is not open")
