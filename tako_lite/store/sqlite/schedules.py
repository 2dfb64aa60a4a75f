"""The transitions of schedules and groups, each inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from tako_lite.records import NewRun, Schedule
from tako_lite.store.base import GroupOverride
from tako_lite.store.sqlite.enqueue import enqueue
from tako_lite.store.sqlite.queries import runs as runs_sql
from tako_lite.store.sqlite.queries import schedules as sql
from tako_lite.store.sqlite.transaction import Transaction


def put(transaction: Transaction, schedules: Sequence[Schedule], from_slot: int) -> list[Schedule]:
    """Make the stored schedules those of the catalog; a new one starts after `from_slot`, an old one after its last slot.

    Returns them as they are stored.
    """
    for schedule in schedules:
        row = (schedule.workflow, schedule.cron, schedule.timezone, schedule.catch_up, from_slot)
        transaction.execute(sql.put, row)
    names = [schedule.workflow for schedule in schedules]
    transaction.execute(sql.retire, (json.dumps(names),))
    return listed(transaction.connection)


def fire(transaction: Transaction, workflow: str, slot: int, runs: Sequence[NewRun]) -> bool:
    """Take a slot and store its runs, unless it was taken before; no runs means that the slot is passed over."""
    if not runs:
        return transaction.changed(sql.skip, {"workflow": workflow, "slot": slot})
    if not transaction.changed(sql.advance, {"workflow": workflow, "slot": slot}):
        return False
    enqueue(transaction, runs)
    transaction.effects.ready.update(run.group for run in runs if run.run_at <= transaction.now)
    return True


def pause(transaction: Transaction, workflow: str, paused: bool, slot: int) -> bool:
    """Pause a schedule, or let it go on after `slot`; False where there is none."""
    return transaction.changed(sql.pause, {"workflow": workflow, "paused": int(paused), "slot": slot})


def listed(connection: sqlite3.Connection) -> list[Schedule]:
    """The schedules of the catalog."""
    rows = connection.execute(sql.list).fetchall()
    return [Schedule(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows]


def wishes(connection: sqlite3.Connection) -> dict[str, GroupOverride]:
    """What people asked of groups."""
    return {name: GroupOverride(bool(paused), scale) for name, paused, scale in connection.execute(runs_sql.groups)}


def pause_group(transaction: Transaction, name: str, paused: bool) -> None:
    """Claims of a paused group get nothing."""
    transaction.execute(runs_sql.pause_group, (name, int(paused)))
    if not paused:
        announce(transaction, name)


def announce(transaction: Transaction, group: str) -> None:
    """Tell of the due runs of a group."""
    for hold, groups in ((None, transaction.effects.ready), ("suspect", transaction.effects.suspects)):
        if transaction.one(runs_sql.more, {"group": group, "hold": hold}) == (1,):
            groups.add(group)


def scale_group(transaction: Transaction, name: str, scale: int | None) -> None:
    """Another number of workers; None is what the configuration says."""
    transaction.execute(runs_sql.scale_group, (name, scale))
