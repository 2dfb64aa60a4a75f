"""How runs come to be due, each transition inside a transaction: new ones, those that start over, those whose time has come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tako_lite.records import Batch, Enqueued, NewRun, Refusal
from tako_lite.routing import Route
from tako_lite.store.sqlite import limits
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql
from tako_lite.store.sqlite.runs import ended
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import INLINE

COLUMNS: Final = NewRun._fields.index("refusal")
"""How many fields of a new run are columns."""


def enqueue(transaction: Transaction, runs: Sequence[NewRun]) -> list[Enqueued]:
    """Store new runs; one that is known by its id, or whose unique key a live run has, is returned as it is.

    That due runs are there is not among the effects: whoever asks knows the groups, and claims in the same transaction.
    """
    return [_enqueue_one(transaction, run) for run in runs]


def _enqueue_one(transaction: Transaction, run: NewRun) -> Enqueued:
    row = _row(run, transaction.now, limits.due_by(transaction, run.limit_key))
    if not transaction.changed(sql.insert, row) and (known := _known(transaction, run)):
        return known
    if len(run.payload) > INLINE:
        transaction.execute(sql.insert_large, (run.id, "payload", run.payload))
    refusal = run.refusal
    if run.run_at > transaction.now:
        if refusal is None:
            transaction.effects.wake_by(run.run_at)
    elif refusal is None and limits.too_many(transaction, run.workflow, run.limit_key):
        refusal = limits.turned_away(transaction, run.workflow, run.limit_key)
    if refusal is not None:
        _refuse(transaction, [run.id], refusal)
        return Enqueued(run.id, refusal.state, run.group, warning=refusal.failure.message)
    return Enqueued(run.id, "pending", run.group)


def enqueue_many(transaction: Transaction, batches: Sequence[Batch]) -> int:
    """Store a run for each id and payload, in all else like the one of its batch; an id that is known changes nothing.

    Returns how many of the runs ended at once: they are refused.
    """
    return sum(_enqueue_alike(transaction, like, runs) for like, runs in batches)


def _enqueue_alike(transaction: Transaction, like: NewRun, runs: Sequence[tuple[str, str]]) -> int:
    rows = json.dumps([(id, "" if len(payload) > INLINE else payload) for id, payload in runs], ensure_ascii=False)
    due_by = limits.due_by(transaction, like.limit_key)
    names = {**like._asdict(), "rows": rows, "now": transaction.now, "due_by": due_by}
    judged = like.refusal is not None or like.limit_key is not None
    known = {id for (id,) in transaction.execute(sql.those_known, (rows,)).fetchall()} if judged else frozenset[str]()
    transaction.execute(sql.insert_many, names)
    for id, payload in runs:
        if len(payload) > INLINE:
            transaction.execute(sql.keep_large, (id, "payload", payload))
    if like.refusal is not None:
        return _refuse(transaction, [id for id, _ in runs if id not in known], like.refusal)
    if like.run_at > transaction.now:
        transaction.effects.wake_by(like.run_at)
        return 0
    return _turn_away(transaction, like.workflow, like.limit_key, [id for id, _ in runs if id not in known])


def _row(run: NewRun, now: int, due_by: int) -> tuple[object, ...]:
    if len(run.payload) > INLINE:
        return (*run[:4], "", *run[5:COLUMNS], now, due_by)
    return (*run[:COLUMNS], now, due_by)


def _refuse(transaction: Transaction, ids: Iterable[str], refusal: Refusal, most: int | None = None) -> int:
    """Runs end before they start, `most` of them where that is given; returns how many did."""
    names = {"state": refusal.state, "error": refusal.failure.as_text(), "now": transaction.now}
    refused = 0
    for id in ids:
        if refused == most:
            break
        if transaction.changed(sql.refuse, {"id": id, **names}):
            refused += 1
            ended(transaction, id, refusal.state)
    return refused


def _turn_away(transaction: Transaction, workflow: str, key: str | None, ids: Sequence[str]) -> int:
    """Of runs that became due together, in the order in which they are to start, the last are refused if they are too many."""
    if excess := limits.too_many(transaction, workflow, key, len(ids)):
        return _refuse(transaction, reversed(ids), limits.turned_away(transaction, workflow, key), excess)
    return 0


def _known(transaction: Transaction, run: NewRun) -> Enqueued | None:
    row = transaction.one(sql.known, (run.id,))
    if row is None and run.unique_key is not None:
        row = transaction.one(sql.holder, (run.workflow, run.unique_key))
    if row is None:
        return None
    return Enqueued(row[0], row[1], row[2], deduplicated=True)


def retry(transaction: Transaction, routes: Mapping[str, Route], fresh: bool) -> dict[str, str]:
    """What became of each run, routed anew: `pending`, `refused` (it may not start), `duplicate` (a live run has its
    unique key), `live`, `succeeded` or `unknown`."""
    return {id: _retry_one(transaction, id, route, fresh) for id, route in routes.items()}


def _retry_one(transaction: Transaction, id: str, route: Route, fresh: bool) -> str:
    names = {
        "id": id,
        "now": transaction.now,
        "group": route.group,
        "group_source": route.group_source,
        "fallback": route.fallback,
        "fallback_source": route.fallback_source,
        "judged": int(transaction.limits is not None),
    }
    if route.refusal is None and (row := transaction.one(sql.retry, names)):
        if fresh:
            transaction.execute(steps_sql.forget, (id,))
            transaction.execute(steps_sql.forget_large, (id,))
        transaction.execute(steps_sql.forget_failed_children, (id,))
        group, workflow, key, token = row
        if token == 0 and limits.too_many(transaction, workflow, key):
            _refuse(transaction, [id], limits.turned_away(transaction, workflow, key))
            return "refused"
        transaction.effects.ready.add(group)
        return "pending"
    known = transaction.one(sql.known, (id,))
    if known is None:
        return "unknown"
    if known[1] in ("dead", "cancelled"):
        return "duplicate" if route.refusal is None else "refused"
    return "succeeded" if known[1] == "succeeded" else "live"


def wake_due(transaction: Transaction, limit: int) -> None:
    """Mark the runs whose time has come, `limit` at the most."""
    rows = transaction.execute(sql.ripen, {"now": transaction.now, "limit": limit}).fetchall()
    transaction.effects.ready.update(row[0] for row in rows)
    if transaction.limits:
        for (workflow, key), ids in limits.never_begun(transaction, rows).items():
            _turn_away(transaction, workflow, key, ids)
