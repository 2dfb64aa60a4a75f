"""Executes the named statements of PostgreSQL: one snapshot of a reader, one transaction of the writer.

A statement with an array among its parameters takes many rows at once: `execute_many` passes each field of the rows as an
array, so that any number of rows costs one round trip. The arrays are sorted by their first field, the id, so that two servers
which change the same rows lock them in the same order.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, ClassVar, Final, NamedTuple

import psycopg

from tako_lite.store.base import Effects, Hooks, Limit
from tako_lite.store.postgres import queries
from tako_lite.store.sql import Statement, replace_parameters
from tako_lite.store.transitions.transaction import R, Statements

Connection = psycopg.Connection[tuple[Any, ...]]

_BY_FIRST: Final = itemgetter(0)


class _Prepared(NamedTuple):
    text: str
    takes_arrays: bool


@cache
def _prepared(statement: str) -> _Prepared:
    text = replace_parameters(statement.replace("%", "%%"), r"%(\1)s")
    return _Prepared(text, "[])" in text or "[]," in text)


class PostgresSnapshot:
    """Reads through a connection. `constants` are parameters of every statement, such as the id of this server's boot."""

    __slots__ = ("_constants", "_cursor", "connection", "sql")

    def __init__(self, connection: Connection, constants: Mapping[str, Any] | None = None) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._constants = constants or {}
        self.sql: Statements = queries

    def row(self, kind: type[R], statement: Statement, /, **parameters: object) -> R | None:
        found = self.fetch(statement, parameters)
        return kind._make(found[0]) if found else None

    def rows(self, kind: type[R], statement: Statement, /, **parameters: object) -> list[R]:
        return list(map(kind._make, self.fetch(statement, parameters)))

    def rows_of_each(self, kind: type[R], *statements: Statement) -> list[list[R]]:
        with self.connection.pipeline():
            cursors = [PostgresSnapshot(self.connection, self._constants).send(statement, {}) for statement in statements]
        return [list(map(kind._make, cursor.fetchall())) for cursor in cursors]

    def value(self, statement: Statement, /, **parameters: object) -> Any:
        found = self.fetch(statement, parameters)
        return found[0][0] if found else None

    def values(self, statement: Statement, /, **parameters: object) -> list[Any]:
        return [value for (value,) in self.fetch(statement, parameters)]

    def exists(self, statement: Statement, /, **parameters: object) -> bool:
        return bool(self.fetch(statement, parameters))

    def fetch(self, statement: Statement, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Every row of a statement, as it comes."""
        return self.send(statement, parameters).fetchall()

    def send(self, statement: Statement, parameters: Mapping[str, Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute a statement; in a pipeline, its rows come later."""
        return self._cursor.execute(_prepared(statement).text, {**self._constants, **parameters}, prepare=True)


class PostgresTransaction(PostgresSnapshot):
    """One transaction of the writer."""

    __slots__ = ("died", "effects", "freed", "hooks", "limits", "now", "paced")

    inline: ClassVar[int] = sys.maxsize
    """Long values stay in their row: PostgreSQL itself keeps them apart."""

    def __init__(self, connection: Connection, now: int, constants: Mapping[str, Any] | None = None) -> None:
        super().__init__(connection, constants)
        self.now = now
        self.effects = Effects()
        self.hooks: Hooks | None = None
        self.died: list[str] = []
        self.limits: Mapping[str, Limit] | None = None
        self.freed: set[tuple[str, str]] = set()
        self.paced: set[tuple[str, str]] = set()

    def execute(self, statement: Statement, /, **parameters: object) -> int:
        prepared = _prepared(statement)
        if prepared.takes_arrays:
            parameters = {name: [value] for name, value in parameters.items()}
        return self._cursor.execute(prepared.text, {**self._constants, **parameters}, prepare=True).rowcount

    def execute_many(self, statement: Statement, rows: Sequence[Any], /) -> int:
        if not rows:
            return 0
        prepared = _prepared(statement)
        if prepared.takes_arrays:
            columns = zip(*(sorted(rows, key=_BY_FIRST) if len(rows) > 1 else rows), strict=True)
            arrays = dict(zip(rows[0]._fields, map(list, columns), strict=True))
            return self._cursor.execute(prepared.text, {**self._constants, **arrays}, prepare=True).rowcount
        return sum(self.execute(statement, **row._asdict()) for row in rows)
