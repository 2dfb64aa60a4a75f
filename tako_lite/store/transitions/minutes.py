"""What happened in each minute, for charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from tako_lite.store.base import MinuteTotals
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot, Transaction

_SUMS: Final = ("started", "succeeded", "failed", "dead", "cancelled", "waited_ms", "executed_ms")


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


def prune(transaction: Transaction, age: int) -> None:
    """Delete minutes older than `age` milliseconds."""
    transaction.execute(transaction.sql.minutes.delete_expired, before=(transaction.now - age) // 60_000)


def _record(row: rows.StoredMinute) -> MinuteTotals:
    buckets = json.loads(row.buckets)
    return MinuteTotals(*row[:-1], tuple(buckets["waited"]), tuple(buckets["executed"]))


def _add(old: MinuteTotals, new: MinuteTotals) -> MinuteTotals:
    sums = {name: getattr(old, name) + getattr(new, name) for name in _SUMS}
    return new._replace(**sums, waited=_added(old.waited, new.waited), executed=_added(old.executed, new.executed))


def _added(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    return tuple(before + more for before, more in zip_longest(old, new, fillvalue=0))
