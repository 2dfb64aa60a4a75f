"""What a schedule may say: cron fields, shorthands and time zones."""

from __future__ import annotations

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
_HINT: Final = "a schedule has five fields (minute hour day month weekday), or six with the seconds first"


def cron_of(schedule: str) -> str:
    """The cron expression of a schedule: a shorthand's fields, anything else as it is."""
    return SHORTHANDS.get(schedule.strip().lower(), schedule)


def schedule_problem(schedule: str) -> Problem | None:
    """Why this is not a schedule, or None."""
    if schedule.strip().startswith("@") and cron_of(schedule) is schedule:
        hint = did_you_mean(schedule.strip().lower(), SHORTHANDS) or "the shorthands are " + ", ".join(SHORTHANDS)
        return Problem(f"schedule: there is no shorthand {schedule[:_LONGEST]!r}", hint)
    if len(schedule) > _LONGEST:
        return Problem(f"schedule: it is longer than {_LONGEST} characters", _HINT)
    # Only a catalog with schedules needs these two.
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    try:
        CronSim(cron_of(schedule), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return Problem(f"schedule: {schedule!r} is not a schedule: {str(error).lower()}", _HINT)
    return None


def timezone_problem(timezone: str) -> Problem | None:
    """Why this is not a time zone, or None."""
    if timezone == "UTC":
        return None
    import zoneinfo  # most catalogs have no time zones

    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(timezone, zoneinfo.available_timezones()) or 'zones are named such as "Europe/Berlin"'
        return Problem(f"timezone: there is no time zone {timezone[:_LONGEST]!r}", hint)
    return None
