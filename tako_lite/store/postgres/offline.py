"""The queue in a database for a client without a daemon on its machine.

Nothing is locked: servers on other machines may work on the same queue. Connections stay open between two calls.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import psycopg

from tako_lite.clock import Clock
from tako_lite.errors import NotFound, StoreDamaged
from tako_lite.store import reading
from tako_lite.store.base import Effects, Totals
from tako_lite.store.membership import News, OtherServer
from tako_lite.store.opening import Durability
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import translate
from tako_lite.store.postgres.control import list_others
from tako_lite.store.postgres.copying import back_up
from tako_lite.store.postgres.idle import Idle
from tako_lite.store.postgres.messages import channel_of, payloads
from tako_lite.store.postgres.migrate import prepare, refuse_older, refuse_other_project, version_of
from tako_lite.store.postgres.session import PostgresSession
from tako_lite.store.postgres.size import size_of
from tako_lite.store.postgres.store import ReadingConnection
from tako_lite.store.postgres.transaction import Connection, PostgresSnapshot
from tako_lite.store.postgres.watermark import BEGINNING
from tako_lite.store.transactional_offline import TransactionalOfflineStore
from tako_lite.store.transitions import groups
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")

NOTHING: Final = Totals({}, {}, {"file_bytes": 0, "pruned": {}})


class PostgresOfflineStore(TransactionalOfflineStore):
    """`store.base.OfflineStore` in a database. Writing creates and migrates the schema; reading never does."""

    def __init__(self, address: Address, durability: Durability, clock: Clock) -> None:
        super().__init__(clock)
        self._address = address
        self._durability: Durability = durability
        self._servers: list[OtherServer] | None = None
        self._writers = Idle(self._new_writer)
        self._readers = Idle(lambda: ReadingConnection(address, "client", self._check))

    def close(self) -> None:
        self._writers.close()
        self._readers.close()

    def _new_writer(self) -> PostgresSession:
        session = PostgresSession(self._address, self._durability, "client", BEGINNING)
        session.on_connect = lambda connection: prepare(connection, self._address)
        return session

    def _commit(self, operation: Callable[[Transaction], T]) -> T:
        return self._again(lambda: self._commit_once(operation))

    def _again(self, function: Callable[[], T]) -> T:
        """Call a function, and once more with new connections where the schema was dropped since those were opened."""
        try:
            return function()
        except StoreDamaged:
            self.close()
            return function()

    def _commit_once(self, operation: Callable[[Transaction], T]) -> T:
        try:
            with self._writers.lent() as session:
                now = self._clock.now()
                results, effects = session.commit([operation], now)
                with suppress(psycopg.Error):  # it is stored
                    connection = session.connection()
                    self._tell(connection, effects, now)
                    if effects.arrived or effects.due is not None:  # the caller asks next who starts the new runs
                        self._servers = _live_servers(PostgresSnapshot(connection))
        except psycopg.Error as error:
            raise translate(error, self._address) from error
        result: T = results[0]
        return result

    def _tell(self, connection: Connection, effects: Effects, now: int) -> None:
        """Have the servers hear what was changed; each look of theirs finds what they do not."""
        news = News(work=effects.ready | effects.arrived, suspects=effects.suspects, changed=effects.overrides)
        # A new run that has a limit is not due before a server has counted, which looks at once.
        news.due = [moment for moment in (effects.due, now if effects.arrived else None) if moment is not None]
        news.cancel = [run.run_id for run in effects.cancelling]
        news.resolved = [(wait.run_id, wait.name) for wait in effects.resolved]
        news.ended = [run.run_id for run in effects.ended]
        for payload in payloads(news, "client"):
            connection.execute("SELECT pg_notify(%s, %s)", [channel_of(self._address.schema), payload])

    def _read(self, function: Callable[[Snapshot], T], nothing: T) -> T:
        return self._with_reader(function, nothing)

    def back_up(self, file: Path) -> int | None:
        try:
            return back_up(self._address, file)
        except NotFound:
            return None

    def get_totals(self) -> Totals:
        now = self._clock.now()

        def read(snapshot: PostgresSnapshot) -> Totals:
            size, pruned = size_of(snapshot.connection), reading.count_pruned(snapshot)
            stats = {"file_bytes": size, "pruned": pruned, **self._address.shown}
            return Totals(reading.count_by_group(snapshot, now), groups.list_overrides(snapshot), stats)

        return self._with_reader(read, NOTHING)

    def _with_reader(self, function: Callable[[PostgresSnapshot], T], nothing: T) -> T:
        def read() -> T:
            with self._readers.lent() as reader:
                return reader.run_here(function)

        try:
            return self._again(read)
        except _NoQueue:
            return nothing

    def _check(self, connection: Connection) -> None:
        """Before a connection reads: whether there is a queue, which this release and this project may read."""
        version = version_of(connection, self._address.schema)
        if version == 0:
            raise _NoQueue
        refuse_older(version)
        refuse_other_project(connection, self._address)

    def list_servers(self) -> list[OtherServer]:
        read, self._servers = self._servers, None
        nothing: list[OtherServer] = []
        return self._with_reader(_live_servers, nothing) if read is None else read


class _NoQueue(Exception):
    """Nothing was ever enqueued."""


def _live_servers(snapshot: PostgresSnapshot) -> list[OtherServer]:
    """The servers that live, the oldest first: a client looks once, so it judges leases by the clock of the database."""
    live = snapshot.values(queries.servers.select_live)
    others, _ = list_others(lambda statement: snapshot.fetch(statement, {"boot_id": ""}))
    return sorted((other for other in others if other.boot_id in live), key=lambda other: other.joined_at)
