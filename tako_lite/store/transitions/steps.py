"""Steps: their outcomes, each stored once, and the runs that they start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tako_lite.named_tuples import new_tuple
from tako_lite.records import Enqueued, NewRun
from tako_lite.store.base import EnqueuedRuns, SavedStep, StoredStep
from tako_lite.store.transitions import history
from tako_lite.store.transitions.enqueue import enqueue
from tako_lite.store.transitions.transaction import Transaction
from tako_lite.store.transitions.waits import StepOutcome, find_step, settle_if_over


def save(transaction: Transaction, steps: Sequence[SavedStep], pid: int | None = None) -> list[StoredStep | None]:
    """Store outcomes of steps; the first value of a name stays.

    Each answer is what is stored from now on, or None for a stale claim.
    """
    has_long = any(step.value is not None and len(step.value) > transaction.inline for step in steps)
    changes = [_row(transaction, step) for step in steps] if has_long else steps
    all_stored = transaction.execute_many(transaction.sql.steps.save, changes) == len(steps)
    history.record_tries(transaction, steps, pid)
    if all_stored and not has_long:
        return [_answer(step) for step in steps]
    return [_saved(transaction, step, row, all_stored) for step, row in zip(steps, changes, strict=True)]


def _row(transaction: Transaction, step: SavedStep) -> SavedStep:
    return step._replace(value="") if step.value is not None and len(step.value) > transaction.inline else step


def _answer(step: SavedStep) -> StoredStep:
    fields = (step.state, step.value if step.state == "succeeded" else step.error, step.tries)
    return cast("StoredStep", new_tuple(StoredStep, fields))


def _saved(transaction: Transaction, step: SavedStep, row: SavedStep, all_stored: bool) -> StoredStep | None:
    sql = transaction.sql.runs
    if not all_stored and not transaction.exists(sql.is_claimed, id=step.run_id, token=step.token):
        return None
    if row.value != step.value:
        transaction.execute(sql.add_large, run_id=step.run_id, kind=f"step:{step.name}", value=step.value)
    return _answer(step) if all_stored else find_step(transaction, step.run_id, step.name)


def invoke(transaction: Transaction, run_id: str, token: int, name: str, child: NewRun) -> StepOutcome:
    """Start a child run, once, and wait for its end."""
    sql = transaction.sql
    if not transaction.exists(sql.runs.is_claimed, id=run_id, token=token):
        return None
    if step := find_step(transaction, run_id, name):
        return step
    if not transaction.exists(sql.steps.find_wait, run_id=run_id, name=name):
        made = _enqueue(transaction, child)
        transaction.execute(
            sql.steps.add_wait, run_id=run_id, name=name, kind="child", key=made.id, wake_at=None, now=transaction.now
        )
    return settle_if_over(transaction, run_id, name)


def enqueue_child(transaction: Transaction, run_id: str, token: int, name: str, child: NewRun) -> StoredStep | None:
    """Start another run exactly once; the value of the step is its id."""
    sql = transaction.sql
    if not transaction.exists(sql.runs.is_claimed, id=run_id, token=token):
        return None
    if step := find_step(transaction, run_id, name):
        return step
    made = _enqueue(transaction, child)
    value, now = f'"{made.id}"', transaction.now
    transaction.execute(
        sql.steps.settle,
        run_id=run_id,
        name=name,
        kind="enqueue",
        state="succeeded",
        value=value,
        error=None,
        started_at=now,
        now=now,
    )
    return StoredStep("succeeded", value, 1)


def _enqueue(transaction: Transaction, child: NewRun) -> Enqueued:
    """Store a child, and report it and, if it is due, its group; a delayed one wakes no worker."""
    (made,) = enqueue(transaction, [child])
    if not made.deduplicated:
        transaction.effects.enqueued.append(EnqueuedRuns(child.group, child.workflow, "step"))
    if child.run_at <= transaction.now:
        transaction.effects.ready.add(child.group)
    return made
