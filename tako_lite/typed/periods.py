"""A timedelta in JSON: an ISO-8601 duration such as `PT1H30M`."""

from __future__ import annotations

import re
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.units import duration

_ISO: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<micro>\d{1,6}))?S)?)?",
    re.ASCII,
)


def period_text(value: Any) -> str:
    """The ISO-8601 text of a timedelta, in days, hours, minutes and seconds."""
    sign = "-" if value.days < 0 else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    days = f"{value.days}D" if value.days else ""
    time = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not (days or time):
        time += f"{seconds}{fraction}S"
    return f"{sign}P{days}" + (f"T{time}" if time else "")


def read_period(kind: Any, value: Any) -> Any:
    """The timedelta of an ISO-8601 text, of text such as `1h30m`, or of seconds. Raises ValueError."""
    try:
        if value.__class__ is str and (found := _ISO.fullmatch(value)) and any(found.groups()[1:]):
            return _made(kind, found)
        if value.__class__ is str:
            return kind(seconds=duration(value))
        if value.__class__ in (int, float):
            return kind(seconds=value)
    except (BadInput, OverflowError) as error:
        raise ValueError(str(error)) from None
    raise ValueError("not a duration")


def _made(kind: Any, found: re.Match[str]) -> Any:
    parts = {name: int(found[name] or 0) for name in ("weeks", "days", "hours", "minutes", "seconds")}
    made = kind(**parts, microseconds=int((found["micro"] or "").ljust(6, "0")))
    return -made if found["sign"] else made
