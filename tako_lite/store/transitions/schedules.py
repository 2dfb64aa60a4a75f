"""Schedules: which slots of a cron expression have been dealt with, and the runs that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tako_lite.records import NewRun, Schedule
from tako_lite.store.base import EnqueuedRuns
from tako_lite.store.transitions.enqueue import enqueue
from tako_lite.store.transitions.transaction import Snapshot, Transaction


def put(transaction: Transaction, schedules: Sequence[Schedule], from_slot: int) -> list[Schedule]:
    """Make the stored schedules those of the catalog; returns them as they are stored.

    A new one starts after `from_slot`, an old one continues after its last slot.
    """
    for schedule in schedules:
        transaction.execute(
            transaction.sql.schedules.put,
            workflow=schedule.workflow,
            cron=schedule.cron,
            timezone=schedule.timezone,
            catch_up=schedule.catch_up,
            from_slot=from_slot,
        )
    names = [schedule.workflow for schedule in schedules]
    transaction.execute(transaction.sql.schedules.retire, workflows=json.dumps(names))
    return list_all(transaction)


def fire(transaction: Transaction, workflow: str, slot: int, runs: Sequence[NewRun]) -> bool:
    """Take a slot and store its runs; without runs, skip the slots up to it. False if the slot was taken before."""
    sql = transaction.sql.schedules
    if not runs:
        return transaction.execute(sql.skip_slots, workflow=workflow, slot=slot) > 0
    if not transaction.execute(sql.take_slot, workflow=workflow, slot=slot):
        return False
    made = enqueue(transaction, runs)
    transaction.effects.enqueued += (
        EnqueuedRuns(run.group, run.workflow, "schedule")
        for run, stored in zip(runs, made, strict=True)
        if not stored.deduplicated
    )
    transaction.effects.ready.update(run.group for run in runs if run.run_at <= transaction.now)
    return True


def pause(transaction: Transaction, workflow: str, paused: bool, slot: int) -> bool:
    """Pause a schedule, or resume it after `slot`; False if there is none."""
    transaction.effects.overrides = True
    return transaction.execute(transaction.sql.schedules.set_paused, workflow=workflow, paused=int(paused), slot=slot) > 0


def list_all(snapshot: Snapshot) -> list[Schedule]:
    """The schedules of the catalog."""
    found = snapshot.rows(Schedule, snapshot.sql.schedules.select)
    return [schedule._replace(paused=bool(schedule.paused)) for schedule in found]
