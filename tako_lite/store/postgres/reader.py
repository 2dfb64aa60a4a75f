"""A connection that only reads, for a program that looks at the queue for hours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg

from tako_lite.errors import ReadTimeout
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import READER, connect, consistent, is_passing, translate
from tako_lite.store.postgres.migrate import version_of
from tako_lite.store.postgres.transaction import Connection
from tako_lite.store.transitions.transaction import Snapshot
from tako_lite.units import duration_text

T = TypeVar("T")


def _version(connection: Connection) -> str:
    """The transactions that are visible: text that changes with each commit."""
    return str(connection.execute("SELECT pg_current_snapshot()::text").fetchall()[0][0])


class PostgresReader:
    """`store.opening.Reader` in a database. A connection that was lost is opened again."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def version(self) -> str | None:
        with self._lock:
            return self._use(
                lambda connection: str(connection.execute("SELECT pg_current_snapshot()::text").fetchall()[0][0]), None
            )

    def read(self, function: Callable[[Snapshot], T], nothing: T, limit: float) -> T:
        def bounded(connection: Connection) -> T:
            milliseconds = str(max(round(limit * 1000), 1))
            return consistent(connection, self._address.schema, function, {"statement_timeout": milliseconds})

        with self._lock:
            return self._use(bounded, nothing, limit)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _use(self, function: Callable[[Connection], T], nothing: T, limit: float = 0.0) -> T:
        for is_last in (False, True):
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self._address, "dashboard", READER)
                return function(self._connection) if version_of(self._connection, self._address.schema) else nothing
            except psycopg.errors.QueryCanceled as error:
                raise ReadTimeout(
                    f"reading the queue took longer than {duration_text(limit)} and was stopped",
                    hint="narrow the search, for example to a state, a group or a shorter time",
                ) from error
            except psycopg.Error as error:
                if self._connection is not None and self._connection.closed and not is_last and is_passing(error):
                    continue  # the connection had been lost before
                raise translate(error, self._address) from error
        raise AssertionError
