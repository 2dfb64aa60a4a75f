"""What runs wait for, each transition inside a transaction: a time, a signal, a child, the next try of a step."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

from tako_lite.store.base import NewWait, Resolved, Signalled, StoredStep
from tako_lite.store.sqlite.queries import runs as runs_sql
from tako_lite.store.sqlite.queries import signals as signals_sql
from tako_lite.store.sqlite.queries import steps as sql
from tako_lite.store.sqlite.transaction import Transaction

TIMED_OUT = '{"reason": "timed_out"}'
"""What stands as the error of a wait that succeeded with nothing, because its time was over."""

INLINE = 1024
"""Values up to so many characters stand in their row; longer ones beside it, and '' in their row."""

Outcome = StoredStep | Literal["waiting"] | None
"""What a step has stored already, `waiting`, or None for a stale claim."""


class _End(NamedTuple):
    """How a wait ended; `gone` is the pause between two tries of a step, which stores nothing."""

    state: Literal["succeeded", "failed", "gone"]
    value: str | None
    error: str | None
    timed_out: bool = False


def stored(transaction: Transaction, run_id: str, name: str) -> StoredStep | None:
    """What a step has stored, or None."""
    row = transaction.one(sql.get, (run_id, name))
    return StoredStep(*row) if row else None


def add_wait(transaction: Transaction, wait: NewWait) -> Outcome:
    """A claimed run starts to wait, unless what it waits for is there already."""
    if not transaction.one(runs_sql.claimed, (wait.run_id, wait.token)):
        return None
    if (step := stored(transaction, wait.run_id, wait.name)) and step.state == "succeeded":
        return step
    row = (wait.run_id, wait.name, wait.kind, wait.key, wait.wake_at, transaction.now)
    transaction.execute(sql.add_wait, row)
    return settle_if_over(transaction, wait.run_id, wait.name)


def signal(transaction: Transaction, event: str, payload: str) -> Signalled:
    """Store a signal, unless one of that name is there; the waits for it are over."""
    is_first = transaction.changed(signals_sql.send, (event, payload, transaction.now))
    waits = transaction.execute(sql.waits_for, ("signal", event)).fetchall()
    for run_id, name, *_ in waits:
        settle_if_over(transaction, run_id, name)
    return Signalled(is_first, len(waits))


def resolve_children(transaction: Transaction, child_id: str) -> None:
    """A run ended: whoever waits for it goes on."""
    for run_id, name, *_ in transaction.execute(sql.waits_for, ("child", child_id)).fetchall():
        settle_if_over(transaction, run_id, name)


def wake_due(transaction: Transaction, limit: int) -> None:
    """End the waits whose time has come, `limit` at the most."""
    for run_id, name, *_ in transaction.execute(sql.waits_due, (transaction.now, limit)).fetchall():
        settle_if_over(transaction, run_id, name)


def prune_signals(transaction: Transaction, age: int) -> int | None:
    """Take away signals older than `age` milliseconds; returns when the next one is, or None."""
    transaction.execute(signals_sql.expire, (transaction.now - age,))
    oldest = transaction.one(signals_sql.oldest)
    return oldest[0] + age + 1 if oldest and oldest[0] is not None else None


def settle_if_over(transaction: Transaction, run_id: str, name: str) -> Outcome:
    """End a wait, if what it waits for is there: its step is stored and its run is due."""
    row = transaction.one(sql.wait, (run_id, name))
    if row is None:
        return stored(transaction, run_id, name)
    _, _, kind, key, wake_at, started_at = row
    end = _end(transaction, kind, key, wake_at)
    if end is None:
        if wake_at is not None:
            transaction.effects.wake_by(wake_at)
        return "waiting"
    transaction.execute(sql.drop_wait, (run_id, name))
    step = StoredStep(end.state, end.value if end.error is None else end.error, 1)
    if end.state != "gone" and not _store(transaction, run_id, name, kind, end, started_at):
        step = stored(transaction, run_id, name) or step
    if not wake(transaction, run_id):
        transaction.effects.resolved.append(Resolved(run_id, name, step.state, step.text))
    return step


def _end(transaction: Transaction, kind: str, key: str | None, wake_at: int | None) -> _End | None:
    if kind == "signal" and (sent := transaction.one(signals_sql.payload, (key,))):
        return _End("succeeded", sent[0], None)
    if kind == "child" and (ended := transaction.one(sql.outcome, (key,))):
        state, result, error = ended
        if state == "succeeded":
            return _End("succeeded", result, None)
        return _End("failed", None, json.dumps({**json.loads(error or "{}"), "child_id": key, "state": state}))
    if wake_at is not None and wake_at <= transaction.now:
        return _End("gone" if kind == "retry" else "succeeded", "null", None, timed_out=kind not in ("retry", "sleep"))
    return None


def _store(transaction: Transaction, run_id: str, name: str, kind: str, end: _End, started_at: int) -> bool:
    """Store the end of a wait; False where a value stands under its name already, which stays."""
    is_long = end.value is not None and len(end.value) > INLINE
    error = TIMED_OUT if end.timed_out else end.error
    row = (run_id, name, kind, end.state, "" if is_long else end.value, error, started_at, transaction.now)
    if not transaction.changed(sql.settle, row):
        return False
    if is_long:
        transaction.execute(runs_sql.insert_large, (run_id, f"step:{name}", end.value))
    return True


def wake(transaction: Transaction, run_id: str) -> bool:
    """A waiting run is due now; False for one that does not wait."""
    row = transaction.one(runs_sql.wake, {"id": run_id, "now": transaction.now})
    if row:
        transaction.effects.ready.add(row[0])
    return row is not None
