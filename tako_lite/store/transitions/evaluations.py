"""How a trigger is evaluated: by a run of its own, whose findings become runs together with the cursor."""

from __future__ import annotations

from collections.abc import Sequence

from tako_lite.records import Batch, NewRun
from tako_lite.store.base import EnqueuedRuns
from tako_lite.store.transitions import triggers
from tako_lite.store.transitions.enqueue import enqueue, enqueue_many
from tako_lite.store.transitions.transaction import Transaction


def begin(transaction: Transaction, name: str, run: NewRun, by_hand: bool) -> bool:
    """Store the run that evaluates a trigger, with its cursor as payload; False if it is not due, or under evaluation."""
    cursor = transaction.value(
        transaction.sql.triggers.begin_evaluation, name=name, id=run.id, by_hand=int(by_hand), now=transaction.now
    )
    if cursor is not None:
        enqueue(transaction, [run._replace(payload=cursor)])
        if run.refusal is None:
            transaction.effects.ready.add(run.group)
    triggers.publish_due(transaction)
    return cursor is not None


def complete(transaction: Transaction, id: str, token: int, cursor: str, found: Sequence[Batch]) -> bool:
    """Store the runs that a claimed evaluation found, and its cursor; a stale claim changes nothing and returns False."""
    sql = transaction.sql
    if not transaction.exists(sql.runs.is_claimed, id=id, token=token):
        return False
    started = sum(len(runs) for _, runs in found)
    if not transaction.execute(sql.triggers.end_evaluation, id=id, cursor=cursor, started=started, now=transaction.now):
        return False
    enqueue_many(transaction, found)
    transaction.effects.enqueued += (EnqueuedRuns(like.group, like.workflow, "trigger", len(runs)) for like, runs in found)
    transaction.effects.ready.update(like.group for like, _ in found if like.refusal is None)
    triggers.delete_run(transaction, id)
    triggers.publish_due(transaction)
    return True
