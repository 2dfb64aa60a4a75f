"""Checks schedules: cron fields, shorthands and time zones."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tako_lite.hints import did_you_mean
from tako_lite.options import Problem

SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_LONGEST: Final = 200
_FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_WHOLE_FIELD: Final = {"second": "*/60", "minute": "*/60", "hour": "*/24", "month": "*/12", "day-of-week": "*/7"}
"""Steps that cover a whole field: they select one value, and do fire as often as they seem to."""
_HINT: Final = "a schedule has five fields (minute hour day month weekday), or six with the seconds first"


def cron_of(schedule: str) -> str:
    """The cron expression of a schedule: the fields of a shorthand, anything else unchanged."""
    return SHORTHANDS.get(schedule.strip().lower(), schedule)


def schedule_problem(schedule: str) -> Problem | None:
    """Why this is not a valid schedule, or None."""
    if schedule.strip().startswith("@") and cron_of(schedule) is schedule:
        hint = did_you_mean(schedule.strip().lower(), SHORTHANDS) or "the shorthands are " + ", ".join(SHORTHANDS)
        return Problem(f"schedule: unknown shorthand {schedule[:_LONGEST]!r}", hint)
    if len(schedule) > _LONGEST:
        return Problem(f"schedule: it is longer than {_LONGEST} characters", _HINT)
    # Only a catalog with schedules needs these two.
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    fields = cron_of(schedule).upper().split()
    try:
        CronSim(cron_of(schedule), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        said = str(error).lower()
        return Problem(
            f"schedule: {schedule!r} is not a schedule: {said}", _backward_range(fields) or _never(said, fields) or _HINT
        )
    for name, field in zip(_FIELDS[-len(fields) :], fields, strict=True):
        for term in field.split(","):
            if "/" in term and (problem := _step_problem(schedule, name, term)):
                return problem
    return None


def _step_problem(schedule: str, name: str, term: str) -> Problem | None:
    """Why a term with a step, such as `*/90`, does not select what it seems to, or None."""
    from cronsim.cronsim import Field

    values: Collection[object] = Field(_FIELDS.index(name)).parse(term)
    numbers = sorted({value % 7 if name == _FIELDS[-1] else value for value in values if isinstance(value, int)})
    start = term.partition("/")[0]
    if any(number < 0 for number in numbers):
        return Problem(f"schedule: {schedule!r} is not a schedule: {start} takes no step", f"write {start} instead of {term}")
    if len(numbers) > 1 or term == _WHOLE_FIELD.get(name):
        return None
    message = (
        f"schedule: in {schedule!r} the step of {term} reaches beyond its field: {name} {numbers[0]} is all that it selects"
    )
    return Problem(message, f"write {numbers[0]} instead, or a smaller step")


def _backward_range(fields: Collection[str]) -> str | None:
    """A hint for ranges such as `50-10` and `FRI-SUN`, which cronsim only reports as bad."""
    from cronsim.cronsim import CronSimError, Field

    for name, field in zip(_FIELDS[-len(fields) :], fields, strict=False):
        for term in field.split(","):
            first, dash, last = term.partition("/")[0].partition("-")
            kind = Field(_FIELDS.index(name))
            try:
                if dash and kind.int(first) > kind.int(last):
                    hint = f"a range must ascend: split {first}-{last} in two with a comma"
                    return f"{hint}; Sunday is also 7" if last in ("SUN", "0") and kind is Field.DOW else hint
            except CronSimError:
                continue
    return None


def _never(said: str, fields: list[str]) -> str | None:
    """A hint for a day that does not exist in any of the months."""
    from cronsim.cronsim import CronSimError, Field

    try:
        Field.DAY.parse(fields[-3])
    except (CronSimError, IndexError):
        return None
    return f"no month of {fields[-2]} has a day {fields[-3]}, so it would never fire" if said == "bad day-of-month" else None


def timezone_problem(timezone: str) -> Problem | None:
    """Why this is not a valid time zone, or None."""
    if timezone == "UTC":
        return None
    import zoneinfo  # most catalogs have no time zones

    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(timezone, zoneinfo.available_timezones()) or 'zones are named such as "Europe/Berlin"'
        return Problem(f"timezone: unknown time zone {timezone[:_LONGEST]!r}", hint)
    return None
