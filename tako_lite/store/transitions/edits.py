"""What people change of single runs: their time, priority, retries and group."""

from __future__ import annotations

from collections.abc import Sequence

from tako_lite.store.base import RunChanges
from tako_lite.store.transitions import code, limits, rows
from tako_lite.store.transitions.transaction import Transaction


def edit(transaction: Transaction, id: str, changes: RunChanges) -> str:
    """Change a run that no worker has: `edited`, `running`, `waiting` (it has no time to change), `ended` or `unknown`."""
    if not transaction.execute(transaction.sql.edits.edit, id=id, **changes._asdict()):
        return _state(transaction, id, live="waiting" if changes.run_at is not None else "running")
    if changes.run_at is not None:
        limits.left(transaction, id)
        transaction.effects.wake_by(max(changes.run_at, transaction.now))
    return "edited"


def run_now(transaction: Transaction, ids: Sequence[str]) -> dict[str, str]:
    """Make runs due that were to start later, or are held because of their steps.

    Returns for each `due`, `not_later`, `ended` or `unknown`.
    """
    outcomes = {}
    for id in ids:
        if transaction.execute(transaction.sql.edits.run_now, id=id, now=transaction.now):
            transaction.effects.wake_by(transaction.now)
            outcomes[id] = "due"
        elif code.accept(transaction, id):
            outcomes[id] = "due"
        else:
            outcomes[id] = _state(transaction, id, live="not_later")
    return outcomes


def move(transaction: Transaction, ids: Sequence[str], to: str) -> dict[str, str]:
    """Move live runs to another group; returns for each `moved`, `ended` or `unknown`."""
    outcomes = {}
    for id in ids:
        moved = transaction.row(rows.MovedRun, transaction.sql.edits.move, id=id, to=to)
        if moved is None:
            outcomes[id] = _state(transaction, id, live="unknown")
        else:
            (transaction.effects.suspects if moved.hold == "suspect" else transaction.effects.ready).add(to)
            outcomes[id] = "moved"
    return outcomes


def _state(transaction: Transaction, id: str, *, live: str) -> str:
    """Why a run was not changed: `live` for one that has not ended, `running` where a worker has it."""
    found = transaction.row(rows.FoundRun, transaction.sql.runs.find, id=id)
    if found is None:
        return "unknown"
    if found.state in ("succeeded", "cancelled", "dead"):
        return "ended"
    return "running" if found.state == "running" and live != "not_later" else live
