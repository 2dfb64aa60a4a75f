"""Errors by fingerprint: how often each mistake occurred, when, and an example of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from tako_lite.clock import iso
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Snapshot

HOUR: Final = 3_600_000
HOURS: Final = 24
"""The hours of `ErrorGroup.hours`."""
_HIGHEST: Final = "~"
"""Sorts after every fingerprint."""

Occurrence = Literal["dead", "attempts"]
"""What counts as an occurrence of an error: a dead run that is not discarded, or any failed attempt."""


class ErrorGroup(NamedTuple):
    """The occurrences of one error. `error` is the newest one, and `hours` has the number in each of the last 24 hours."""

    fingerprint: str
    number: int
    hour: int
    day: int
    week: int
    first_at: int
    last_at: int
    workflows: tuple[str, ...]
    run_id: str
    error: dict[str, Any]
    hours: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        times = {"first_at": iso(self.first_at), "last_at": iso(self.last_at)}
        return {**self._asdict(), **times, "workflows": list(self.workflows), "hours": list(self.hours)}


class ErrorVariants(NamedTuple):
    """How the occurrences of one error differ: the most frequent messages and tenants, each with its number of dead runs."""

    messages: tuple[tuple[str, int], ...]
    tenants: tuple[tuple[str, int], ...]

    def as_json(self) -> dict[str, Any]:
        return {name: [{"name": text, "number": number} for text, number in pairs] for name, pairs in self._asdict().items()}


def list_errors(
    snapshot: Snapshot, now: int, occurrence: Occurrence = "dead", *, fingerprint: str | None = None, limit: int = 100
) -> list[ErrorGroup]:
    """The errors that occurred last, the newest first; with a fingerprint only that one."""
    sql = snapshot.sql.failures
    since = {"hour": now - HOUR, "day": now - 24 * HOUR, "week": now - 7 * 24 * HOUR}
    chosen = {**since, "lowest": fingerprint or "", "highest": fingerprint or _HIGHEST, "limit": limit}
    if occurrence == "dead":
        return [_dead(snapshot, row, now) for row in snapshot.rows(rows.ErrorCount, sql.group_dead, **chosen)]
    return [_attempts(snapshot, row, now) for row in snapshot.rows(rows.ErrorCount, sql.group_attempts, **chosen)]


def find_variants(snapshot: Snapshot, fingerprint: str) -> ErrorVariants:
    """How the occurrences of an error differ."""
    sql = snapshot.sql.failures
    messages = snapshot.rows(rows.NameCount, sql.messages, fingerprint=fingerprint)
    tenants = snapshot.rows(rows.NameCount, sql.tenants, fingerprint=fingerprint)
    return ErrorVariants(*(tuple((row.name or "", row.number) for row in found) for found in (messages, tenants)))


def _dead(snapshot: Snapshot, row: rows.ErrorCount, now: int) -> ErrorGroup:
    sql, since = snapshot.sql.failures, now + 1 - HOURS * HOUR
    example = snapshot.row(rows.ErrorExample, sql.newest_dead, fingerprint=row.fingerprint)
    return _group(row, example, snapshot.rows(rows.HourCount, sql.dead_by_hour, fingerprint=row.fingerprint, since=since))


def _attempts(snapshot: Snapshot, row: rows.ErrorCount, now: int) -> ErrorGroup:
    sql, since = snapshot.sql.failures, now + 1 - HOURS * HOUR
    example = snapshot.row(rows.ErrorExample, sql.newest_attempt, fingerprint=row.fingerprint)
    return _group(row, example, snapshot.rows(rows.HourCount, sql.attempts_by_hour, fingerprint=row.fingerprint, since=since))


def _group(row: rows.ErrorCount, example: rows.ErrorExample | None, by_hour: Sequence[rows.HourCount]) -> ErrorGroup:
    numbers = {found.hour: found.number for found in by_hour}
    return ErrorGroup(
        *row[:-1],
        workflows=tuple(sorted(row.workflows.split(","))),
        run_id="" if example is None else example.id,
        error={} if example is None or example.error is None else json.loads(example.error),
        hours=tuple(numbers.get(hour, 0) for hour in range(HOURS)),
    )
