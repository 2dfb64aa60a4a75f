"""Limits and rates of workflows, counted from rows inside a transaction, so that whatever crashes leaks no place.

A claimed run for which there is no place is put back with a hold, and so are those behind it, so that no claim finds them.
Where a workflow and key has places free, the first runs in each group are not held. A transition that takes a run away from
`running` or from the due ones notes that in `freed` and `paced`, and `release` puts this right again after the operation; for a
rate the timer does. Where a workflow has lost its limit, all that it held is let go in portions, the rest by the timer.

A rate holds at the first line of the handlers. A run that was given to a worker is expected to begin at any moment, and counts
in every stretch of time until its worker says that it has begun; from then on the moment of that report counts, which is never
earlier than the first line. So however long a run is on its way, no stretch has more starts than the rate allows. Besides, the
runs of a workflow and key are spaced evenly, with a small burst: this is the generic cell rate algorithm (ITU-T I.371) over
`even_at`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from tako_lite.new_run import key_of
from tako_lite.records import Failure, Refusal
from tako_lite.store.base import Hold, Limit
from tako_lite.store.sqlite.queries import limits as sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.units import Rate, counted, was_or_were

HELD_AT_ONCE: Final = 200
"""How many runs behind one that has no place are held with it."""
RELEASED_AT_ONCE: Final = 2_000
"""How many runs of a group one transaction lets go of a limit that is gone, or of a rate; the rest follow in others."""
PACES_AT_ONCE: Final = 200
"""How many workflows and keys with a rate one transaction looks at; the timer asks for the next."""
_EXPECTED: Final = 1 << 62
"""The start time of a run that a worker has, and whose start the worker has not reported yet."""
_ROUNDING: Final = 1e-6
_NO_LIMIT: Final = Limit()
_NEVER: Final = -1

Row = tuple[Any, ...]
"""What a claim returned of a run: the columns of the statement `claim`."""


def admit(transaction: Transaction, group: str, hold: Hold | None, rows: list[Row]) -> list[Row]:
    """The claimed runs of a group for which there is a place; the others are put back."""
    limits = transaction.limits or {}
    by_key: dict[tuple[str, str], list[Row]] = {}
    rate_keys: dict[str, str | None] = {}
    for row in rows:
        if (limit := limits.get(row[2])) is not None:
            keys = Keys(row[12], row[13])
            key, rate_keys[row[1]] = adopt(transaction, limit, row[1], row[2], keys, row[10], row[9])
            by_key.setdefault((row[2], key), []).append(row)
    late: set[str] = set()
    by_rate_key: dict[tuple[str, str], list[Row]] = {}
    for (workflow, key), claimed in by_key.items():
        admitted = _within_limit(transaction, group, hold, workflow, key, claimed)
        late.update(row[1] for row in claimed[admitted:])
        for row in claimed[:admitted]:
            if (rate_key := rate_keys[row[1]]) is not None:
                by_rate_key.setdefault((workflow, rate_key), []).append(row)
    for (workflow, rate_key), claimed in by_rate_key.items():
        late.update(_beyond_rate(transaction, group, hold, workflow, rate_key, sorted(claimed)))
        transaction.paced.add((workflow, rate_key))
        transaction.freed.update(pair for pair in by_key if pair[0] == workflow)
    return [row for row in rows if row[1] not in late] if late else rows


class Keys(NamedTuple):
    """What a run is counted by: for the limit of its workflow, and for its rate."""

    limit: str | None
    rate: str | None


def adopt(
    transaction: Transaction, limit: Limit, id: str, workflow: str, keys: Keys, payload: str, tenant: str | None
) -> tuple[str, str | None]:
    """What a run is counted by from now on: its workflow may have got another limit since it was stored."""
    key = key_of(limit.key, payload, tenant)
    rate_key = None if limit.rate is None else key_of(limit.rate_key, payload, tenant)
    if (key, rate_key) != keys:
        transaction.execute(sql.set_keys, (key, rate_key, id))
        _leave(transaction, workflow, *keys)
    return key, rate_key


def _leave(transaction: Transaction, workflow: str, key: str | None, rate_key: str | None) -> None:
    """A run no longer counts for these keys, or counts in another state."""
    if key is not None:
        transaction.freed.add((workflow, key))
    if rate_key is not None:
        transaction.paced.add((workflow, rate_key))


def _within_limit(transaction: Transaction, group: str, hold: Hold | None, workflow: str, key: str, claimed: list[Row]) -> int:
    """How many of these claimed runs are within the limit of their workflow and key."""
    most = (transaction.limits or {})[workflow].most
    if most is None:
        return len(claimed)
    running = _number(transaction, sql.running, (workflow, key))
    admitted = max(len(claimed) - max(running - most, 0), 0)
    if admitted < len(claimed):
        names = {"workflow": workflow, "key": key, "group": group, "hold": hold, "held": _held("limit", hold)}
        _put_back(transaction, (row[1] for row in claimed[admitted:]), names["held"])
        transaction.execute(sql.hold_key, {**names, "limit": HELD_AT_ONCE})
    return admitted


def _beyond_rate(
    transaction: Transaction, group: str, hold: Hold | None, workflow: str, key: str, claimed: list[Row]
) -> list[str]:
    """The ids of the claimed runs that may not begin yet; those that go on after a wait have begun."""
    rate = (transaction.limits or {})[workflow].rate
    assert rate is not None  # noqa: S101
    since = _since(transaction, rate)
    transaction.execute(sql.forget, (workflow, since))
    transaction.execute(sql.forget_paces, (workflow, transaction.now))
    new = [row[1] for row in claimed if row[7] == 0]
    room = _room(transaction, workflow, key, rate)
    if begin := new[:room]:
        transaction.executemany(sql.expect, [(workflow, key, id) for id in begin])
        even_at = max(_even_at(transaction, workflow, key, rate), transaction.now) + len(begin) * rate.pause
        transaction.execute(sql.keep_pace, {"workflow": workflow, "key": key, "even_at": even_at})
    if late := new[room:]:
        names = {"workflow": workflow, "key": key, "group": group, "hold": hold, "held": _held("rate", hold)}
        _put_back(transaction, late, names["held"])
        transaction.execute(sql.hold_rate, {**names, "limit": HELD_AT_ONCE})
    return late


def _room(transaction: Transaction, workflow: str, key: str, rate: Rate) -> int:
    """How many runs of a workflow and key may begin now."""
    names = {"workflow": workflow, "key": key, "now": transaction.now}
    transaction.execute(sql.turn_back, names)
    began = _number(transaction, sql.began, (workflow, key, _since(transaction, rate)))
    ahead = max(_even_at(transaction, workflow, key, rate) - transaction.now, 0.0)
    return max(min(rate.most - began, int(rate.at_once - ahead / rate.pause + _ROUNDING)), 0)


def _even_at(transaction: Transaction, workflow: str, key: str, rate: Rate) -> float:
    """When the next run would begin if all were spaced evenly, which is not far off, even where the clock went back."""
    row, most = transaction.one(sql.pace, (workflow, key)), transaction.now + rate.at_once * rate.pause
    if row is None or row[0] <= most:
        return row[0] if row else 0.0
    transaction.execute(sql.keep_pace, {"workflow": workflow, "key": key, "even_at": most})
    return most


def _free_at(transaction: Transaction, workflow: str, key: str, rate: Rate) -> int | None:
    """When the next run may begin; None where that depends on one which is expected to begin itself."""
    since = _since(transaction, rate)
    over = _number(transaction, sql.began, (workflow, key, since)) - rate.most
    oldest = 0 if over < 0 else _number(transaction, sql.began_at, (workflow, key, since, over)) + transaction.now - since + 1
    even_at = _even_at(transaction, workflow, key, rate) - (rate.at_once - 1) * rate.pause
    return None if oldest > _EXPECTED else max(oldest, math.ceil(even_at), transaction.now + 1)


def _put_back(transaction: Transaction, ids: Iterable[str], held: str | None) -> None:
    transaction.executemany(sql.put_back, [{"id": id, "held": held} for id in ids])


def _held(word: Literal["limit", "rate"], hold: Hold | None) -> str:
    return f"suspect_{word}" if hold == "suspect" else word


# Places that come free


def left(transaction: Transaction, id: str) -> None:
    """A run left `running`, or the due ones: its place may be another's. One that was expected to begin has had its chance."""
    if transaction.limits and (row := transaction.one(sql.of_run, (id,))):
        _began(transaction, id, row[0])
        _leave(transaction, *row)


def left_many(transaction: Transaction, ids: list[str]) -> None:
    """Runs left `running`: their places may be others'."""
    if not transaction.limits:
        return
    is_rated = any(limit.rate is not None for limit in transaction.limits.values())
    expected = transaction.one(sql.any_expected) if is_rated else None
    if expected or transaction.one(sql.any_held):
        for id, *row in transaction.execute(sql.of_runs, (json.dumps(ids),)).fetchall():
            if expected:
                _began(transaction, id, row[0])
            _leave(transaction, *row)


def begin(transaction: Transaction, id: str) -> None:
    """A run that was expected to begin did so."""
    if row := transaction.one(sql.of_run, (id,)):
        _began(transaction, id, row[0])


def _began(transaction: Transaction, id: str, workflow: str) -> None:
    if (row := transaction.one(sql.begin, {"workflow": workflow, "id": id, "now": transaction.now})) is not None:
        transaction.paced.add((workflow, row[0]))


def begin_all(transaction: Transaction) -> None:
    """What was expected to begin when the last daemon ended has begun, for all that is known."""
    transaction.execute(sql.begin_all, (transaction.now,))


def never_began(transaction: Transaction, id: str) -> None:
    """A run was claimed, and no worker got it: it does not count for a rate."""
    limits = transaction.limits or {}
    if not limits or (known := transaction.one(sql.of_run, (id,))) is None:
        return
    workflow = known[0]
    rate = limits.get(workflow, _NO_LIMIT).rate
    row = transaction.one(sql.unbegin, {"workflow": workflow, "id": id})
    if rate is not None and row is not None:
        even_at = _even_at(transaction, workflow, row[0], rate) - rate.pause
        transaction.execute(sql.keep_pace, {"workflow": workflow, "key": row[0], "even_at": even_at})
        transaction.paced.add((workflow, row[0]))


def release(transaction: Transaction) -> None:
    """Runs that were held for what came free may be claimed again, in the order in which they are to start."""
    freed, transaction.freed = transaction.freed, set()
    for workflow, key in freed:
        _release_key(transaction, workflow, key)
    paced, transaction.paced = transaction.paced, set()
    for workflow, key in paced:
        _release_rate(transaction, workflow, key)


def wake_due(transaction: Transaction) -> None:
    """Runs of workflows with a rate may begin, as time has passed, and those that are held for what is gone."""
    due = transaction.execute(sql.paces_due, (transaction.now, PACES_AT_ONCE)).fetchall()
    for workflow, key in due:
        _release_rate(transaction, workflow, key)
    if (soonest := transaction.one(sql.next_pace)) and soonest[0] is not None:
        transaction.effects.wake_by(soonest[0])
    if transaction.limits is not None:
        _release_unlimited(transaction, transaction.limits)


def _release_key(transaction: Transaction, workflow: str, key: str) -> None:
    most = (transaction.limits or {}).get(workflow, _NO_LIMIT).most
    if most is None:
        return
    free = most - _number(transaction, sql.running, (workflow, key))
    if free > 0:
        _let_go(transaction, sql.groups_of_key, sql.release_key, "limit", {"workflow": workflow, "key": key, "free": free})


def _release_rate(transaction: Transaction, workflow: str, key: str) -> None:
    rate = (transaction.limits or {}).get(workflow, _NO_LIMIT).rate
    if rate is None:
        return
    free, free_at = _room(transaction, workflow, key, rate), None
    names = {"workflow": workflow, "key": key, "free": min(free, RELEASED_AT_ONCE)}  # claims let others go in place of these
    if free > 0:
        _let_go(transaction, sql.groups_of_rate, sql.release_rate, "rate", names)
    elif any(_groups(transaction, sql.groups_of_rate, held, names) for held in ("rate", "suspect_rate")):
        free_at = _free_at(transaction, workflow, key, rate)
    transaction.execute(sql.wait_for_pace, {**names, "free_at": free_at})
    if free_at is not None:
        transaction.effects.wake_by(free_at)


def _release_unlimited(transaction: Transaction, limits: Mapping[str, Limit]) -> None:
    """Let go a portion of the runs that are held for a limit or rate which is gone; the timer asks for the next."""
    for (workflow,) in transaction.execute(sql.workflows_held).fetchall():
        limit = limits.get(workflow, _NO_LIMIT)
        names = {"workflow": workflow, "free": RELEASED_AT_ONCE}
        if limit.most is None and _let_go(transaction, sql.groups_of_all, sql.release_held, "limit", names) == RELEASED_AT_ONCE:
            transaction.effects.wake_by(transaction.now)
        if limit.rate is None and _let_go(transaction, sql.groups_of_all, sql.release_held, "rate", names) == RELEASED_AT_ONCE:
            transaction.effects.wake_by(transaction.now)


def _let_go(
    transaction: Transaction, groups: str, statement: str, word: Literal["limit", "rate"], names: dict[str, Any]
) -> int:
    """The first runs of each group go on: which of the groups has a slot for them is not known here.

    Returns how many those were in the group with the most.
    """
    effects, most = transaction.effects, 0
    classes: tuple[tuple[Hold | None, set[str]], ...] = ((None, effects.ready), ("suspect", effects.suspects))
    for hold, told in classes:
        held = _held(word, hold)
        for group in _groups(transaction, groups, held, names):
            released = transaction.execute(statement, {**names, "group": group, "hold": hold, "held": held}).rowcount
            if released > 0:
                told.add(group)
                most = max(most, released)
    return most


def _groups(transaction: Transaction, statement: str, held: str, names: dict[str, Any]) -> list[str]:
    return [group for (group,) in transaction.execute(statement, {**names, "held": held}).fetchall()]


def replace(transaction: Transaction, limits: Mapping[str, Limit]) -> None:
    """These are the limits from now on; what was held by others is let go as far as these allow."""
    transaction.limits = transaction.effects.limits = limits
    for id, workflow, key, rate_key, tenant, payload in transaction.execute(sql.all_running).fetchall():
        if workflow in limits:
            adopt(transaction, limits[workflow], id, workflow, Keys(key, rate_key), payload, tenant)
    rated = json.dumps([workflow for workflow, limit in limits.items() if limit.rate is not None])
    transaction.execute(sql.forget_all, (rated,))
    transaction.execute(sql.forget_all_paces, (rated,))
    for workflow, limit in limits.items():
        if limit.most is not None:
            transaction.freed.update(transaction.execute(sql.keys_held, {"workflow": workflow}).fetchall())
        if limit.rate is not None:
            transaction.paced.update(transaction.execute(sql.keys_paced, {"workflow": workflow}).fetchall())
    wake_due(transaction)


# Runs that are turned away


def never_begun(transaction: Transaction, rows: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """The ids of those of workflows with limits that were never claimed, among runs that became due.

    They are by workflow and key, in the order in which they are to start.
    """
    found: dict[tuple[str, str], list[str]] = {}
    limits = transaction.limits or {}
    for _, _, id, workflow, key, token in sorted(rows, key=lambda row: row[1:3]):
        if token == 0 and workflow in limits:
            if key is None:
                payload, tenant, rate_key = transaction.one(sql.counted_by, (id,)) or ("null", None, None)
                key, _ = adopt(transaction, limits[workflow], id, workflow, Keys(None, rate_key), payload, tenant)
            found.setdefault((workflow, key), []).append(id)
    return found


def too_many(transaction: Transaction, workflow: str, key: str | None, new: int = 1) -> int:
    """How many of the `new` runs that became due just now are beyond the limit of a workflow that queues none."""
    limit = (transaction.limits or {}).get(workflow, _NO_LIMIT)
    if key is None or limit.most is None or limit.on_limit == "queue":
        return 0
    names = {"workflow": workflow, "key": key, "most": limit.most + new}
    return max(_number(transaction, sql.admitted, names) - limit.most, 0)


def turned_away(transaction: Transaction, workflow: str, key: str | None) -> Refusal:
    """How a run ends that became due beyond the limit."""
    limit = (transaction.limits or {}).get(workflow, _NO_LIMIT)
    whose = f" for {key}" if key else ""
    most = limit.most or 0
    said = f"{counted(most, 'other run')} of {workflow}{whose} {was_or_were(most)} running or due, which is its limit"
    return Refusal("cancelled" if limit.on_limit == "cancel" else "dead", Failure("LimitReached", said, None, "limit"))


def due_by(transaction: Transaction, limit_key: str | None) -> int:
    """New runs are due if their time is not later. Without a daemon, those with a limit wait for the next one to judge them."""
    return transaction.now if transaction.limits is not None or limit_key is None else _NEVER


def _since(transaction: Transaction, rate: Rate) -> int:
    """Starts from this moment on count."""
    return transaction.now - round(rate.seconds * 1000)


def _number(transaction: Transaction, statement: str, parameters: tuple[Any, ...] | dict[str, Any]) -> int:
    row = transaction.one(statement, parameters)
    return 0 if row is None else int(row[0])
