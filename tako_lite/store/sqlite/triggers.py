"""The transitions of polling triggers, each inside a transaction. The run of an evaluation is a row that nobody is shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from tako_lite.records import StoredTrigger
from tako_lite.store.sqlite.queries import runs as runs_sql
from tako_lite.store.sqlite.queries import triggers as sql
from tako_lite.store.sqlite.transaction import Transaction


def put(transaction: Transaction, triggers: Sequence[StoredTrigger]) -> None:
    """Make the stored triggers those of the catalog; a new one is due at once.

    Evaluations that no worker has begun are taken back: they are begun anew in the group that the catalog has by now.
    """
    for trigger in triggers:
        names = {"name": trigger.name, "group": trigger.group, "starts": trigger.starts, "every_ms": trigger.every_ms}
        transaction.execute(sql.put, {**names, "now": transaction.now})
    transaction.execute(sql.retire, (json.dumps([trigger.name for trigger in triggers]),))
    _take_back(transaction, ("pending",))
    tell(transaction)


def pause(transaction: Transaction, name: str, paused: bool) -> bool:
    """Evaluate a trigger no more, or let it go on; False where there is none. A worker that has begun goes on."""
    known = transaction.changed(sql.pause, {"name": name, "paused": int(paused)})
    if paused:
        _take_back(transaction, ("pending",), name)
    tell(transaction)
    return known


def recover(transaction: Transaction) -> None:
    """The evaluations of the last daemon came to nothing."""
    _take_back(transaction, ("pending", "running"))


def ended(transaction: Transaction, id: str) -> None:
    """A run ended without success: if it was an evaluation, its trigger remembers the error."""
    if transaction.changed(sql.fail, {"id": id, "now": transaction.now}):
        forget(transaction, id)
        tell(transaction)


def forget(transaction: Transaction, id: str) -> None:
    """The run of an evaluation goes, with its values."""
    transaction.execute(sql.forget, (id,))
    transaction.execute(runs_sql.prune_large, (id,))


def tell(transaction: Transaction) -> None:
    """What is due by itself, and when, is another by now."""
    transaction.effects.triggers = dict(transaction.execute(sql.due).fetchall())


def listed(connection: sqlite3.Connection) -> list[StoredTrigger]:
    """The triggers of the catalog."""
    return [
        StoredTrigger._make([*row[:8], None if row[8] is None else json.loads(row[8]), bool(row[9]), row[10]])
        for row in connection.execute(sql.list)
    ]


def _take_back(transaction: Transaction, states: Collection[str], only: str | None = None) -> None:
    for id, state, name in transaction.execute(sql.evaluations).fetchall():
        if state in states and only in (None, name):
            transaction.execute(sql.take_back, (id,))
            forget(transaction, id)
