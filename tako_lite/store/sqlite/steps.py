"""The transitions of steps, each inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from tako_lite.records import NewRun
from tako_lite.store.base import SavedStep, StoredStep
from tako_lite.store.sqlite.enqueue import enqueue
from tako_lite.store.sqlite.queries import runs as runs_sql
from tako_lite.store.sqlite.queries import steps as sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import INLINE, Outcome, settle_if_over, stored


def save(transaction: Transaction, steps: Sequence[SavedStep]) -> list[StoredStep | None]:
    """Store outcomes; each answer is what is stored from now on (the first value of a name stays), None for a stale claim."""
    long = any(step.value is not None and len(step.value) > INLINE for step in steps)
    rows = [_row(step) for step in steps] if long else steps
    certain = transaction.executemany(sql.save, rows).rowcount == len(steps)
    if certain and not long:
        return [_answer(step) for step in steps]
    return [_saved(transaction, step, row, certain) for step, row in zip(steps, rows, strict=True)]


def _row(step: SavedStep) -> SavedStep:
    return step._replace(value="") if step.value is not None and len(step.value) > INLINE else step


def _answer(step: SavedStep) -> StoredStep:
    return StoredStep(step.state, step.value if step.state == "succeeded" else step.error, step.tries)


def _saved(transaction: Transaction, step: SavedStep, row: SavedStep, certain: bool) -> StoredStep | None:
    if not certain and not transaction.one(runs_sql.claimed, (step.run_id, step.token)):
        return None
    if row.value != step.value:
        transaction.execute(runs_sql.keep_large, (step.run_id, f"step:{step.name}", step.value))
    if certain:
        return _answer(step)
    return stored(transaction, step.run_id, step.name)


def invoke(transaction: Transaction, run_id: str, token: int, name: str, child: NewRun) -> Outcome:
    """Start a child run, once, and wait for its end."""
    if not transaction.one(runs_sql.claimed, (run_id, token)):
        return None
    if step := stored(transaction, run_id, name):
        return step
    if not transaction.one(sql.wait, (run_id, name)):
        (made,) = enqueue(transaction, [child])
        _announce(transaction, child)
        transaction.execute(sql.add_wait, (run_id, name, "child", made.id, None, transaction.now))
    return settle_if_over(transaction, run_id, name)


def enqueue_child(transaction: Transaction, run_id: str, token: int, name: str, child: NewRun) -> StoredStep | None:
    """Start another run exactly once; the step's value is its id."""
    if not transaction.one(runs_sql.claimed, (run_id, token)):
        return None
    if step := stored(transaction, run_id, name):
        return step
    (made,) = enqueue(transaction, [child])
    _announce(transaction, child)
    value, now = f'"{made.id}"', transaction.now
    transaction.execute(sql.settle, (run_id, name, "enqueue", "succeeded", value, None, now, now))
    return StoredStep("succeeded", value, 1)


def _announce(transaction: Transaction, child: NewRun) -> None:
    """Only what is due wakes a group."""
    if child.run_at <= transaction.now:
        transaction.effects.ready.add(child.group)
