"""Limits of workflows, counted from rows inside a transaction, so that no crash can leak a slot.

How a limit is kept:

- A claim takes due runs first and asks afterwards. `admit` counts the running runs of each workflow and key; claimed runs
  beyond the limit are unclaimed in the same transaction and get a *hold*, `limit` or `rate`. Up to 200 runs behind them get it
  too, so that the next claims skip them instead of finding them again.
- The invariant: while a (workflow, key) has free capacity, the first runs of each group are not held.
- Every transition that ends `running`, or takes a due run away, adds the (workflow, key) to `transaction.freed`, and the rate
  key to `transaction.paced`. After each operation, `release` restores the invariant for these: it un-holds as many of the first
  runs of each group as fit. Which group has a slot for them is unknown here, so every group gets as many; a later claim holds
  those that do not fit again.
- For a rate, time frees capacity as well: `paces.free_at` is when, and the timer calls `release_due`.
- If a workflow loses its limit, its held runs are released in portions, by the timer.

Without a daemon the limits are unknown: `transaction.limits` is None, new runs of limited workflows are stored as not due, and
the next daemon judges them. Suspects are held as `suspect_limit` or `suspect_rate`, so that they stay suspects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from tako_lite.records import Claimed, Failure, Refusal
from tako_lite.store.base import Hold, Limit
from tako_lite.store.sql import Statement
from tako_lite.store.transitions import rates, rows
from tako_lite.store.transitions.keys import Keys, mark_freed, recompute_keys
from tako_lite.store.transitions.transaction import Transaction
from tako_lite.units import counted, was_or_were

HELD_AT_ONCE: Final = 200
"""How many runs behind one over the limit are held with it."""
RELEASED_AT_ONCE: Final = 2_000
"""How many runs of a group one transaction releases if their limit is gone, or for a rate; others release the rest."""
PACES_AT_ONCE: Final = 200
"""How many workflows and keys with a rate one transaction looks at; the timer asks for the next."""
_NO_LIMIT: Final = Limit()
_NEVER: Final = -1


# Claims


def admit(transaction: Transaction, group: str, hold: Hold | None, claimed: list[Claimed]) -> list[Claimed]:
    """The claimed runs of a group that are within their limits; the others are unclaimed and held."""
    limits = transaction.limits or {}
    by_key: dict[tuple[str, str], list[Claimed]] = {}
    rate_keys: dict[str, str | None] = {}
    for run in claimed:
        if (limit := limits.get(run.workflow)) is not None:
            keys = Keys(run.limit_key, run.rate_key)
            key, rate_keys[run.id] = recompute_keys(transaction, limit, run.id, run.workflow, keys, run.payload, run.tenant)
            by_key.setdefault((run.workflow, key), []).append(run)
    late: set[str] = set()
    by_rate_key: dict[tuple[str, str], list[Claimed]] = {}
    for (workflow, key), runs in by_key.items():
        admitted = _hold_beyond_limit(transaction, group, hold, workflow, key, runs)
        late.update(run.id for run in runs[admitted:])
        for run in runs[:admitted]:
            if (rate_key := rate_keys[run.id]) is not None:
                by_rate_key.setdefault((workflow, rate_key), []).append(run)
    for (workflow, rate_key), runs in by_rate_key.items():
        late.update(_hold_beyond_rate(transaction, group, hold, workflow, rate_key, sorted(runs)))
        transaction.paced.add((workflow, rate_key))
        transaction.freed.update(pair for pair in by_key if pair[0] == workflow)
    return [run for run in claimed if run.id not in late] if late else claimed


def _hold_beyond_limit(
    transaction: Transaction, group: str, hold: Hold | None, workflow: str, key: str, claimed: list[Claimed]
) -> int:
    """How many of these claimed runs are within the limit of their workflow and key; the others are held."""
    sql, most = transaction.sql.limits, (transaction.limits or {})[workflow].most
    if most is None:
        return len(claimed)
    running: int = transaction.value(sql.count_running, workflow=workflow, key=key)
    admitted = max(len(claimed) - max(running - most, 0), 0)
    if admitted < len(claimed):
        held = _held("limit", hold)
        _unclaim(transaction, (run.id for run in claimed[admitted:]), held)
        transaction.execute(sql.hold_key, workflow=workflow, key=key, group=group, hold=hold, held=held, limit=HELD_AT_ONCE)
    return admitted


def _hold_beyond_rate(
    transaction: Transaction, group: str, hold: Hold | None, workflow: str, key: str, claimed: list[Claimed]
) -> list[str]:
    """The ids of the claimed runs that may not start yet, which are held. Runs that resume after a wait have started."""
    rate = (transaction.limits or {})[workflow].rate
    assert rate is not None  # noqa: S101
    rates.drop_old_starts(transaction, workflow, rate)
    new = [run.id for run in claimed if run.executed_ms == 0]
    free = rates.count_free(transaction, workflow, key, rate)
    if starting := new[:free]:
        rates.expect_starts(transaction, workflow, key, rate, starting)
    if late := new[free:]:
        held = _held("rate", hold)
        _unclaim(transaction, late, held)
        transaction.execute(
            transaction.sql.limits.hold_rate,
            workflow=workflow,
            key=key,
            group=group,
            hold=hold,
            held=held,
            limit=HELD_AT_ONCE,
        )
    return late


def _unclaim(transaction: Transaction, ids: Iterable[str], held: str | None) -> None:
    transaction.execute_many(transaction.sql.limits.unclaim, [rows.UnclaimedRun(id, held) for id in ids])


def _held(word: Literal["limit", "rate"], hold: Hold | None) -> str:
    return f"suspect_{word}" if hold == "suspect" else word


# Capacity that becomes free


def left(transaction: Transaction, id: str) -> None:
    """A run is no longer running, or no longer due: its capacity is free. If it was expected to start, it counts as started."""
    if not transaction.limits:
        return
    keys = transaction.row(rows.RunKeys, transaction.sql.limits.select_keys, id=id)
    if keys is not None:
        rates.record_start(transaction, id, keys.workflow)
        mark_freed(transaction, *keys)


def left_many(transaction: Transaction, ids: list[str]) -> None:
    """Runs are no longer running: their capacity is free."""
    if not transaction.limits:
        return
    sql = transaction.sql.limits
    has_rates = any(limit.rate is not None for limit in transaction.limits.values())
    is_expected = has_rates and transaction.exists(sql.is_any_start_expected)
    if is_expected or transaction.exists(sql.is_any_held):
        for run in transaction.rows(rows.KeyedRun, sql.select_keys_of_many, ids=json.dumps(ids)):
            if is_expected:
                rates.record_start(transaction, run.id, run.workflow)
            mark_freed(transaction, run.workflow, run.limit_key, run.rate_key)


def record_start(transaction: Transaction, id: str) -> None:
    """A run that was expected to start has started."""
    keys = transaction.row(rows.RunKeys, transaction.sql.limits.select_keys, id=id)
    if keys is not None:
        rates.record_start(transaction, id, keys.workflow)


def record_all_starts(transaction: Transaction) -> None:
    """Count every run that was expected to start when the last daemon ended as started: it may have."""
    transaction.execute(transaction.sql.limits.record_all_starts, now=transaction.now)


def drop_expected_start(transaction: Transaction, id: str) -> None:
    """A run was claimed and reached no worker: it does not count for a rate."""
    limits = transaction.limits or {}
    if not limits:
        return
    keys = transaction.row(rows.RunKeys, transaction.sql.limits.select_keys, id=id)
    if keys is not None:
        rate = limits.get(keys.workflow, _NO_LIMIT).rate
        rates.drop_expected_start(transaction, id, keys.workflow, rate)


def release(transaction: Transaction) -> None:
    """Release as many held runs as fit into the capacity that became free, in the order in which they are to start."""
    freed, transaction.freed = transaction.freed, set()
    for workflow, key in freed:
        _release_key(transaction, workflow, key)
    paced, transaction.paced = transaction.paced, set()
    for workflow, key in paced:
        _release_rate(transaction, workflow, key)


def release_due(transaction: Transaction) -> None:
    """Release runs whose rate allows another start by now, and runs whose limit is gone."""
    sql = transaction.sql.limits
    for workflow, key in transaction.rows(rows.WorkflowKey, sql.select_due_paces, now=transaction.now, limit=PACES_AT_ONCE):
        _release_rate(transaction, workflow, key)
    soonest: int | None = transaction.value(sql.next_free_at)
    if soonest is not None:
        transaction.effects.wake_by(soonest)
    if transaction.limits is not None:
        _release_unlimited(transaction, transaction.limits)


def _release_key(transaction: Transaction, workflow: str, key: str) -> None:
    sql, most = transaction.sql.limits, (transaction.limits or {}).get(workflow, _NO_LIMIT).most
    if most is None:
        return
    free = most - transaction.value(sql.count_running, workflow=workflow, key=key)
    if free > 0:
        _release_first(transaction, sql.groups_of_key, sql.release_key, "limit", free, workflow=workflow, key=key)


def _release_rate(transaction: Transaction, workflow: str, key: str) -> None:
    sql, rate = transaction.sql.limits, (transaction.limits or {}).get(workflow, _NO_LIMIT).rate
    if rate is None:
        return
    free, free_at = rates.count_free(transaction, workflow, key, rate), None
    names = {"workflow": workflow, "key": key}
    if free > 0:  # claims release others in place of these
        _release_first(transaction, sql.groups_of_rate, sql.release_rate, "rate", min(free, RELEASED_AT_ONCE), **names)
    elif any(transaction.values(sql.groups_of_rate, held=held, **names) for held in ("rate", "suspect_rate")):
        free_at = rates.next_free_at(transaction, workflow, key, rate)
    transaction.execute(sql.set_free_at, free_at=free_at, **names)
    if free_at is not None:
        transaction.effects.wake_by(free_at)


def _release_unlimited(transaction: Transaction, limits: Mapping[str, Limit]) -> None:
    """Release a portion of the runs that are held for a limit or rate which is gone; the timer asks for the next."""
    sql = transaction.sql.limits
    for workflow in transaction.values(sql.workflows_held):
        limit = limits.get(workflow, _NO_LIMIT)
        words: list[Literal["limit", "rate"]] = []
        if limit.most is None:
            words.append("limit")
        if limit.rate is None:
            words.append("rate")
        for word in words:
            count = _release_first(transaction, sql.groups_of_all, sql.release_held, word, RELEASED_AT_ONCE, workflow=workflow)
            if count == RELEASED_AT_ONCE:
                transaction.effects.wake_by(transaction.now)


def _release_first(
    transaction: Transaction, groups: Statement, release: Statement, word: Literal["limit", "rate"], free: int, **names: str
) -> int:
    """Release up to `free` of the first runs of each group; returns how many those were in the group with the most."""
    effects, most = transaction.effects, 0
    classes: tuple[tuple[Hold | None, set[str]], ...] = ((None, effects.ready), ("suspect", effects.suspects))
    for hold, published in classes:
        held = _held(word, hold)
        for group in transaction.values(groups, held=held, **names):
            released = transaction.execute(release, group=group, hold=hold, held=held, free=free, **names)
            if released > 0:
                published.add(group)
                most = max(most, released)
    return most


def replace(transaction: Transaction, limits: Mapping[str, Limit]) -> None:
    """Make these the limits, and release the runs that the old ones held as far as the new ones allow."""
    sql = transaction.sql.limits
    transaction.limits = transaction.effects.limits = limits
    for run in transaction.rows(rows.RunningRun, sql.select_running):
        if (limit := limits.get(run.workflow)) is not None:
            keys = Keys(run.limit_key, run.rate_key)
            recompute_keys(transaction, limit, run.id, run.workflow, keys, run.payload, run.tenant)
    with_rate = json.dumps([workflow for workflow, limit in limits.items() if limit.rate is not None])
    transaction.execute(sql.drop_starts_of_others, workflows=with_rate)
    transaction.execute(sql.drop_paces_of_others, workflows=with_rate)
    for workflow, limit in limits.items():
        if limit.most is not None:
            transaction.freed.update(transaction.rows(rows.WorkflowKey, sql.keys_held, workflow=workflow))
        if limit.rate is not None:
            transaction.paced.update(transaction.rows(rows.WorkflowKey, sql.rate_keys_held, workflow=workflow))
    release_due(transaction)


# Runs that a limit refuses


def never_claimed(transaction: Transaction, due: Iterable[rows.DueRun]) -> dict[tuple[str, str], list[str]]:
    """The ids of runs of limited workflows that became due and were never claimed, by workflow and key, in starting order."""
    found: dict[tuple[str, str], list[str]] = {}
    limits = transaction.limits or {}
    for run in sorted(due, key=lambda run: (run.due_order, run.id)):
        if run.token == 0 and run.workflow in limits:
            key = run.limit_key
            if key is None:
                source = transaction.row(rows.KeySources, transaction.sql.limits.select_key_sources, id=run.id)
                payload, tenant, rate_key = source or rows.KeySources("null", None, None)
                limit = limits[run.workflow]
                key, _ = recompute_keys(transaction, limit, run.id, run.workflow, Keys(None, rate_key), payload, tenant)
            found.setdefault((run.workflow, key), []).append(run.id)
    return found


def count_excess(transaction: Transaction, workflow: str, key: str | None, new: int = 1) -> int:
    """How many of `new` runs that have just become due are beyond the limit of a workflow that queues none."""
    limit = (transaction.limits or {}).get(workflow, _NO_LIMIT)
    if key is None or limit.most is None or limit.on_limit == "queue":
        return 0
    names: dict[str, Any] = {"workflow": workflow, "key": key, "most": limit.most + new}
    return max(int(transaction.value(transaction.sql.limits.count_admitted, **names)) - limit.most, 0)


def limit_refusal(transaction: Transaction, workflow: str, key: str | None) -> Refusal:
    """How a run ends that became due beyond the limit."""
    limit = (transaction.limits or {}).get(workflow, _NO_LIMIT)
    whose = f" for {key}" if key else ""
    most = limit.most or 0
    message = f"{counted(most, 'other run')} of {workflow}{whose} {was_or_were(most)} running or due, which is its limit"
    return Refusal("cancelled" if limit.on_limit == "cancel" else "dead", Failure("LimitReached", message, None, "limit"))


def due_by(transaction: Transaction, limit_key: str | None) -> int:
    """New runs are due if their time is not later. Without a daemon, limited runs wait for the next one to judge them."""
    return transaction.now if transaction.limits is not None or limit_key is None else _NEVER
