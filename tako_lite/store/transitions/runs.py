"""How claimed runs end, wait and are re-queued, and what follows from that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tako_lite.named_tuples import new_tuple
from tako_lite.records import Failure
from tako_lite.states import AttemptKind, RunState
from tako_lite.store.base import MINUTES_KEPT, Completed, EndedRun, Hold, ServedRun
from tako_lite.store.transitions import activity, history, limits, minutes, rows, triggers
from tako_lite.store.transitions.transaction import Transaction
from tako_lite.store.transitions.waits import resolve_children, wake

_ON_REQUEST: Final = Failure("Cancelled", "cancelled on request", reason="cancelled")
_SERVER_LOST: Final = Failure("ServerLost", "every server that had this run was lost", reason="server_lost")
SUSPECT_LOST: Final = 2
"""How many servers may be lost with a run until it runs alone."""
MOST_LOST: Final = 5
"""How many servers may be lost with a run until it is dead: it must not take down one after the other."""
_WITH_PARENT: Final = Failure("Cancelled", "cancelled with the run that invoked it", reason="cancelled")


def complete(transaction: Transaction, done: Sequence[Completed]) -> None:
    """End claimed runs as succeeded; a stale claim changes nothing."""
    sql, now, inline = transaction.sql, transaction.now, transaction.inline
    changes: list[rows.CompletedRun] = [
        new_tuple(rows.CompletedRun, (id, token, "" if len(result) > inline else result, pid, now))
        for id, token, result, pid in done
    ]
    if transaction.execute_many(sql.runs.complete, changes) != len(done):
        done = [run for run in done if transaction.exists(sql.runs.succeeded_under, id=run.id, token=run.token)]
    transaction.effects.succeeded.extend(run.id for run in done)
    history.record_successes(transaction, done)
    limits.left_many(transaction, [run.id for run in done])
    for run in done:
        if len(run.result) > transaction.inline:
            transaction.execute(sql.runs.add_large, run_id=run.id, kind="result", value=run.result)
    if transaction.exists(sql.steps.is_any_wait):
        transaction.execute_many(sql.steps.delete_waits, [rows.RunId(run.id) for run in done])
        if transaction.exists(sql.steps.is_any_child_wait):
            for run in done:
                resolve_children(transaction, run.id)


def mark_begun(transaction: Transaction, id: str, token: int) -> None:
    """Record that the handler of a claimed run was called: a rate counts it from now on."""
    if transaction.exists(transaction.sql.runs.is_claimed, id=id, token=token):
        limits.record_start(transaction, id)


def reschedule(
    transaction: Transaction, id: str, token: int, failure: Failure | None, run_at: int, pid: int, charged: bool
) -> bool:
    """Re-queue a claimed run for another attempt at `run_at`, or cancel it if that was requested."""
    changed = transaction.execute(
        transaction.sql.runs.reschedule,
        id=id,
        token=token,
        run_at=run_at,
        now=transaction.now,
        charged=int(charged),
        error=_short(transaction, failure),
        fingerprint=history.fingerprint_of(failure),
        pid=pid,
    )
    if not changed:
        return cancel_if_requested(transaction, id, token, pid)
    kind = history.kind_of(failure)
    history.record_attempt(transaction, rows.Claim(id, token), kind, pid, failure, charged)
    _keep_long(transaction, id, failure)
    transaction.execute(transaction.sql.steps.delete_failed_children, run_id=id)
    _requeued(transaction, id, run_at)
    return True


def finish(
    transaction: Transaction, id: str, token: int, state: RunState, failure: Failure | None, pid: int | None, charged: bool
) -> bool:
    """End a claimed run as `dead` or `cancelled`; False for a stale claim."""
    changed = transaction.execute(
        transaction.sql.runs.finish,
        id=id,
        token=token,
        state=state,
        error=_short(transaction, failure),
        fingerprint=history.fingerprint_of(failure),
        now=transaction.now,
        charged=int(charged),
        pid=pid,
    )
    if not changed:
        return False
    history.record_attempt(transaction, rows.Claim(id, token), history.kind_of(failure), pid, failure, charged)
    _keep_long(transaction, id, failure)
    ended(transaction, id, state)
    return True


def park(
    transaction: Transaction, id: str, token: int, waits: Sequence[str], executed_ms: int, pid: int | None
) -> RunState | None:
    """Free the slot of a claimed run that only waits.

    The run is `waiting`, `pending` if one of these waits has ended meanwhile, or `cancelled` if that was requested. Returns
    that state, or None for a stale claim.
    """
    sql = transaction.sql
    has_ended = any(not transaction.exists(sql.steps.find_wait, run_id=id, name=name) for name in waits)
    if not transaction.execute(sql.runs.park, id=id, token=token, executed_ms=executed_ms):
        return "cancelled" if cancel_if_requested(transaction, id, token, pid) else None
    history.record_attempt(transaction, rows.Claim(id, token), "parked", pid, None, False)
    limits.left(transaction, id)
    if has_ended:
        wake(transaction, id)
        return "pending"
    return "waiting"


def requeue(
    transaction: Transaction,
    claims: Iterable[tuple[str, int]],
    hold: Hold | None,
    executed_ms: int,
    ended_as: AttemptKind | None,
    pid: int | None = None,
) -> None:
    """Make claimed runs due again and charge nothing, or cancel those for which that was requested.

    `ended_as` is how their attempts ended; None says that no worker received them.
    """
    for id, token in claims:
        if ended_as is None:
            limits.drop_expected_start(transaction, id)
        changed = transaction.execute(
            transaction.sql.runs.requeue, id=id, token=token, hold=hold, executed_ms=executed_ms, now=transaction.now
        )
        if not changed:
            cancel_if_requested(transaction, id, token, pid)
            continue
        if ended_as is None:
            transaction.execute(transaction.sql.runs.forget_start, id=id, token=token)
        else:
            history.record_attempt(transaction, rows.Claim(id, token), ended_as, pid, None, False)
        _requeued(transaction, id, transaction.now)


def charge_crash(
    transaction: Transaction, id: str, token: int, failure: Failure, max_crashes: int, pid: int
) -> RunState | None:
    """Charge a claimed run with the end of its worker.

    The run is due again and runs alone, or it is `dead` after `max_crashes`. Returns its state, or None for a stale claim.
    """
    sql, now = transaction.sql, transaction.now
    values: dict[str, Any] = {
        "error": _short(transaction, failure),
        "fingerprint": history.fingerprint_of(failure),
        "pid": pid,
        "now": now,
    }
    claim = rows.Claim(id, token)
    if transaction.execute(sql.runs.charge_crash, id=id, token=token, max_crashes=max_crashes, **values):
        history.record_attempt(transaction, claim, "crashed", pid, failure, False)
        _keep_long(transaction, id, failure)
        _requeued(transaction, id, now)
        return "pending"
    if transaction.execute(sql.runs.end_crashed, id=id, token=token, **values):
        history.record_attempt(transaction, claim, "crashed", pid, failure, False)
        _keep_long(transaction, id, failure)
        ended(transaction, id, "dead")
        return "dead"
    return "cancelled" if cancel_if_requested(transaction, id, token, pid) else None


def recover(transaction: Transaction, server: str, boot_id: str) -> Mapping[str, int]:
    """Re-queue, uncharged, every run that a process claimed which is gone; returns how many, by the name of its server."""
    sql = transaction.sql
    transaction.execute(sql.groups.mark_all_available)
    triggers.recover(transaction)
    limits.record_all_starts(transaction)
    orphans = transaction.rows(rows.Orphan, sql.runs.select_orphans, server=server, live=boot_id)
    done = _requeue_orphans(transaction, [orphan.id for orphan in orphans if orphan.lost < SUSPECT_LOST])
    for id, token, lost, _ in orphans:
        if id in done:
            continue
        if lost >= MOST_LOST and finish(transaction, id, token, "dead", _SERVER_LOST, None, False):
            continue
        requeue(transaction, [(id, token)], "suspect" if lost >= SUSPECT_LOST else None, 0, "interrupted")
    return Counter(orphan.server for orphan in orphans)


def _requeue_orphans(transaction: Transaction, ids: Sequence[str]) -> set[str]:
    """Re-queue those of many orphans whose cancellation was not requested, all at once: there may be 100,000 of them."""
    if not ids:
        return set()
    sql, effects = transaction.sql, transaction.effects
    found = transaction.rows(rows.RequeuedRun, sql.runs.requeue_orphans, ids=json.dumps([*ids]), now=transaction.now)
    done = [run.id for run in found]
    history.record_interrupted(transaction, [rows.Claim(run.id, run.token) for run in found])
    limits.left_many(transaction, done)
    for group, hold in {(run.group, run.hold) for run in found}:
        (effects.suspects if hold == "suspect" else effects.ready).add(group)
    return set(done)


def release_held(transaction: Transaction, hold: Hold, limit: int) -> int:
    """Make up to `limit` runs with this hold claimable again; returns how many."""
    groups = transaction.values(transaction.sql.runs.release_held, hold=hold, limit=limit)
    transaction.effects.ready.update(groups)
    return len(groups)


def cancel(transaction: Transaction, ids: Sequence[str]) -> dict[str, str]:
    """Cancel runs; returns for each `cancelled`, `cancelling` (its worker is asked), `ended` (it was over) or `unknown`."""
    error = _ON_REQUEST.as_text()
    done = _cancel_unclaimed(transaction, ids, error) if len(ids) > 1 else ()
    return {id: "cancelled" if id in done else _cancel_one(transaction, id, error) for id in ids}


def _cancel_unclaimed(transaction: Transaction, ids: Sequence[str], error: str) -> set[str]:
    """Cancel those of many runs of which nothing else is stored, all at once."""
    sql = transaction.sql
    ends = transaction.rows(EndedRun, sql.runs.cancel_unclaimed, ids=json.dumps([*ids]), now=transaction.now, error=error)
    transaction.effects.ended += ends
    done = [end.run_id for end in ends]
    for id in transaction.values(sql.steps.select_awaited, ids=json.dumps(done)) if done else ():
        resolve_children(transaction, id)
    return set(done)


def _cancel_one(transaction: Transaction, id: str, error: str) -> str:
    sql = transaction.sql
    if transaction.execute(sql.runs.cancel, id=id, now=transaction.now, error=error):
        ended(transaction, id, "cancelled")
        return "cancelled"
    if _request_cancel(transaction, id):
        return "cancelling"
    return "ended" if transaction.exists(sql.runs.find, id=id) else "unknown"


def _request_cancel(transaction: Transaction, id: str) -> bool:
    """Request the cancellation of a running run; False for one that is not running."""
    running = transaction.row(ServedRun, transaction.sql.runs.request_cancel, id=id)
    if running is not None:
        transaction.effects.cancelling.append(running)
    return running is not None


def discard(transaction: Transaction, ids: Sequence[str]) -> dict[str, str]:
    """Acknowledge dead runs; returns for each `discarded` (also if it was before), `not_dead` or `unknown`."""
    return {id: _discard_one(transaction, id) for id in ids}


def _discard_one(transaction: Transaction, id: str) -> str:
    if transaction.execute(transaction.sql.runs.discard, id=id, now=transaction.now):
        return "discarded"
    found = transaction.row(rows.FoundRun, transaction.sql.runs.find, id=id)
    return "unknown" if found is None else "discarded" if found.state == "dead" else "not_dead"


def set_progress(transaction: Transaction, id: str, token: int, fraction: float, note: str | None) -> None:
    """Store how far a claimed run has come."""
    transaction.execute(transaction.sql.runs.set_progress, id=id, token=token, fraction=fraction, note=note)


def prune(transaction: Transaction, keep: dict[RunState, int | None], limit: int) -> int | None:
    """Delete up to `limit` ended runs of each state that are older than `keep` (milliseconds; None means for ever).

    Returns when the next one is old enough, or None.
    """
    sql = transaction.sql
    minutes.prune(transaction, MINUTES_KEPT)
    activity.prune(transaction)
    times: list[int] = []
    for state, age in keep.items():
        if age is None:
            continue
        gone = transaction.rows(
            rows.DeletedRun, sql.runs.delete_expired, state=state, before=transaction.now - age, limit=limit
        )
        if gone:
            transaction.execute_many(sql.runs.delete_steps, gone)
            transaction.execute_many(sql.attempts.delete, gone)
            transaction.execute_many(sql.runs.delete_large, gone)
            transaction.execute(sql.runs.count_pruned, state=state, count=len(gone))
        oldest = transaction.value(sql.runs.oldest_finished, state=state)
        if oldest is not None:
            times.append(oldest + age + 1)
    return min(times, default=None)


def cancel_if_requested(transaction: Transaction, id: str, token: int, pid: int | None) -> bool:
    """Cancel a claimed run if that was requested; False if it was not, and for a stale claim."""
    if transaction.value(transaction.sql.runs.is_cancel_requested, id=id, token=token) != 1:
        return False
    return finish(transaction, id, token, "cancelled", _ON_REQUEST, pid, False)


def ended(transaction: Transaction, id: str, state: RunState) -> None:
    """Apply what follows from the end of a run; if it was cancelled, cancel all that it invoked, and what those invoked."""
    if state == "dead" and transaction.hooks is not None and transaction.hooks.on_dead:
        transaction.died.append(id)
    error = _WITH_PARENT.as_text()
    family = _end_one(transaction, id, state)
    while family:
        child = family.pop()
        if transaction.execute(transaction.sql.runs.cancel, id=child, now=transaction.now, error=error):
            family += _end_one(transaction, child, "cancelled")
        else:
            _request_cancel(transaction, child)


def _end_one(transaction: Transaction, id: str, state: RunState) -> list[str]:
    """Apply what follows from the end of one run; returns the runs that are to be cancelled with it."""
    sql = transaction.sql
    if (end := transaction.row(EndedRun, sql.runs.select_ended, id=id)) is not None:
        transaction.effects.ended.append(end)
    limits.left(transaction, id)
    children = transaction.values(sql.steps.select_children, run_id=id) if state == "cancelled" else []
    transaction.execute(sql.steps.delete_waits, run_id=id)
    resolve_children(transaction, id)
    triggers.ended(transaction, id)
    return list(reversed(children))


def _requeued(transaction: Transaction, id: str, run_at: int) -> None:
    """Apply what follows once a run is no longer `running` and is due at this time."""
    limits.left(transaction, id)
    if run_at > transaction.now:
        transaction.effects.wake_by(run_at)
    elif (found := transaction.row(rows.FoundRun, transaction.sql.runs.find, id=id)) is not None:
        effects = transaction.effects
        (effects.suspects if found.hold == "suspect" else effects.ready).add(found.group)


def _short(transaction: Transaction, failure: Failure | None) -> str | None:
    """The text of a failure for its row: empty where it is stored beside the row."""
    text = None if failure is None else failure.as_text()
    return "" if text is not None and len(text) > transaction.inline else text


def _keep_long(transaction: Transaction, id: str, failure: Failure | None) -> None:
    """Store a failure that is too long for its row."""
    if failure is not None and len(text := failure.as_text()) > transaction.inline:
        transaction.execute(transaction.sql.runs.put_large, run_id=id, kind="error", value=text)
