"""Connections of the user, resolved by what they can do; no driver is imported.

`resolve` knows psycopg 3, psycopg2 and pg8000, asyncpg, the sessions and connections of SQLAlchemy, and Django's connections.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from tako_lite.errors import BadInput
from tako_lite.store.postgres.transactional import Parameters, Style

Row = tuple[Any, ...]

ACCEPTED: Final = (
    "a connection of psycopg, psycopg2, pg8000 or asyncpg, a session or connection of SQLAlchemy, or Django's connection"
)
_PG8000: Final = "pg8000"
_AFTER_COMMIT: Final = "tako_lite.after_commit"


class UserConnection(Protocol):
    """A connection of the user, to execute statements of ours in its transaction. A blocking one never suspends."""

    is_async: bool

    async def prepare(self) -> None:
        """Find the connection of a session. Raises BadInput where its database is no PostgreSQL."""

    @property
    def style(self) -> Style:
        """How it writes parameters."""

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        """The rows that a statement returns. Raises the errors of the driver."""

    def after_commit(self, function: Callable[[], None]) -> bool:
        """Call a function once the transaction has committed; False if the connection cannot promise that."""


def resolve(connection: Any) -> UserConnection:
    """How to use a connection of the user. Raises BadInput for anything else."""
    if callable(getattr(connection, "registry", None)) and hasattr(connection, "remove"):
        connection = connection()  # a scoped session
    for can_use, kind in _KINDS:
        if can_use(connection):
            return kind(connection)
    raise BadInput(f"connection is a {_named(connection)}, with which no run can be stored", hint=f"pass {ACCEPTED}")


class _DatabaseConnection:
    """A connection of a driver for Python's DB-API, with `%s` for parameters."""

    is_async = False
    style: Style = "format"

    def __init__(self, connection: Any) -> None:
        connection = getattr(connection, "driver_connection", None) or connection  # that of a pool of SQLAlchemy
        self._connection = connection
        self.is_async = inspect.iscoroutinefunction(getattr(connection, "commit", None))
        if not hasattr(type(getattr(connection, "info", None)), "server_version") and _package(connection) != _PG8000:
            raise BadInput(
                f"connection is a {_named(connection)}, which is no connection to PostgreSQL that tako-lite knows",
                hint=f"pass {ACCEPTED}; for any other, execute what Client.statement() returns",
            )

    async def prepare(self) -> None:
        pass

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        # Plain tuples, whatever rows the connection makes otherwise.
        plain = {"row_factory": lambda cursor: tuple} if hasattr(self._connection, "row_factory") else {}
        cursor = self._connection.cursor(**plain)
        if self.is_async:
            async with cursor:
                await cursor.execute(sql, parameters)
                return list(await cursor.fetchall())
        try:
            cursor.execute(sql, parameters)
            return _plain(cursor.fetchall())
        finally:
            cursor.close()

    def after_commit(self, function: Callable[[], None]) -> bool:
        return False


class _DjangoConnection:
    """A connection of Django, such as `django.db.connection`."""

    is_async = False
    style: Style = "format"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        _need_postgresql("Django", connection.vendor)

    async def prepare(self) -> None:
        pass

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return _plain(cursor.fetchall())

    def after_commit(self, function: Callable[[], None]) -> bool:
        if not self._connection.in_atomic_block:
            return False  # the statement has committed by itself, or the user commits by hand
        self._connection.on_commit(function)
        return True


class _SqlalchemyConnection:
    """A connection of SQLAlchemy, blocking or not."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.is_async = hasattr(connection, "sync_connection")

    async def prepare(self) -> None:
        _need_postgresql("SQLAlchemy", self._connection.dialect.name)

    @property
    def style(self) -> Style:
        style: str = self._connection.dialect.paramstyle
        return "numeric" if style.startswith("numeric") else style  # type: ignore[return-value]

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        result = self._connection.exec_driver_sql(sql, parameters)
        return _plain((await result if self.is_async else result).fetchall())

    def after_commit(self, function: Callable[[], None]) -> bool:
        return False  # its event `commit` is sent before the commit


class _SqlalchemySession(_SqlalchemyConnection):
    """A session of SQLAlchemy, blocking or not."""

    def __init__(self, session: Any) -> None:
        self.is_async = hasattr(session, "sync_session")
        self._session = session

    async def prepare(self) -> None:
        found = self._session.connection()
        self._connection = await found if self.is_async else found
        await super().prepare()

    def after_commit(self, function: Callable[[], None]) -> bool:
        session = self._session.sync_session if self.is_async else self._session
        waiting: list[Callable[[], None]] | None = session.info.get(_AFTER_COMMIT)
        if waiting is None:
            waiting = session.info[_AFTER_COMMIT] = []
            sys.modules["sqlalchemy"].event.listen(session, "after_commit", _committed)
        waiting.append(function)
        return True


def _committed(session: Any) -> None:
    """Call what waits for the commit of a session. A commit of a savepoint is none; after a rollback, the next one counts."""
    if not session.in_nested_transaction():
        waiting, session.info[_AFTER_COMMIT][:] = list(session.info[_AFTER_COMMIT]), []
        for function in waiting:
            function()


class _AsyncpgConnection:
    """A connection of asyncpg, or one of its pool."""

    is_async = True
    style: Style = "numeric"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def prepare(self) -> None:
        pass

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(sql, *parameters)]

    def after_commit(self, function: Callable[[], None]) -> bool:
        return False


_KINDS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], UserConnection]], ...]] = (
    (lambda given: hasattr(given, "get_bind") and hasattr(given, "connection"), _SqlalchemySession),
    (lambda given: hasattr(given, "exec_driver_sql"), _SqlalchemyConnection),
    (lambda given: hasattr(given, "vendor") and hasattr(given, "on_commit"), _DjangoConnection),
    (lambda given: hasattr(given, "fetchrow") and hasattr(given, "is_in_transaction"), _AsyncpgConnection),
    (lambda given: hasattr(given, "cursor") and hasattr(given, "commit"), _DatabaseConnection),
)


def _plain(rows: list[Any]) -> list[Row]:
    return [tuple(row.values()) if isinstance(row, Mapping) else tuple(row) for row in rows]


def _need_postgresql(what: str, database: str) -> None:
    if database != "postgresql":
        raise BadInput(
            f"connection is a connection of {what} to {database}, and the queue is in PostgreSQL",
            hint="pass a connection to the database that [queue] url names",
        )


def _package(connection: object) -> str:
    return type(connection).__module__.partition(".")[0]


def _named(connection: object) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE in an error of any driver, which SQLAlchemy and Django wrap; None if it has none."""
    for found in (error, getattr(error, "orig", None), error.__cause__):
        state = getattr(found, "sqlstate", None) or getattr(found, "pgcode", None)
        if isinstance(state, str):
            return state
        about = found.args[0] if isinstance(found, BaseException) and found.args else None
        if isinstance(about, dict) and isinstance(about.get("C"), str):  # pg8000
            return str(about["C"])
    return None
