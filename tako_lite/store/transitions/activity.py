"""What people changed by hand: who, when, and what came of it."""

from __future__ import annotations

import json
from typing import Final

from tako_lite.records import Activity, first_id_at
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot, Transaction

KEPT_MS: Final = 90 * 24 * 3_600_000
"""Milliseconds after which an entry is deleted."""
MOST_KEPT: Final = 100_000
LAST_ID: Final = "~"
"""Sorts after every id."""


def record(transaction: Transaction, done: Activity) -> None:
    """Store an entry; one whose id is stored is replaced, as the progress of a bulk action is."""
    detail = json.dumps(done.detail, ensure_ascii=False)
    entry = rows.StoredActivity(done.id, done.at, done.actor, done.source, done.action, done.target, detail)
    transaction.execute_many(transaction.sql.activity.put, [entry])


def find(snapshot: Snapshot, id: str) -> Activity | None:
    """One entry, or None."""
    row = snapshot.row(rows.StoredActivity, snapshot.sql.activity.find, id=id)
    return None if row is None else _record(row)


def list_newest(snapshot: Snapshot, limit: int, before: str | None, actor: str | None, action: str | None) -> list[Activity]:
    """The newest entries first, from before an id on if one is given."""
    found = snapshot.rows(
        rows.StoredActivity,
        snapshot.sql.activity.select,
        before=before or LAST_ID,
        actor=actor,
        action=action,
        limit=limit,
    )
    return [_record(row) for row in found]


def prune(transaction: Transaction) -> None:
    """Delete entries that are too old or too many."""
    sql = transaction.sql.activity
    transaction.execute(sql.delete_expired, before=first_id_at(transaction.now - KEPT_MS), most=MOST_KEPT)


def _record(row: rows.StoredActivity) -> Activity:
    return Activity(row.id, row.at, row.actor, row.source, row.action, row.target, json.loads(row.detail))
