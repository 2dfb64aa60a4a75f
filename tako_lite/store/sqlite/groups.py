"""The loss and the end of groups, each inside a transaction: what becomes of their runs, and of what people asked of them."""

from __future__ import annotations

from tako_lite.records import Failure
from tako_lite.routing import DEFAULT
from tako_lite.states import RunState
from tako_lite.store.sqlite import limits
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.runs import ended
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


def lose_group(transaction: Transaction, group: str, failure: Failure, wait_timeout: int | None, limit: int) -> int | None:
    """Apply the fallbacks of the due runs of a group that is not available, `limit` of each kind at the most.

    Those that wait end once they have waited for `wait_timeout` milliseconds since the group was lost. Returns when there is
    more to do.
    """
    now, error = transaction.now, failure.as_text()
    (lost_at,) = transaction.one(sql.lose_group, {"name": group, "now": now}) or (now,)
    names = {"group": group, "now": now, "error": error, "limit": limit, "to": DEFAULT}
    fallen = transaction.execute(sql.fall_back, names).fetchall()
    moved = [] if group == DEFAULT else transaction.execute(sql.move_away, names).fetchall()
    for hold, id in moved:
        (transaction.effects.suspects if hold == "suspect" else transaction.effects.ready).add(DEFAULT)
        limits.left(transaction, id)
    late: list[tuple[str, RunState]] = []
    if wait_timeout is not None and now >= lost_at + wait_timeout:
        late = transaction.execute(sql.give_up, {**names, "before": now - wait_timeout}).fetchall()
    for id, state in (*fallen, *late):
        ended(transaction, id, state)
    if max(len(fallen), len(moved), len(late)) == limit:
        return now
    oldest = transaction.one(sql.first_waiting, names) if wait_timeout is not None else None
    if wait_timeout is None or oldest is None or oldest[0] is None:
        return None
    return int(max(oldest[0], lost_at)) + wait_timeout


def find_group(transaction: Transaction, group: str) -> None:
    """A group is available again."""
    transaction.execute(sql.find_group, (group,))
