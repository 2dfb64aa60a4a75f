"""How runs become due: new runs, runs that start over, and delayed runs whose time has come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from tako_lite.records import Batch, Enqueued, NewRun, Refusal
from tako_lite.routing import Route
from tako_lite.store.base import EnqueuedRuns
from tako_lite.store.transitions import limits, rows
from tako_lite.store.transitions.history import fingerprint_of
from tako_lite.store.transitions.runs import ended
from tako_lite.store.transitions.transaction import Transaction


def enqueue(transaction: Transaction, runs: Sequence[NewRun]) -> list[Enqueued]:
    """Store new runs. One whose id is known, or whose unique key belongs to a live run, is answered with that run.

    `effects.ready` does not get the groups: the caller has notified the dispatcher already, so that the claim shares this
    transaction.
    """
    return [_enqueue_one(transaction, run) for run in runs]


def _enqueue_one(transaction: Transaction, run: NewRun) -> Enqueued:
    sql = transaction.sql.runs
    row = _row(transaction, run)
    if not transaction.execute_many(sql.insert, (row,)) and (found := _find(transaction, run)):
        return found
    if len(run.payload) > transaction.inline:
        transaction.execute(sql.put_large, run_id=run.id, kind="payload", value=run.payload)
    refusal = run.refusal
    if run.run_at > transaction.now:
        if refusal is None:
            transaction.effects.wake_by(run.run_at)
    elif refusal is None and limits.count_excess(transaction, run.workflow, run.limit_key):
        refusal = limits.limit_refusal(transaction, run.workflow, run.limit_key)
    else:
        transaction.effects.arrived.add(run.group)
    if refusal is not None:
        _refuse(transaction, [run.id], refusal)
        return Enqueued(run.id, refusal.state, run.group, warning=refusal.failure.message)
    return Enqueued(run.id, "pending", run.group)


def enqueue_many(transaction: Transaction, batches: Sequence[Batch]) -> int:
    """Store a run for each id and payload; the rest is that of its batch. An id that is known changes nothing.

    Returns how many of the runs ended at once because they were refused.
    """
    return sum(_enqueue_batch(transaction, like, runs) for like, runs in batches)


def _enqueue_batch(transaction: Transaction, like: NewRun, runs: Sequence[tuple[str, str]]) -> int:
    sql = transaction.sql.runs
    texts = json.dumps([(id, "" if len(payload) > transaction.inline else payload) for id, payload in runs], ensure_ascii=False)
    is_judged = like.refusal is not None or like.limit_key is not None
    known = set(transaction.values(sql.select_known_ids, rows=texts)) if is_judged else frozenset[str]()
    transaction.execute(
        sql.insert_many,
        rows=texts,
        workflow=like.workflow,
        group=like.group,
        group_source=like.group_source,
        run_at=like.run_at,
        priority=like.priority,
        max_attempts=like.max_attempts,
        parent=like.parent,
        tenant=like.tenant,
        fallback=like.fallback,
        fallback_source=like.fallback_source,
        limit_key=like.limit_key,
        rate_key=like.rate_key,
        trace=like.trace,
        now=transaction.now,
        due_by=limits.due_by(transaction, like.limit_key),
    )
    if long := [rows.LargeValue(id, "payload", payload) for id, payload in runs if len(payload) > transaction.inline]:
        transaction.execute_many(sql.add_large, long)
    if like.refusal is not None:
        return _refuse(transaction, [id for id, _ in runs if id not in known], like.refusal)
    if like.run_at > transaction.now:
        transaction.effects.wake_by(like.run_at)
        return 0
    transaction.effects.arrived.add(like.group)
    return _refuse_excess(transaction, like.workflow, like.limit_key, [id for id, _ in runs if id not in known])


def _row(transaction: Transaction, run: NewRun) -> rows.InsertedRun:
    return rows.InsertedRun(
        run.id,
        run.workflow,
        run.group,
        run.group_source,
        "" if len(run.payload) > transaction.inline else run.payload,
        run.run_at,
        run.priority,
        run.max_attempts,
        run.unique_key,
        run.parent,
        run.tenant,
        run.fallback,
        run.fallback_source,
        run.limit_key,
        run.rate_key,
        run.again_of,
        run.trace,
        transaction.now,
        limits.due_by(transaction, run.limit_key),
    )


def _refuse(transaction: Transaction, ids: Iterable[str], refusal: Refusal, most: int | None = None) -> int:
    """End runs before they start, no more than `most` of them if that is given; returns how many ended."""
    sql, failure = transaction.sql.runs, refusal.failure
    values = {
        "state": refusal.state,
        "error": failure.as_text(),
        "fingerprint": fingerprint_of(failure) if refusal.state == "dead" else None,
        "now": transaction.now,
    }
    refused = 0
    for id in ids:
        if refused == most:
            break
        if transaction.execute(sql.refuse, id=id, **values):
            refused += 1
            ended(transaction, id, refusal.state)
    return refused


def _refuse_excess(transaction: Transaction, workflow: str, key: str | None, ids: Sequence[str]) -> int:
    """Of runs that became due together, in the order in which they are to start, refuse the last ones beyond the limit."""
    if excess := limits.count_excess(transaction, workflow, key, len(ids)):
        return _refuse(transaction, reversed(ids), limits.limit_refusal(transaction, workflow, key), excess)
    return 0


def _find(transaction: Transaction, run: NewRun) -> Enqueued | None:
    sql = transaction.sql.runs
    found = transaction.row(rows.FoundRun, sql.find, id=run.id)
    if found is None and run.unique_key is not None:
        found = transaction.row(rows.FoundRun, sql.find_by_unique_key, workflow=run.workflow, unique_key=run.unique_key)
    return None if found is None else Enqueued(found.id, found.state, found.group, deduplicated=True)


def retry(transaction: Transaction, routes: Mapping[str, Route], fresh: bool) -> dict[str, str]:
    """Start dead and cancelled runs over, each by its new route; `fresh` deletes their steps.

    Returns for each `pending`, `refused` (it may not start), `duplicate` (a live run has its unique key), `live`, `succeeded`
    or `unknown`.
    """
    return {id: _retry_one(transaction, id, route, fresh) for id, route in routes.items()}


def _retry_one(transaction: Transaction, id: str, route: Route, fresh: bool) -> str:
    sql = transaction.sql
    if route.refusal is None and (retried := _start_over(transaction, id, route)):
        if fresh:
            transaction.execute(sql.steps.delete_all, run_id=id)
            transaction.execute(sql.steps.delete_large, run_id=id)
            transaction.execute(sql.code.forget, id=id)
        transaction.execute(sql.steps.delete_failed_children, run_id=id)
        if retried.token == 0 and limits.count_excess(transaction, retried.workflow, retried.limit_key):
            _refuse(transaction, [id], limits.limit_refusal(transaction, retried.workflow, retried.limit_key))
            return "refused"
        transaction.effects.ready.add(retried.group)
        transaction.effects.enqueued.append(EnqueuedRuns(retried.group, retried.workflow, "retry"))
        return "pending"
    found = transaction.row(rows.FoundRun, sql.runs.find, id=id)
    if found is None:
        return "unknown"
    if found.state in ("dead", "cancelled"):
        return "duplicate" if route.refusal is None else "refused"
    return "succeeded" if found.state == "succeeded" else "live"


def _start_over(transaction: Transaction, id: str, route: Route) -> rows.RetriedRun | None:
    return transaction.row(
        rows.RetriedRun,
        transaction.sql.runs.retry,
        id=id,
        now=transaction.now,
        group=route.group,
        group_source=route.group_source,
        fallback=route.fallback,
        fallback_source=route.fallback_source,
        judged=int(transaction.limits is not None),
    )


def mark_due(transaction: Transaction, limit: int) -> None:
    """Mark up to `limit` delayed runs whose time has come as due."""
    due = transaction.rows(rows.DueRun, transaction.sql.runs.mark_due, now=transaction.now, limit=limit)
    transaction.effects.ready.update(run.group for run in due)
    if transaction.limits:
        for (workflow, key), ids in limits.never_claimed(transaction, due).items():
            _refuse_excess(transaction, workflow, key, ids)
