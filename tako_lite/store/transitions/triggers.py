"""Polling triggers: when each is due, and the run that evaluates it. Such a run is a row that people do not see."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from tako_lite.records import StoredTrigger
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot, Transaction


def put(transaction: Transaction, triggers: Sequence[StoredTrigger]) -> None:
    """Make the stored triggers those of the catalog; a new one is due at once.

    Evaluations that no worker has begun are withdrawn, and begin anew in the group that the catalog names now.
    """
    sql = transaction.sql.triggers
    for trigger in triggers:
        transaction.execute(
            sql.put,
            name=trigger.name,
            group=trigger.group,
            starts=trigger.starts,
            every_ms=trigger.every_ms,
            now=transaction.now,
        )
    transaction.execute(sql.retire, names=json.dumps([trigger.name for trigger in triggers]))
    _withdraw(transaction, ("pending",))
    publish_due(transaction)


def pause(transaction: Transaction, name: str, paused: bool) -> bool:
    """Pause or resume a trigger; False if there is none. An evaluation that a worker has begun continues."""
    transaction.effects.overrides = True
    is_known = transaction.execute(transaction.sql.triggers.set_paused, name=name, paused=int(paused)) > 0
    if paused:
        _withdraw(transaction, ("pending",), name)
    publish_due(transaction)
    return is_known


def recover(transaction: Transaction) -> None:
    """Withdraw the evaluations of the last daemon."""
    _withdraw(transaction, ("pending", "running"))


def ended(transaction: Transaction, id: str) -> None:
    """A run ended without success: if it was an evaluation, store its error with the trigger."""
    if transaction.execute(transaction.sql.triggers.fail_evaluation, id=id, now=transaction.now):
        delete_run(transaction, id)
        publish_due(transaction)


def delete_run(transaction: Transaction, id: str) -> None:
    """Delete the run of an evaluation, with its values."""
    transaction.execute(transaction.sql.triggers.delete_run, id=id)
    transaction.execute(transaction.sql.runs.delete_large, id=id)


def publish_due(transaction: Transaction) -> None:
    """Report when each trigger is due."""
    due = transaction.rows(rows.DueTrigger, transaction.sql.triggers.select_due)
    transaction.effects.triggers = {trigger.name: trigger.next_at for trigger in due}


def list_all(snapshot: Snapshot) -> list[StoredTrigger]:
    """The triggers of the catalog."""
    return [_trigger(row) for row in snapshot.rows(rows.TriggerRow, snapshot.sql.triggers.select)]


def _trigger(row: rows.TriggerRow) -> StoredTrigger:
    error = None if row.error is None else json.loads(row.error)
    return StoredTrigger(**{**row._asdict(), "error": error, "paused": bool(row.paused)})


def _withdraw(transaction: Transaction, states: Collection[str], only: str | None = None) -> None:
    """Delete the evaluations in these states, of all triggers or only one; their triggers are due as they were."""
    for evaluation in transaction.rows(rows.Evaluation, transaction.sql.triggers.select_evaluations):
        if evaluation.state in states and only in (None, evaluation.trigger):
            transaction.execute(transaction.sql.triggers.withdraw_evaluation, id=evaluation.id)
            delete_run(transaction, evaluation.id)
