"""What people set for groups, and what becomes of the runs of a group that is unavailable, moved or gone."""

from __future__ import annotations

from tako_lite.records import Failure
from tako_lite.routing import DEFAULT
from tako_lite.store.base import GroupOverride
from tako_lite.store.transitions import limits, rows
from tako_lite.store.transitions.history import fingerprint_of
from tako_lite.store.transitions.runs import ended
from tako_lite.store.transitions.transaction import Snapshot, Transaction


def list_overrides(snapshot: Snapshot) -> dict[str, GroupOverride]:
    """What people set for each group."""
    found = snapshot.rows(rows.StoredOverride, snapshot.sql.groups.select_overrides)
    return {group.name: GroupOverride(bool(group.paused), group.scale) for group in found}


def pause(transaction: Transaction, name: str, paused: bool) -> None:
    """Pause or resume a group: a paused group has no runs to claim."""
    transaction.execute(transaction.sql.groups.pause, name=name, paused=int(paused))
    transaction.effects.overrides = True
    if not paused:
        publish_due(transaction, name)


def publish_due(transaction: Transaction, group: str) -> None:
    """Report the due runs of a group."""
    for hold, groups in ((None, transaction.effects.ready), ("suspect", transaction.effects.suspects)):
        if transaction.value(transaction.sql.runs.has_due, group=group, hold=hold) == 1:
            groups.add(group)


def scale(transaction: Transaction, name: str, workers: int | None) -> None:
    """Set the number of workers of a group; None means what the configuration says."""
    transaction.execute(transaction.sql.groups.scale, name=name, scale=workers)
    transaction.effects.overrides = True


def forget(transaction: Transaction, group: str) -> None:
    """Delete what people set for a group, so that a later group of this name does not inherit it."""
    transaction.execute(transaction.sql.groups.forget, name=group)
    transaction.effects.overrides = True


def move_runs(transaction: Transaction, group: str, to: str, limit: int) -> int:
    """Move up to `limit` live runs of a group to another; returns how many.

    Held runs stay held. A running run stays where it is; if it is re-queued, it goes to the other group.
    """
    holds = transaction.values(transaction.sql.groups.move_runs, group=group, to=to, limit=limit)
    if "suspect" in holds:
        transaction.effects.suspects.add(to)
    if holds:
        transaction.effects.ready.add(to)
    return len(holds)


def mark_unavailable(
    transaction: Transaction, group: str, failure: Failure, wait_timeout: int | None, limit: int
) -> int | None:
    """Apply the fallbacks of the due runs of an unavailable group, to `limit` runs of each kind at the most.

    Runs that wait end after `wait_timeout` milliseconds of unavailability. Returns when there is more to do, or None.
    """
    sql, now = transaction.sql.groups, transaction.now
    error, fingerprint = failure.as_text(), fingerprint_of(failure)
    lost_at: int = transaction.value(sql.mark_unavailable, name=group, now=now) or now
    fallen = transaction.rows(
        rows.FallenRun, sql.apply_fallback, group=group, now=now, error=error, fingerprint=fingerprint, limit=limit
    )
    moved = []
    if group != DEFAULT:
        moved = transaction.rows(rows.MovedRun, sql.move_to_fallback, group=group, to=DEFAULT, limit=limit)
    for run in moved:
        (transaction.effects.suspects if run.hold == "suspect" else transaction.effects.ready).add(DEFAULT)
        limits.left(transaction, run.id)
    late: list[rows.FallenRun] = []
    if wait_timeout is not None and now >= lost_at + wait_timeout:
        late = transaction.rows(
            rows.FallenRun,
            sql.end_waited,
            group=group,
            to=DEFAULT,
            now=now,
            error=error,
            fingerprint=fingerprint,
            limit=limit,
            before=now - wait_timeout,
        )
    for run_id, state in (*fallen, *late):
        ended(transaction, run_id, state)
    if max(len(fallen), len(moved), len(late)) == limit:
        return now
    if wait_timeout is None:
        return None
    oldest = transaction.value(sql.oldest_waiting, group=group, to=DEFAULT)
    return None if oldest is None else int(max(oldest, lost_at)) + wait_timeout


def mark_available(transaction: Transaction, group: str) -> None:
    """Record that a group is available again."""
    transaction.execute(transaction.sql.groups.mark_available, name=group)
