"""The writing connection of a server: made anew when it is lost, and no commit is reported that may not have happened."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

from tako_lite.errors import StoreUnreachable, TakoError
from tako_lite.store.base import Effects
from tako_lite.store.group_commit import Operation
from tako_lite.store.opening import Durability
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import (
    CONNECT_TIMEOUT,
    PATIENCE,
    ConnectionThread,
    apply_settings,
    connect,
    cut,
    first_line,
    is_of_database,
    is_passing,
    translate,
    writer_settings,
)
from tako_lite.store.postgres.transaction import Connection, PostgresTransaction

RETRIES_FOR: Final = 8.0
"""Seconds for which a transaction is tried again, as long as its COMMIT was not sent: clients wait 10."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
_AGAIN: Final = ("40P01", "40001", "0A000", "23505")
"""SQLSTATEs after which the same transaction may pass: a deadlock, a conflict, a plan of the old schema, a rival's new row."""
AGAIN: Final = 3


class PostgresSession:
    """`store.group_commit.WritingSession` on a connection to the database."""

    def __init__(self, address: Address, durability: Durability, purpose: str, constants: Mapping[str, Any]) -> None:
        self._address = address
        self._settings = writer_settings(durability)
        self._purpose = purpose
        self._constants = constants
        self._thread = ConnectionThread("tako-lite writer")
        self._connection: Connection | None = None
        self.closing = False
        self._patience: float = PATIENCE
        self._current: int | None = None
        """The operation that the current transaction executes."""
        self.on_connect: Callable[[Connection], None] = lambda connection: None
        """Called on the thread after each new connection."""

    @property
    def run(self) -> Callable[..., Any]:
        """Run a function on the thread and return what it returns."""
        return self._thread.run

    def start(self, function: Callable[[], None]) -> None:
        self._thread.start(function)

    def connection(self) -> Connection:
        """On the thread: the open connection. Raises StoreError and psycopg.Error."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._address, self._purpose, self._settings, patience=self._patience)
            self.on_connect(self._connection)
        return self._connection

    def commit(self, operations: Sequence[Operation], now: int) -> tuple[list[Any], Effects]:
        deadline, pause, again = time.monotonic() + RETRIES_FOR, FIRST_PAUSE, AGAIN
        while True:
            is_sent, self._current = [False], None
            try:
                return self._commit(operations, now, is_sent)
            except psycopg.Error as error:
                self.drop_if_lost()
                if is_sent[0] and error.sqlstate is None:
                    hint = "whether it is stored is unknown; enqueueing again with the same id stores no second run"
                    lost = StoreUnreachable(
                        f"the connection to {self._address} was lost during COMMIT: {first_line(error)}", hint=hint
                    )
                    lost.is_unknown = True
                    raise lost from error
                if (error.sqlstate or "") in _AGAIN and again > 0:
                    again -= 1
                    continue
                if (
                    self.closing
                    or not is_passing(error)
                    or (error.sqlstate or "").startswith("53")
                    or time.monotonic() > deadline
                ):
                    raise
            time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    def commit_now(self, operations: Sequence[Operation], now: int) -> None:
        """Nothing: the loop does not wait for a database."""

    def _commit(self, operations: Sequence[Operation], now: int, is_sent: list[bool]) -> tuple[list[Any], Effects]:
        connection = self.connection()
        with connection.transaction():
            if connection.prepare_threshold is None:
                apply_settings(connection, self._address.schema, self._settings, local=True)
            transaction = PostgresTransaction(connection, now, self._constants)
            self._lock(transaction, operations)
            results = []
            for self._current, operation in enumerate(operations):
                results.append(operation(transaction))
            self._current = None
            if transaction.effects.overrides:
                transaction.execute(queries.servers.bump_version)
            is_sent[0] = True
        return results, transaction.effects

    def _lock(self, transaction: PostgresTransaction, operations: Sequence[Operation]) -> None:
        """Take the locks of all operations, sorted, before anything else: so two transactions never wait for each other."""
        names = {name for operation in operations for name in getattr(operation, "locks", ())}
        if names:
            schema = self._address.schema
            transaction.fetch(queries.locks.take, {"names": json.dumps([f"{schema} {name}" for name in sorted(names)])})

    def notify(self, channel: str, payload: str) -> None:
        """Send a notification by this connection; a failure is left to the next transaction."""

        def send() -> None:
            with suppress(psycopg.Error, TakoError):
                self.connection().execute("SELECT pg_notify(%s, %s)", [channel, payload])

        self.start(send)

    def cut(self) -> None:
        """From the event loop: cut the connection, and from now on wait for no answer for long. The session is about to end."""
        self._patience = CONNECT_TIMEOUT
        if (connection := self._connection) is not None:
            cut(connection)

    def drop_if_lost(self) -> None:
        """On the thread: forget a connection that is of no more use."""
        connection = self._connection
        if connection is not None and (connection.closed or connection.broken):
            self._connection = None
            connection.close()

    def is_of_backend(self, error: Exception) -> bool:
        return is_of_database(error)

    def find_spoiler(self, error: Exception) -> int | None:
        return self._current

    def translate(self, error: Exception) -> TakoError:
        return translate(error, self._address)

    def close(self) -> None:
        """Close the connection and end the thread, after what it was given."""

        self.closing = True
        self._thread.start(self.hang_up)
        self._thread.stop()

    def hang_up(self) -> None:
        """On the thread, or where none was started: close the connection; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_full(error: psycopg.Error) -> bool:
    """Whether a disk or the memory is full, which waits for a person."""
    return error.sqlstate in ("53100", "53200")
