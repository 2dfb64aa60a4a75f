"""The transitions of runs, each inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tako_lite.records import Batch, Enqueued, Failure, NewRun, Refusal
from tako_lite.routing import DEFAULT, Route
from tako_lite.states import RunState
from tako_lite.store.base import Completed, Hold
from tako_lite.store.sqlite import limits, triggers
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import INLINE, resolve_children, wake

COLUMNS: Final = NewRun._fields.index("refusal")
"""How many fields of a new run are columns."""

_WITH_PARENT: Final = Failure("Cancelled", "cancelled with the run that invoked it", reason="cancelled").as_text()


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


def enqueue_many(transaction: Transaction, batches: Sequence[Batch]) -> None:
    """Store a run for each id and payload, in all else like the one of its batch; an id that is known changes nothing."""
    for like, runs in batches:
        _enqueue_alike(transaction, like, runs)


def _enqueue_alike(transaction: Transaction, like: NewRun, runs: Sequence[tuple[str, str]]) -> None:
    rows = json.dumps([(id, "" if len(payload) > INLINE else payload) for id, payload in runs], ensure_ascii=False)
    due_by = limits.due_by(transaction, like.limit_key)
    names = {**like._asdict(), "rows": rows, "now": transaction.now, "due_by": due_by}
    transaction.execute(sql.insert_many, names)
    for id, payload in runs:
        if len(payload) > INLINE:
            transaction.execute(sql.keep_large, (id, "payload", payload))
    if like.refusal is not None:
        _refuse(transaction, [id for id, _ in runs], like.refusal)
    elif like.run_at > transaction.now:
        transaction.effects.wake_by(like.run_at)
    else:
        _turn_away(transaction, like.workflow, like.limit_key, [id for id, _ in runs])


def _row(run: NewRun, now: int, due_by: int) -> tuple[object, ...]:
    if len(run.payload) > INLINE:
        return (*run[:4], "", *run[5:COLUMNS], now, due_by)
    return (*run[:COLUMNS], now, due_by)


def _refuse(transaction: Transaction, ids: Iterable[str], refusal: Refusal, most: int | None = None) -> None:
    """Runs end before they start, `most` of them where that is given."""
    names = {"state": refusal.state, "error": refusal.failure.as_text(), "now": transaction.now}
    for id in ids:
        if most == 0:
            return
        if transaction.changed(sql.refuse, {"id": id, **names}):
            most = None if most is None else most - 1
            ended(transaction, id, refusal.state)


def _turn_away(transaction: Transaction, workflow: str, key: str | None, ids: Sequence[str]) -> None:
    """Of runs that became due together, in the order in which they are to start, the last go if they are too many."""
    if excess := limits.too_many(transaction, workflow, key, len(ids)):
        _refuse(transaction, reversed(ids), limits.turned_away(transaction, workflow, key), excess)


def _known(transaction: Transaction, run: NewRun) -> Enqueued | None:
    row = transaction.one(sql.known, (run.id,))
    if row is None and run.unique_key is not None:
        row = transaction.one(sql.holder, (run.workflow, run.unique_key))
    if row is None:
        return None
    return Enqueued(row[0], row[1], row[2], deduplicated=True)


def complete(transaction: Transaction, done: Sequence[Completed]) -> None:
    """Claimed runs succeeded; a stale claim changes nothing."""
    now = transaction.now
    rows = [("" if len(result) > INLINE else result, now, pid, id, token) for id, token, result, pid in done]
    if transaction.executemany(sql.complete, rows).rowcount != len(done):
        done = [run for run in done if transaction.one(sql.succeeded_under, (run.id, run.token))]
    transaction.effects.succeeded.extend(run.id for run in done)
    limits.left_many(transaction, [run.id for run in done])
    for run in done:
        if len(run.result) > INLINE:
            transaction.execute(sql.keep_large, (run.id, "result", run.result))
    if transaction.one(steps_sql.any_wait):
        transaction.executemany(steps_sql.drop_waits, [(run.id,) for run in done])
        if transaction.one(steps_sql.any_child_wait):
            for run in done:
                resolve_children(transaction, run.id)


def try_again(
    transaction: Transaction, id: str, token: int, failure: Failure | None, run_at: int, pid: int, charged: bool
) -> bool:
    """A claimed run goes back for another attempt at `run_at`; one that was to be cancelled is cancelled."""
    names = {
        "id": id,
        "token": token,
        "run_at": run_at,
        "now": transaction.now,
        "charged": int(charged),
        "error": _short(failure),
        "pid": pid,
    }
    if not transaction.changed(sql.try_again, names):
        return cancel_instead(transaction, id, token, pid)
    _keep_long(transaction, id, failure)
    transaction.execute(steps_sql.forget_failed_children, (id,))
    _due(transaction, id, run_at)
    return True


def finish(
    transaction: Transaction, id: str, token: int, state: RunState, failure: Failure | None, pid: int | None, charged: bool
) -> bool:
    """A claimed run ends `dead` or `cancelled`."""
    names = {
        "id": id,
        "token": token,
        "state": state,
        "error": _short(failure),
        "now": transaction.now,
        "charged": int(charged),
        "pid": pid,
    }
    if not transaction.changed(sql.finish, names):
        return False
    _keep_long(transaction, id, failure)
    ended(transaction, id, state)
    return True


def park(transaction: Transaction, id: str, token: int, waits: Sequence[str], executed_ms: int) -> RunState | None:
    """A claimed run gives up its slot: `waiting`, or `pending` where one of these waits is over by now.

    One that was to be cancelled is `cancelled`; a stale claim is None.
    """
    over = any(transaction.one(steps_sql.wait, (id, name)) is None for name in waits)
    if not transaction.changed(sql.park, (executed_ms, id, token)):
        return "cancelled" if cancel_instead(transaction, id, token, None) else None
    limits.left(transaction, id)
    if over:
        wake(transaction, id)
        return "pending"
    return "waiting"


def give_back(
    transaction: Transaction, claims: Iterable[tuple[str, int]], hold: Hold | None, executed_ms: int, begun: bool = True
) -> None:
    """Claimed runs are due again with nothing charged; those that were to be cancelled are cancelled.

    Without `begun` no worker had them.
    """
    for id, token in claims:
        if not begun:
            limits.never_began(transaction, id)
        if transaction.changed(sql.give_back, {"id": id, "token": token, "hold": hold, "executed_ms": executed_ms}):
            _due(transaction, id, transaction.now)
        else:
            cancel_instead(transaction, id, token, None)


def charge_crash(
    transaction: Transaction, id: str, token: int, failure: Failure, max_crashes: int, pid: int
) -> RunState | None:
    """A claimed run took its worker down: due again and alone, or dead after `max_crashes`; None for a stale claim."""
    names = {
        "id": id,
        "token": token,
        "error": _short(failure),
        "max_crashes": max_crashes,
        "pid": pid,
        "now": transaction.now,
    }
    if transaction.changed(sql.charge_crash, names):
        _keep_long(transaction, id, failure)
        _due(transaction, id, transaction.now)
        return "pending"
    if transaction.changed(sql.bury_crash, names):
        _keep_long(transaction, id, failure)
        ended(transaction, id, "dead")
        return "dead"
    return "cancelled" if cancel_instead(transaction, id, token, pid) else None


def recover(transaction: Transaction) -> int:
    """Whatever was running when the last daemon ended is due again, uncharged; returns how many runs that were."""
    transaction.execute(sql.forget_losses)
    triggers.recover(transaction)
    orphans = transaction.execute(sql.orphans).fetchall()
    give_back(transaction, orphans, None, 0)
    return len(orphans)


def lift(transaction: Transaction, hold: Hold) -> None:
    """Runs that were held for this reason may be claimed again."""
    groups = transaction.execute(sql.lift, (hold,)).fetchall()
    transaction.effects.ready.update(group for (group,) in groups)


def cancel(transaction: Transaction, ids: Sequence[str]) -> dict[str, str]:
    """What became of each: `cancelled`, `cancelling` (its worker is asked), `ended` before, or `unknown`."""
    failure = Failure("Cancelled", "cancelled on request", reason="cancelled").as_text()
    return {id: _cancel_one(transaction, id, failure) for id in ids}


def _cancel_one(transaction: Transaction, id: str, failure: str) -> str:
    if transaction.one(sql.cancel, {"id": id, "now": transaction.now, "error": failure}):
        ended(transaction, id, "cancelled")
        return "cancelled"
    if transaction.changed(sql.request_cancel, (id,)):
        transaction.effects.cancelling.append(id)
        return "cancelling"
    return "ended" if transaction.one(sql.known, (id,)) else "unknown"


def retry(transaction: Transaction, routes: Mapping[str, Route], fresh: bool) -> dict[str, str]:
    """What became of each run, routed anew: `pending`, `refused` (it ended again at once), `duplicate` (a live run has its
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
    if row := transaction.one(sql.retry, names):
        if fresh:
            transaction.execute(steps_sql.forget, (id,))
            transaction.execute(steps_sql.forget_large, (id,))
        transaction.execute(steps_sql.forget_failed_children, (id,))
        if refusal := route.refusal:
            end = {"id": id, "now": transaction.now, "state": refusal.state, "error": refusal.failure.as_text()}
            transaction.execute(sql.refuse_again, end)
            transaction.effects.ended.append(id)
            return "refused"
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
        return "duplicate"
    return "succeeded" if known[1] == "succeeded" else "live"


def set_progress(transaction: Transaction, id: str, token: int, fraction: float, note: str | None) -> None:
    """How far a claimed run says it is."""
    transaction.execute(sql.set_progress, (fraction, note, id, token))


def wake_due(transaction: Transaction, limit: int) -> None:
    """Mark the runs whose time has come, `limit` at the most."""
    rows = transaction.execute(sql.ripen, {"now": transaction.now, "limit": limit}).fetchall()
    transaction.effects.ready.update(row[0] for row in rows)
    if transaction.limits:
        for (workflow, key), ids in limits.never_begun(transaction, rows).items():
            _turn_away(transaction, workflow, key, ids)


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


def prune(transaction: Transaction, keep: dict[RunState, int | None], limit: int) -> int | None:
    """Take away up to `limit` ended runs of each state that are older than `keep` (milliseconds; None is for ever).

    Returns when the next one is past its time, or None.
    """
    times: list[int] = []
    for state, age in keep.items():
        if age is None:
            continue
        names = {"state": state, "before": transaction.now - age, "limit": limit}
        gone = transaction.execute(sql.expired, names).fetchall()
        transaction.executemany(sql.prune_steps, gone)
        transaction.executemany(sql.prune_large, gone)
        if gone:
            transaction.execute(sql.count_pruned, {"state": state, "count": len(gone)})
        oldest = transaction.one(sql.oldest_finished, (state,))
        if oldest and oldest[0] is not None:
            times.append(oldest[0] + age + 1)
    return min(times, default=None)


def cancel_instead(transaction: Transaction, id: str, token: int, pid: int | None) -> bool:
    """End a claimed run that was to be cancelled; False for one that was not, or a stale claim."""
    if transaction.one(sql.cancelled_meanwhile, (id, token)) != (1,):
        return False
    failure = Failure("Cancelled", "cancelled on request", reason="cancelled")
    return finish(transaction, id, token, "cancelled", failure, pid, False)


def ended(transaction: Transaction, id: str, state: RunState) -> None:
    """A run ended; where it was cancelled, the runs that it had invoked are too."""
    transaction.effects.ended.append(id)
    limits.left(transaction, id)
    children = transaction.execute(steps_sql.own_children, (id,)).fetchall() if state == "cancelled" else ()
    transaction.execute(steps_sql.drop_waits, (id,))
    resolve_children(transaction, id)
    for (child,) in children:
        _cancel_one(transaction, child, _WITH_PARENT)
    triggers.ended(transaction, id)


def _due(transaction: Transaction, id: str, run_at: int) -> None:
    """A run left `running`, and is due at this time."""
    limits.left(transaction, id)
    if run_at > transaction.now:
        transaction.effects.wake_by(run_at)
    elif row := transaction.one(sql.known, (id,)):
        effects = transaction.effects
        (effects.suspects if row[3] == "suspect" else effects.ready).add(row[2])


def _short(failure: Failure | None) -> str | None:
    """What stands in the row of a failure."""
    text = None if failure is None else failure.as_text()
    return "" if text is not None and len(text) > INLINE else text


def _keep_long(transaction: Transaction, id: str, failure: Failure | None) -> None:
    """Store a failure that is too long for its row."""
    if failure is not None and len(text := failure.as_text()) > INLINE:
        transaction.execute(sql.insert_large, (id, "error", text))
