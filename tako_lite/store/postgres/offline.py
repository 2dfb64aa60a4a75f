"""The queue in a database for a client without a daemon on its machine: a connection for each call.

Nothing is locked meanwhile: servers on other machines may work on the same queue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

import psycopg

from tako_lite.clock import Clock
from tako_lite.errors import NotFound
from tako_lite.store import reading
from tako_lite.store.base import Effects, Totals
from tako_lite.store.membership import News, OtherServer
from tako_lite.store.opening import Durability
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import READER, connect, consistent, translate
from tako_lite.store.postgres.control import list_others
from tako_lite.store.postgres.copying import back_up
from tako_lite.store.postgres.messages import channel_of, payloads
from tako_lite.store.postgres.migrate import prepare, refuse_older, refuse_other_project, version_of
from tako_lite.store.postgres.session import PostgresSession
from tako_lite.store.postgres.size import size_of
from tako_lite.store.postgres.transaction import Connection, PostgresSnapshot
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

    def _commit(self, operation: Callable[[Transaction], T]) -> T:
        session = PostgresSession(self._address, self._durability, "client", {})
        try:
            with closing(session.connection()) as connection:
                prepare(connection, self._address)
                now = self._clock.now()
                results, effects = session.commit([operation], now)
                self._tell(connection, effects, now)
                if effects.arrived or effects.due is not None:  # the caller asks next who starts the new runs
                    with suppress(psycopg.Error):  # they are stored
                        self._servers = _live_servers(PostgresSnapshot(connection))
        except psycopg.Error as error:
            raise translate(error, self._address) from error
        finally:
            session.close()
        result: T = results[0]
        return result

    def _tell(self, connection: Connection, effects: Effects, now: int) -> None:
        """Have the servers hear what was changed; each look of theirs finds what they do not."""
        news = News(work=effects.ready | effects.arrived, suspects=effects.suspects, changed=effects.overrides)
        # A new run that has a limit is not due before a server has counted, which looks at once.
        news.due = [moment for moment in (effects.due, now if effects.arrived else None) if moment is not None]
        news.cancel = [run.run_id for run in effects.cancelling]
        news.resolved = [list(wait[:-1]) for wait in effects.resolved]
        news.ended = [run.run_id for run in effects.ended]
        with suppress(psycopg.Error):
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
        def read(connection: Connection) -> T:
            version = version_of(connection, self._address.schema)
            if version == 0:
                return nothing
            refuse_older(version)
            refuse_other_project(connection, self._address)
            return consistent(connection, self._address.schema, function)

        try:
            with closing(connect(self._address, "client", READER)) as connection:
                return read(connection)
        except psycopg.Error as error:
            raise translate(error, self._address) from error

    def list_servers(self) -> list[OtherServer]:
        read, self._servers = self._servers, None
        nothing: list[OtherServer] = []
        return self._with_reader(_live_servers, nothing) if read is None else read


def _live_servers(snapshot: PostgresSnapshot) -> list[OtherServer]:
    """The servers that live, the oldest first: a client looks once, so it judges leases by the clock of the database."""
    live = snapshot.values(queries.servers.select_live)
    others, _ = list_others(lambda statement: snapshot.fetch(statement, {"boot_id": ""}))
    return sorted((other for other in others if other.boot_id in live), key=lambda other: other.joined_at)
