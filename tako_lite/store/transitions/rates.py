"""Rates: how many runs of a workflow and key may start now, and when the next one may.

A rate holds at the first line of the handlers. A run that was given to a worker counts as *expected to start* in every window
until its worker reports that the handler has begun; from then on the time of that report counts, which is later than the first
line. So no window has more starts than the rate allows, however long a run takes to reach its handler.

Besides, starts are spaced evenly, with a small burst: the generic cell rate algorithm (ITU-T I.371), whose theoretical arrival
time is `even_at`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Transaction
from tako_lite.units import Rate

_EXPECTED: Final = 1 << 62
"""The start time of a run that is expected to start."""
_ROUNDING: Final = 1e-6


def count_free(transaction: Transaction, workflow: str, key: str, rate: Rate) -> int:
    """How many runs of a workflow and key may start now."""
    sql = transaction.sql.limits
    transaction.execute(sql.clamp_future_starts, workflow=workflow, key=key, now=transaction.now)
    started: int = transaction.value(sql.count_starts, workflow=workflow, key=key, since=window_start(transaction, rate))
    ahead = max(_even_at(transaction, workflow, key, rate) - transaction.now, 0.0)
    return max(min(rate.most - started, int(rate.at_once - ahead / rate.pause + _ROUNDING)), 0)


def next_free_at(transaction: Transaction, workflow: str, key: str, rate: Rate) -> int | None:
    """When the next run may start; None if that depends on a run which is expected to start."""
    sql, since = transaction.sql.limits, window_start(transaction, rate)
    over: int = transaction.value(sql.count_starts, workflow=workflow, key=key, since=since) - rate.most
    oldest = 0
    if over >= 0:
        start = transaction.value(sql.find_start, workflow=workflow, key=key, since=since, skip=over) or 0
        oldest = start + transaction.now - since + 1
    even_at = _even_at(transaction, workflow, key, rate) - (rate.at_once - 1) * rate.pause
    return None if oldest > _EXPECTED else max(oldest, math.ceil(even_at), transaction.now + 1)


def expect_starts(transaction: Transaction, workflow: str, key: str, rate: Rate, ids: Sequence[str]) -> None:
    """Count runs that are given to a worker as expected to start."""
    starts = [rows.ExpectedStart(workflow, key, id) for id in ids]
    transaction.execute_many(transaction.sql.limits.expect_start, starts)
    even_at = max(_even_at(transaction, workflow, key, rate), transaction.now) + len(ids) * rate.pause
    _set_pace(transaction, workflow, key, even_at)


def record_start(transaction: Transaction, id: str, workflow: str) -> None:
    """Count a run that was expected to start as started now, or as having had its chance to."""
    key = transaction.value(transaction.sql.limits.record_start, workflow=workflow, id=id, now=transaction.now)
    if key is not None:
        transaction.paced.add((workflow, key))


def drop_expected_start(transaction: Transaction, id: str, workflow: str, rate: Rate | None) -> None:
    """Count a run no longer that was claimed and reached no worker."""
    key = transaction.value(transaction.sql.limits.drop_expected_start, workflow=workflow, id=id)
    if rate is not None and key is not None:
        _set_pace(transaction, workflow, key, _even_at(transaction, workflow, key, rate) - rate.pause)
        transaction.paced.add((workflow, key))


def drop_old_starts(transaction: Transaction, workflow: str, rate: Rate) -> None:
    """Forget starts and paces of a workflow that no longer limit anything."""
    sql = transaction.sql.limits
    transaction.execute(sql.drop_starts, workflow=workflow, before=window_start(transaction, rate))
    transaction.execute(sql.drop_paces, workflow=workflow, before=transaction.now)


def window_start(transaction: Transaction, rate: Rate) -> int:
    """The time from which on starts count."""
    return transaction.now - round(rate.seconds * 1000)


def _even_at(transaction: Transaction, workflow: str, key: str, rate: Rate) -> float:
    """When the next run would start if all were spaced evenly, bounded so that a clock that was set back does no harm."""
    even_at: float | None = transaction.value(transaction.sql.limits.find_pace, workflow=workflow, key=key)
    latest = transaction.now + rate.at_once * rate.pause
    if even_at is None or even_at <= latest:
        return even_at or 0.0
    _set_pace(transaction, workflow, key, latest)
    return latest


def _set_pace(transaction: Transaction, workflow: str, key: str, even_at: float) -> None:
    transaction.execute(transaction.sql.limits.set_pace, workflow=workflow, key=key, even_at=even_at)
