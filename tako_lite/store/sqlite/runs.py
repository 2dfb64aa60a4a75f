"""The transitions of runs, each inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tako_lite.records import Failure
from tako_lite.states import RunState
from tako_lite.store.base import Completed, Hold
from tako_lite.store.sqlite import limits, triggers
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import INLINE, resolve_children, wake

_WITH_PARENT: Final = Failure("Cancelled", "cancelled with the run that invoked it", reason="cancelled").as_text()


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


def begin(transaction: Transaction, id: str, token: int) -> None:
    """The handler of a claimed run was called, which a rate waits for."""
    if transaction.one(sql.claimed, (id, token)):
        limits.begin(transaction, id)


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
        names = {"id": id, "token": token, "hold": hold, "executed_ms": executed_ms, "now": transaction.now}
        if transaction.changed(sql.give_back, names):
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
    limits.begin_all(transaction)
    orphans = transaction.execute(sql.orphans).fetchall()
    give_back(transaction, orphans, None, 0)
    return len(orphans)


def lift(transaction: Transaction, hold: Hold, limit: int) -> int:
    """Up to `limit` runs that were held for this reason may be claimed again; returns how many."""
    groups = transaction.execute(sql.lift, {"hold": hold, "limit": limit}).fetchall()
    transaction.effects.ready.update(group for (group,) in groups)
    return len(groups)


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


def discard(transaction: Transaction, ids: Sequence[str]) -> dict[str, str]:
    """What became of each: `discarded`, also where it was before, `not_dead` or `unknown`."""
    return {id: _discard_one(transaction, id) for id in ids}


def _discard_one(transaction: Transaction, id: str) -> str:
    if transaction.changed(sql.discard, {"id": id, "now": transaction.now}):
        return "discarded"
    row = transaction.one(sql.known, (id,))
    return "unknown" if row is None else "discarded" if row[1] == "dead" else "not_dead"


def set_progress(transaction: Transaction, id: str, token: int, fraction: float, note: str | None) -> None:
    """How far a claimed run says it is."""
    transaction.execute(sql.set_progress, (fraction, note, id, token))


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
    """A run ended; where it was cancelled, the runs that it had invoked are too, all the way down."""
    family = _left(transaction, id, state)
    while family:
        child = family.pop()
        if transaction.one(sql.cancel, {"id": child, "now": transaction.now, "error": _WITH_PARENT}):
            family += _left(transaction, child, "cancelled")
        elif transaction.changed(sql.request_cancel, (child,)):
            transaction.effects.cancelling.append(child)


def _left(transaction: Transaction, id: str, state: RunState) -> list[str]:
    """What follows from the end of one run; returns the runs that are to be cancelled with it."""
    transaction.effects.ended.append(id)
    limits.left(transaction, id)
    children = transaction.execute(steps_sql.own_children, (id,)).fetchall() if state == "cancelled" else ()
    transaction.execute(steps_sql.drop_waits, (id,))
    resolve_children(transaction, id)
    triggers.ended(transaction, id)
    return [child for (child,) in reversed(children)]


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
