"""What happened in each minute, for charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from tako_lite.store.base import MinuteTotals
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot, Transaction

_SUMS: Final = ("started", "succeeded", "failed", "dead", "cancelled", "waited_ms", "executed_ms")


class SlotTotals(NamedTuple):
    """What happened in a slot of some minutes; `waited` and `executed` as in MinuteTotals."""

    slot: int
    started: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    executed_ms: int
    waited: tuple[int, ...]
    executed: tuple[int, ...]


def record(transaction: Transaction, totals: Sequence[MinuteTotals]) -> None:
    """Add to what is stored of these minutes."""
    sql = transaction.sql.minutes
    for new in totals:
        old = transaction.row(rows.StoredMinute, sql.find, minute=new.minute, group=new.group, workflow=new.workflow)
        total = new if old is None else _add(_record(old), new)
        buckets = json.dumps({"waited": total.waited, "executed": total.executed})
        transaction.execute_many(sql.put, [rows.StoredMinute(*total[:-2], buckets)])


def list_between(snapshot: Snapshot, since: int, until: int) -> list[MinuteTotals]:
    """The minutes from `since` up to `until`, both in minutes since 1970, oldest first."""
    return [_record(row) for row in snapshot.rows(rows.StoredMinute, snapshot.sql.minutes.select, since=since, until=until)]


def sum_by_slot(
    snapshot: Snapshot, since: int, width: int, workflow: str | None = None, group: str | None = None
) -> list[SlotTotals]:
    """The totals of slots of `width` minutes from a minute on, oldest first; a slot in which nothing happened is left out."""
    chosen = {"since": since, "width": width, "workflow": workflow, "group": group}
    return [_slot(row) for row in snapshot.rows(rows.SlotTotals, snapshot.sql.minutes.sum_by_slot, **chosen)]


def sum_by_workflow(snapshot: Snapshot, since: int) -> dict[str, rows.WorkflowTotals]:
    """The totals of each workflow from a minute on."""
    return {row.workflow: row for row in snapshot.rows(rows.WorkflowTotals, snapshot.sql.minutes.sum_by_workflow, since=since)}


def prune(transaction: Transaction, age: int) -> None:
    """Delete minutes older than `age` milliseconds."""
    transaction.execute(transaction.sql.minutes.delete_expired, before=(transaction.now - age) // 60_000)


def _record(row: rows.StoredMinute) -> MinuteTotals:
    buckets = json.loads(row.buckets)
    return MinuteTotals(*row[:-1], tuple(buckets["waited"]), tuple(buckets["executed"]))


def _slot(row: rows.SlotTotals) -> SlotTotals:
    buckets = json.loads(row.buckets)
    waited, executed = (_summed([each[name] for each in buckets]) for name in ("waited", "executed"))
    return SlotTotals(*row[:-1], waited, executed)


def _summed(counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip_longest(*counts, fillvalue=0)))


def _add(old: MinuteTotals, new: MinuteTotals) -> MinuteTotals:
    sums = {name: getattr(old, name) + getattr(new, name) for name in _SUMS}
    return new._replace(**sums, waited=_added(old.waited, new.waited), executed=_added(old.executed, new.executed))


def _added(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    return tuple(before + more for before, more in zip_longest(old, new, fillvalue=0))
