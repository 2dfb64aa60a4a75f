"""Limits and rates of workflows, counted from rows inside a transaction, so that whatever crashes leaks no place.

A claimed run for which there is no place is put back with a hold, and so are those behind it: no claim comes upon them again.
Where a workflow and key has places free, the first runs in each group are not held. Whoever takes a run away from `running` or
from the due ones notes that in `freed`, and `release` puts this right again after the operation; for a rate the timer does.
Where a workflow has lost its limit, all that it held is let go in portions, the rest by the timer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from tako_lite.intake import key_of
from tako_lite.records import Failure, Refusal
from tako_lite.store.base import Hold, Limit
from tako_lite.store.sqlite.queries import limits as sql
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.units import Rate, counted

HELD_AT_ONCE: Final = 200
"""How many runs behind one that has no place are held with it."""
RELEASED_AT_ONCE: Final = 2_000
"""How many runs of a group one transaction lets go of a limit that is gone, or of a rate; the rest follow in others."""
_NO_LIMIT: Final = Limit()
_NEVER: Final = -1

Row = tuple[Any, ...]
"""What a claim returned of a run: the columns of the statement `claim`."""


def admit(transaction: Transaction, group: str, hold: Hold | None, rows: list[Row]) -> list[Row]:
    """The claimed runs of a group for which there is a place; the others are put back."""
    limits = transaction.limits or {}
    by_key: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (limit := limits.get(row[2])) is not None:
            key = adopt(transaction, limit, row[1], row[2], row[12], row[10])
            by_key.setdefault((row[2], key), []).append(row)
    late: set[str] = set()
    by_workflow: dict[str, list[Row]] = {}
    for (workflow, key), claimed in by_key.items():
        admitted = _within_limit(transaction, group, hold, workflow, key, claimed)
        late.update(row[1] for row in claimed[admitted:])
        by_workflow.setdefault(workflow, []).extend(claimed[:admitted])
    for workflow, claimed in by_workflow.items():
        if (rate := limits[workflow].rate) is not None:
            late.update(_beyond_rate(transaction, group, hold, workflow, rate, sorted(claimed)))
            transaction.freed.update(pair for pair in by_key if pair[0] == workflow)
    return [row for row in rows if row[1] not in late] if late else rows


def adopt(transaction: Transaction, limit: Limit, id: str, workflow: str, key: str | None, payload: str) -> str:
    """What a run is counted by from now on: its workflow may have got another limit since it was stored."""
    now = key_of(limit.key, payload)
    if now != key:
        transaction.execute(sql.set_key, (now, id))
        if key is not None:
            transaction.freed.add((workflow, key))
    return now


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
    transaction: Transaction, group: str, hold: Hold | None, workflow: str, rate: Rate, claimed: list[Row]
) -> list[str]:
    """The ids of the claimed runs that may not begin yet; those that go on after a wait have begun."""
    now, since = transaction.now, _since(transaction, rate)
    transaction.execute(sql.turn_back, {"workflow": workflow, "now": now})
    transaction.execute(sql.forget, (workflow, since))
    new = [row[1] for row in claimed if row[7] == 0]
    room = max(rate.most - _number(transaction, sql.began, (workflow, since)), 0)
    transaction.executemany(sql.begin, [(workflow, now, id) for id in new[:room]])
    if late := new[room:]:
        names = {"workflow": workflow, "group": group, "hold": hold, "held": _held("rate", hold)}
        _put_back(transaction, late, names["held"])
        transaction.execute(sql.hold_all, {**names, "limit": HELD_AT_ONCE})
    return late


def _put_back(transaction: Transaction, ids: Iterable[str], held: str | None) -> None:
    transaction.executemany(sql.put_back, [{"id": id, "held": held} for id in ids])


def _held(word: Literal["limit", "rate"], hold: Hold | None) -> str:
    return f"suspect_{word}" if hold == "suspect" else word


# Places that come free


def left(transaction: Transaction, id: str) -> None:
    """A run left `running`, or the due ones: its place may be another's."""
    if transaction.limits and (pair := transaction.one(sql.of_run, (id,))):
        transaction.freed.add((pair[0], pair[1]))


def left_many(transaction: Transaction, ids: list[str]) -> None:
    """Runs left `running`: their places may be others'."""
    if transaction.limits and transaction.one(sql.any_held):
        transaction.freed.update(transaction.execute(sql.of_runs, (json.dumps(ids),)).fetchall())


def never_began(transaction: Transaction, id: str) -> None:
    """A run was claimed, and no worker got it: it does not count for a rate."""
    if transaction.limits:
        transaction.execute(sql.unbegin, {"id": id})


def release(transaction: Transaction) -> None:
    """Runs that were held for what came free may be claimed again, in the order in which they are to start."""
    freed, transaction.freed = transaction.freed, set()
    for workflow, key in freed:
        _release_key(transaction, workflow, key)
    for workflow in {workflow for workflow, _ in freed}:
        _release_rate(transaction, workflow)


def wake_due(transaction: Transaction) -> None:
    """Runs of workflows with a rate may begin, as time has passed, and those that are held for what is gone."""
    for workflow, limit in (transaction.limits or {}).items():
        if limit.rate is not None:
            _release_rate(transaction, workflow)
    if transaction.limits is not None:
        _release_unlimited(transaction, transaction.limits)


def _release_key(transaction: Transaction, workflow: str, key: str) -> None:
    most = (transaction.limits or {}).get(workflow, _NO_LIMIT).most
    if most is None:
        return
    free = most - _number(transaction, sql.running, (workflow, key))
    if free > 0:
        _let_go(transaction, sql.groups_of_key, sql.release_key, "limit", {"workflow": workflow, "key": key, "free": free})


def _release_rate(transaction: Transaction, workflow: str) -> None:
    rate = (transaction.limits or {}).get(workflow, _NO_LIMIT).rate
    if rate is None:
        return
    since = _since(transaction, rate)
    transaction.execute(sql.turn_back, {"workflow": workflow, "now": transaction.now})
    began = _number(transaction, sql.began, (workflow, since))
    free = rate.most - began
    if free > 0:
        names = {"workflow": workflow, "free": min(free, RELEASED_AT_ONCE)}  # claims let others go in place of these
        _let_go(transaction, sql.groups_of_all, sql.release_all, "rate", names)
    elif any(_groups(transaction, sql.groups_of_all, held, {"workflow": workflow}) for held in ("rate", "suspect_rate")):
        oldest = _number(transaction, sql.began_at, (workflow, since, -free))
        transaction.effects.wake_by(oldest + transaction.now - since + 1)


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
    for id, workflow, key, payload in transaction.execute(sql.all_running).fetchall():
        if workflow in limits:
            adopt(transaction, limits[workflow], id, workflow, key, payload)
    for workflow, limit in limits.items():
        if limit.most is not None:
            transaction.freed.update(transaction.execute(sql.keys_held, {"workflow": workflow}).fetchall())
    rated = [workflow for workflow, limit in limits.items() if limit.rate is not None]
    transaction.execute(sql.forget_all, (json.dumps(rated),))
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
                (payload,) = transaction.one(sql.payload, (id,)) or ("null",)
                key = adopt(transaction, limits[workflow], id, workflow, None, payload)
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
    were = "was" if limit.most == 1 else "were"
    said = f"{counted(limit.most or 0, 'other run')} of {workflow}{whose} {were} running or due, which is its limit"
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
