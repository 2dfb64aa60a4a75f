"""What runs wait for: a time, a signal, a child, or the next try of a step."""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple

from tako_lite.store.base import NewWait, Resolved, ServedRun, Signalled, StoredStep
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot, Transaction

TIMED_OUT: Final = '{"reason": "timed_out"}'
"""The stored error of a wait that succeeded with nothing because its time was over."""

DELIVERED_AT_ONCE: Final = 500
"""How many signals of users' transactions are delivered at once; the next look finds more."""

StepOutcome = StoredStep | Literal["waiting"] | None
"""What a step has stored already, `waiting`, or None for a stale claim."""


class _End(NamedTuple):
    """How a wait ended; `gone` is the pause between two tries of a step, which stores nothing."""

    state: Literal["succeeded", "failed", "gone"]
    value: str | None
    error: str | None
    timed_out: bool = False


def find_step(transaction: Transaction, run_id: str, name: str) -> StoredStep | None:
    """What a step has stored, or None."""
    return transaction.row(StoredStep, transaction.sql.steps.find, run_id=run_id, name=name)


def add_wait(transaction: Transaction, wait: NewWait) -> StepOutcome:
    """Store a wait of a claimed run, or answer at once if what it waits for is there."""
    sql = transaction.sql
    if not transaction.exists(sql.runs.is_claimed, id=wait.run_id, token=wait.token):
        return None
    if (step := find_step(transaction, wait.run_id, wait.name)) and step.state == "succeeded":
        return step
    transaction.execute(
        sql.steps.add_wait,
        run_id=wait.run_id,
        name=wait.name,
        kind=wait.kind,
        key=wait.key,
        wake_at=wait.wake_at,
        now=transaction.now,
    )
    return settle_if_over(transaction, wait.run_id, wait.name)


def signal(transaction: Transaction, event: str, payload: str) -> Signalled:
    """Store a signal, unless one of this name is stored, and end the waits for it."""
    is_first = transaction.execute(transaction.sql.signals.insert, event=event, payload=payload, now=transaction.now) > 0
    return Signalled(is_first, _settle_all(transaction, "signal", event))


def list_undelivered(snapshot: Snapshot) -> list[str]:
    """Signals whose waits have not ended, because a transaction of a user stored them."""
    return snapshot.values(snapshot.sql.signals.select_undelivered, limit=DELIVERED_AT_ONCE)


def deliver(transaction: Transaction, event: str) -> None:
    """End the waits for a signal that is stored."""
    _settle_all(transaction, "signal", event)
    transaction.execute(transaction.sql.signals.mark_delivered, event=event)


def resolve_children(transaction: Transaction, child_id: str) -> None:
    """End the waits for a run that has ended."""
    _settle_all(transaction, "child", child_id)


def _settle_all(transaction: Transaction, kind: str, key: str) -> int:
    waits = transaction.rows(rows.StoredWait, transaction.sql.steps.select_waits_for, kind=kind, key=key)
    for wait in waits:
        settle_if_over(transaction, wait.run_id, wait.name)
    return len(waits)


def end_due(transaction: Transaction, limit: int) -> None:
    """End up to `limit` waits whose time has come."""
    due = transaction.rows(rows.StoredWait, transaction.sql.steps.select_due_waits, now=transaction.now, limit=limit)
    for wait in due:
        settle_if_over(transaction, wait.run_id, wait.name)


def prune_signals(transaction: Transaction, age: int) -> int | None:
    """Delete signals older than `age` milliseconds; returns when the next one is that old, or None."""
    sql = transaction.sql.signals
    transaction.execute(sql.delete_expired, before=transaction.now - age)
    oldest = transaction.value(sql.oldest_sent_at)
    return None if oldest is None else int(oldest) + age + 1


def settle_if_over(transaction: Transaction, run_id: str, name: str) -> StepOutcome:
    """End a wait if what it waits for is there: store its step, and make its run due if it is parked."""
    sql = transaction.sql.steps
    wait = transaction.row(rows.StoredWait, sql.find_wait, run_id=run_id, name=name)
    if wait is None:
        return find_step(transaction, run_id, name)
    end = _end(transaction, wait)
    if end is None:
        if wait.wake_at is not None:
            transaction.effects.wake_by(wait.wake_at)
        return "waiting"
    transaction.execute(sql.delete_wait, run_id=run_id, name=name)
    step = StoredStep(end.state, end.value if end.error is None else end.error, 1)
    if end.state != "gone" and not _store(transaction, wait, end):
        step = find_step(transaction, run_id, name) or step
    if not wake(transaction, run_id):
        served = transaction.row(ServedRun, transaction.sql.runs.find_server, id=run_id)
        boot_id = None if served is None else served.boot_id
        transaction.effects.resolved.append(Resolved(run_id, name, step.state, step.text, boot_id))
    return step


def _end(transaction: Transaction, wait: rows.StoredWait) -> _End | None:
    """How a wait has ended, or None if it has not."""
    sql, kind = transaction.sql, wait.kind
    if kind == "signal":
        payload = transaction.value(sql.signals.find_payload, event=wait.key)
        if payload is not None:
            return _End("succeeded", payload, None)
    if kind == "child" and (ended := transaction.row(rows.Outcome, sql.steps.find_outcome, id=wait.key)):
        if ended.state == "succeeded":
            return _End("succeeded", ended.result, None)
        error = {**json.loads(ended.error or "{}"), "child_id": wait.key, "state": ended.state}
        return _End("failed", None, json.dumps(error))
    if wait.wake_at is not None and wait.wake_at <= transaction.now:
        return _End("gone" if kind == "retry" else "succeeded", "null", None, timed_out=kind not in ("retry", "sleep"))
    return None


def _store(transaction: Transaction, wait: rows.StoredWait, end: _End) -> bool:
    """Store the end of a wait; False if a value is stored under its name already, which stays."""
    is_long = end.value is not None and len(end.value) > transaction.inline
    is_stored = transaction.execute(
        transaction.sql.steps.settle,
        run_id=wait.run_id,
        name=wait.name,
        kind=wait.kind,
        state=end.state,
        value="" if is_long else end.value,
        error=TIMED_OUT if end.timed_out else end.error,
        started_at=wait.started_at,
        now=transaction.now,
    )
    if is_stored and is_long:
        transaction.execute(transaction.sql.runs.put_large, run_id=wait.run_id, kind=f"step:{wait.name}", value=end.value)
    return is_stored > 0


def wake(transaction: Transaction, run_id: str) -> bool:
    """Make a waiting run due now; False for a run that is not waiting."""
    group = transaction.value(transaction.sql.runs.wake, id=run_id, now=transaction.now)
    if group is not None:
        transaction.effects.ready.add(group)
    return group is not None
