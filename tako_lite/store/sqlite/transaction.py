"""Executes the named statements of SQLite: one snapshot of a reader, one transaction of the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from tako_lite.named_tuples import new_tuple
from tako_lite.store.base import Effects, Hooks, Limit
from tako_lite.store.sql import Statement
from tako_lite.store.sqlite import queries
from tako_lite.store.transitions.transaction import R, Statements

T = TypeVar("T")


class SqliteSnapshot:
    """Reads through a connection. Within `BEGIN` all statements see the same commit, otherwise each sees the newest.

    Rows are fetched immediately, because an unfinished `RETURNING` would keep the lock.
    """

    __slots__ = ("_execute", "connection", "sql")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute
        self.sql: Statements = queries

    def row(self, kind: type[R], statement: Statement, /, **parameters: object) -> R | None:
        found = self._execute(statement, parameters).fetchall()
        return kind._make(found[0]) if found else None

    def rows(self, kind: type[R], statement: Statement, /, **parameters: object) -> list[R]:
        return list(map(partial(new_tuple, kind), self._execute(statement, parameters).fetchall()))

    def rows_of_each(self, kind: type[R], *statements: Statement) -> list[list[R]]:
        return [self.rows(kind, statement) for statement in statements]

    def value(self, statement: Statement, /, **parameters: object) -> Any:
        found = self._execute(statement, parameters).fetchall()
        return found[0][0] if found else None

    def values(self, statement: Statement, /, **parameters: object) -> list[Any]:
        return [value for (value,) in self._execute(statement, parameters).fetchall()]

    def exists(self, statement: Statement, /, **parameters: object) -> bool:
        return bool(self._execute(statement, parameters).fetchall())


def consistent(connection: sqlite3.Connection, function: Callable[[SqliteSnapshot], T]) -> T:
    """Call a function whose statements all see the same commit."""
    connection.execute("BEGIN")
    try:
        return function(SqliteSnapshot(connection))
    finally:
        connection.execute("ROLLBACK")


class SqliteTransaction(SqliteSnapshot):
    """One `BEGIN IMMEDIATE … COMMIT`."""

    __slots__ = ("_executemany", "died", "effects", "freed", "hooks", "limits", "now", "paced")

    inline: ClassVar[int] = 1024

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        super().__init__(connection)
        self.now = now
        self.effects = Effects()
        self.hooks: Hooks | None = None
        self.died: list[str] = []
        self.limits: Mapping[str, Limit] | None = None
        self.freed: set[tuple[str, str]] = set()
        self.paced: set[tuple[str, str]] = set()
        self._executemany = connection.executemany

    def execute(self, statement: Statement, /, **parameters: object) -> int:
        return self._execute(statement, parameters).rowcount

    def execute_many(self, statement: Statement, rows: Sequence[Any], /) -> int:
        if not rows:
            return 0
        text, values = statement.bound(type(rows[0]))
        return self._executemany(text, rows if values is None else map(values, rows)).rowcount


def commit(
    connection: sqlite3.Connection, now: int, operations: Sequence[Callable[[SqliteTransaction], Any]]
) -> tuple[list[Any], Effects]:
    """Run operations in one transaction. Returns their results and effects, or stores nothing and raises the first error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        transaction = SqliteTransaction(connection, now)
        results = [operation(transaction) for operation in operations]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results, transaction.effects
