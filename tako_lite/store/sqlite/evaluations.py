"""How a trigger is evaluated: a run is made for it, and what that found becomes runs with the cursor, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from tako_lite.records import Batch, NewRun
from tako_lite.store.sqlite import triggers
from tako_lite.store.sqlite.enqueue import enqueue, enqueue_many
from tako_lite.store.sqlite.queries import runs as runs_sql
from tako_lite.store.sqlite.queries import triggers as sql
from tako_lite.store.sqlite.transaction import Transaction


def begin(transaction: Transaction, name: str, run: NewRun, by_hand: bool) -> bool:
    """Store the run that evaluates a trigger, with its cursor as payload; False where it is not due, or evaluated already."""
    names = {"name": name, "id": run.id, "by_hand": int(by_hand), "now": transaction.now}
    row = transaction.one(sql.begin, names)
    if row is not None:
        enqueue(transaction, [run._replace(payload=row[0])])
        if run.refusal is None:
            transaction.effects.ready.add(run.group)
    triggers.tell(transaction)
    return row is not None


def complete(transaction: Transaction, id: str, token: int, cursor: str, found: Sequence[Batch]) -> bool:
    """Store the runs that a claimed evaluation found, and its cursor; a stale claim changes nothing."""
    if not transaction.one(runs_sql.claimed, (id, token)):
        return False
    started = sum(len(runs) for _, runs in found)
    if not transaction.changed(sql.succeed, {"id": id, "cursor": cursor, "started": started, "now": transaction.now}):
        return False
    enqueue_many(transaction, found)
    transaction.effects.ready.update(like.group for like, _ in found if like.refusal is None)
    triggers.forget(transaction, id)
    triggers.tell(transaction)
    return True
