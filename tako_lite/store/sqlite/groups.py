"""The end of a group: where its runs go, and what people asked of it."""

from __future__ import annotations

from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.transaction import Transaction


def move(transaction: Transaction, group: str, to: str, limit: int) -> int:
    """Up to `limit` live runs of a group belong to another from now on; returns how many.

    Held ones stay held. One that is running goes on where it is: should it come back, it comes back to the other group.
    """
    holds = transaction.execute(sql.move, {"group": group, "to": to, "limit": limit}).fetchall()
    if any(hold == "suspect" for (hold,) in holds):
        transaction.effects.suspects.add(to)
    if holds:
        transaction.effects.ready.add(to)
    return len(holds)


def forget(transaction: Transaction, group: str) -> None:
    """A pause or scale of a group that is gone does not wait for another of its name."""
    transaction.execute(sql.forget_group, (group,))
