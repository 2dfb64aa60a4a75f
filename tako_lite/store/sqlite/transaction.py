"""What an operation works with: the connection inside a transaction, its time, and what it changes for others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tako_lite.store.base import Effects, Limit


class Transaction:
    """One `BEGIN IMMEDIATE … COMMIT`. `now` is its time in milliseconds; `effects` are told once it is committed.

    `limits` are those of workflows; None where nobody knows them, and a daemon will judge. `freed` are the workflows and keys
    of which a run left its place, `paced` those of which a rate may let another one begin, or not yet.
    """

    __slots__ = ("connection", "effects", "execute", "executemany", "freed", "limits", "now", "paced")

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self.connection = connection
        self.now = now
        self.effects = Effects()
        self.limits: Mapping[str, Limit] | None = None
        self.freed: set[tuple[str, str]] = set()
        self.paced: set[tuple[str, str]] = set()
        self.execute = connection.execute
        self.executemany = connection.executemany

    def changed(self, statement: str, parameters: Sequence[Any] | dict[str, Any]) -> bool:
        """Whether a statement changed a row."""
        return self.execute(statement, parameters).rowcount > 0

    def one(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> tuple[Any, ...] | None:
        """The only row of a statement, which is run to its end: an open `RETURNING` would keep the lock."""
        rows = self.execute(statement, parameters).fetchall()
        return rows[0] if rows else None


def commit(
    connection: sqlite3.Connection, now: int, operations: Sequence[Callable[[Transaction], Any]]
) -> tuple[list[Any], Effects]:
    """Run operations as one transaction and return their results, or store nothing and raise the first error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        transaction = Transaction(connection, now)
        results = [operation(transaction) for operation in operations]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results, transaction.effects
