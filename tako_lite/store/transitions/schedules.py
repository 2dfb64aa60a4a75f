"""Schedules: which slots of a cron expression have been dealt with, and the runs that they make."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from tako_lite.records import NewRun, Schedule
from tako_lite.store.base import EnqueuedRuns, Expression
from tako_lite.store.transitions.enqueue import enqueue
from tako_lite.store.transitions.transaction import Snapshot, Transaction


def put(transaction: Transaction, schedules: Sequence[Schedule], from_slot: int, workflows: Collection[str]) -> list[Schedule]:
    """Make the stored schedules those of the catalog, whose workflows these are; returns them as they are stored.

    A new one starts after `from_slot`, an old one continues after its last slot. Where other servers have other catalogs, those
    of workflows that only they have stay, and each reads again what holds now.
    """
    before = list_all(transaction)
    for schedule in schedules:
        transaction.execute(
            transaction.sql.schedules.put,
            workflow=schedule.workflow,
            cron=schedule.cron,
            timezone=schedule.timezone,
            catch_up=schedule.catch_up,
            from_slot=from_slot,
        )
    names = json.dumps([schedule.workflow for schedule in schedules])
    transaction.execute(transaction.sql.schedules.retire, scheduled=names, workflows=json.dumps([*workflows]))
    after = list_all(transaction)
    if after != before:
        transaction.effects.overrides = True
    return after


def fire(
    transaction: Transaction, workflow: str, slot: int, runs: Sequence[NewRun], expression: Expression | None = None
) -> bool:
    """Take a slot and store its runs, which the caller has announced as `enqueue` says; without runs, skip the slots up to it.

    False if the slot was taken before, or if the schedule has another expression now.
    """
    sql = transaction.sql.schedules
    cron, timezone = expression or (None, None)
    names = {"workflow": workflow, "slot": slot, "cron": cron, "timezone": timezone}
    if not runs:
        return transaction.execute(sql.skip_slots, **names) > 0
    if not transaction.execute(sql.take_slot, **names):
        return False
    made = enqueue(transaction, runs)
    transaction.effects.enqueued += (
        EnqueuedRuns(run.group, run.workflow, "schedule")
        for run, stored in zip(runs, made, strict=True)
        if not stored.deduplicated
    )
    return True


def pause(transaction: Transaction, workflow: str, paused: bool, slot: int) -> bool:
    """Pause a schedule, or resume it after `slot`; False if there is none."""
    transaction.effects.overrides = True
    return transaction.execute(transaction.sql.schedules.set_paused, workflow=workflow, paused=int(paused), slot=slot) > 0


def list_all(snapshot: Snapshot) -> list[Schedule]:
    """The schedules of the catalog."""
    found = snapshot.rows(Schedule, snapshot.sql.schedules.select)
    return [schedule._replace(paused=bool(schedule.paused)) for schedule in found]
