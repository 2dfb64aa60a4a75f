"""The transitions of runs, each inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from tako_lite.records import Claimed, Enqueued, Failure, NewRun
from tako_lite.states import RunState
from tako_lite.store.base import Claims, Completed, Hold
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import INLINE, resolve_children, wake


def enqueue(transaction: Transaction, runs: Sequence[NewRun]) -> list[Enqueued]:
    """Store new runs; one that is known by its id, or whose unique key a live run has, is returned as it is.

    That due runs are there is not among the effects: whoever asks knows the groups, and claims in the same transaction.
    """
    return [_enqueue_one(transaction, run) for run in runs]


def _enqueue_one(transaction: Transaction, run: NewRun) -> Enqueued:
    if transaction.changed(sql.insert, _row(run, transaction.now)):
        return _announce(transaction, run)
    return _known(transaction, run) or _announce(transaction, run)


def enqueue_many(transaction: Transaction, like: NewRun, runs: Sequence[tuple[str, str]]) -> None:
    """Store a run for each id and payload, in all else like the given one; an id that is known already changes nothing."""
    rows = json.dumps([(id, "" if len(payload) > INLINE else payload) for id, payload in runs], ensure_ascii=False)
    names = {**like._asdict(), "rows": rows, "now": transaction.now}
    transaction.execute(sql.insert_many, names)
    for id, payload in runs:
        if len(payload) > INLINE:
            transaction.execute(sql.keep_large, (id, "payload", payload))
    if like.run_at > transaction.now:
        transaction.effects.wake_by(like.run_at)


def _row(run: NewRun, now: int) -> tuple[object, ...]:
    if len(run.payload) > INLINE:
        return (*run[:4], "", *run[5:], now)
    return (*run, now)


def _announce(transaction: Transaction, run: NewRun) -> Enqueued:
    if len(run.payload) > INLINE:
        transaction.execute(sql.insert_large, (run.id, "payload", run.payload))
    if run.run_at > transaction.now:
        transaction.effects.wake_by(run.run_at)
    return Enqueued(run.id, "pending", run.group)


def _known(transaction: Transaction, run: NewRun) -> Enqueued | None:
    row = transaction.one(sql.known, (run.id,))
    if row is None and run.unique_key is not None:
        row = transaction.one(sql.holder, (run.workflow, run.unique_key))
    if row is None:
        return None
    return Enqueued(row[0], row[1], row[2], deduplicated=True)


def claim(transaction: Transaction, group: str, limit: int, hold: Hold | None, server: str, boot_id: str) -> Claims:
    """Up to `limit` due runs of a group, in the order in which they are to start, each under a new token."""
    names = {
        "group": group,
        "hold": hold,
        "limit": limit,
        "server": server,
        "boot_id": boot_id,
        "now": transaction.now,
    }
    rows = transaction.execute(sql.claim, names).fetchall()
    rows.sort()
    runs = [Claimed(*row[1:]) for row in rows]
    more = len(rows) == limit and transaction.one(sql.more, {"group": group, "hold": hold}) == (1,)
    again = [run.id for run in runs if run.token > 1]
    if again:
        runs = _with_steps(transaction, runs, again)
    return Claims(runs, more)


def _with_steps(transaction: Transaction, runs: list[Claimed], again: list[str]) -> list[Claimed]:
    having = {row[0] for row in transaction.execute(steps_sql.has_steps, (json.dumps(again),)).fetchall()}
    return [
        run._replace(stored=tuple(transaction.execute(steps_sql.of_run, (run.id,)).fetchall())) if run.id in having else run
        for run in runs
    ]


def complete(transaction: Transaction, done: Sequence[Completed]) -> None:
    """Claimed runs succeeded; a stale claim changes nothing."""
    now = transaction.now
    rows = [("" if len(result) > INLINE else result, now, pid, id, token) for id, token, result, pid in done]
    if transaction.executemany(sql.complete, rows).rowcount != len(done):
        done = [run for run in done if transaction.one(sql.succeeded_under, (run.id, run.token))]
    transaction.effects.succeeded.extend(run.id for run in done)
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
    _ended(transaction, id)
    return True


def park(transaction: Transaction, id: str, token: int, waits: Sequence[str], executed_ms: int) -> RunState | None:
    """A claimed run gives up its slot: `waiting`, or `pending` where one of these waits is over by now.

    One that was to be cancelled is `cancelled`; a stale claim is None.
    """
    over = any(transaction.one(steps_sql.wait, (id, name)) is None for name in waits)
    if not transaction.changed(sql.park, (executed_ms, id, token)):
        return "cancelled" if cancel_instead(transaction, id, token, None) else None
    if over:
        wake(transaction, id)
        return "pending"
    return "waiting"


def give_back(transaction: Transaction, claims: Iterable[tuple[str, int]], hold: Hold | None, executed_ms: int) -> None:
    """Claimed runs are due again with nothing charged; those that were to be cancelled are cancelled."""
    for id, token in claims:
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
        _ended(transaction, id)
        return "dead"
    return "cancelled" if cancel_instead(transaction, id, token, pid) else None


def recover(transaction: Transaction) -> int:
    """Whatever was running when the last daemon ended is due again, uncharged; returns how many runs that were."""
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
        _ended(transaction, id)
        return "cancelled"
    if transaction.changed(sql.request_cancel, (id,)):
        transaction.effects.cancelling.append(id)
        return "cancelling"
    return "ended" if transaction.one(sql.known, (id,)) else "unknown"


def retry(transaction: Transaction, ids: Sequence[str], fresh: bool) -> dict[str, str]:
    """What became of each: `pending`, `duplicate` (a live run has its unique key), `live`, `succeeded` or `unknown`."""
    return {id: _retry_one(transaction, id, fresh) for id in ids}


def _retry_one(transaction: Transaction, id: str, fresh: bool) -> str:
    if row := transaction.one(sql.retry, {"id": id, "now": transaction.now}):
        transaction.effects.ready.add(row[0])
        if fresh:
            transaction.execute(steps_sql.forget, (id,))
            transaction.execute(steps_sql.forget_large, (id,))
        transaction.execute(steps_sql.forget_failed_children, (id,))
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


def _ended(transaction: Transaction, id: str) -> None:
    transaction.effects.ended.append(id)
    transaction.execute(steps_sql.drop_waits, (id,))
    resolve_children(transaction, id)


def _due(transaction: Transaction, id: str, run_at: int) -> None:
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
