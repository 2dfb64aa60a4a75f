"""Wall and monotonic time, passed as a parameter so that tests can control it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from tako_lite.errors import BadInput


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """The wall clock, in milliseconds since 1970 (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backward, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS = 0
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; times outside this range are invalid."""


def milliseconds(when: datetime | str | float) -> int:
    """Milliseconds since 1970 of a datetime or ISO-8601 text with a time zone, or of seconds since 1970. Raises BadInput."""
    if isinstance(when, str):
        when = _parsed(when)
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            hint = "use datetime.now(UTC) and the like, or end the text with Z or +01:00"
            raise BadInput(f"the time {when.isoformat()} has no time zone", hint=hint)
        moment = (when - _EPOCH) // timedelta(milliseconds=1)
    elif isinstance(when, int | float) and not isinstance(when, bool):
        moment = round(when * 1000) if 0 <= when < LATEST_MS else -1  # false for NaN too
    else:
        raise BadInput(f"a time cannot be of type {type(when).__name__}")
    if not EARLIEST_MS <= moment <= LATEST_MS:
        raise BadInput("the time is outside the years 1970 to 9999")
    return moment


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text[:60]!a} is not a time", hint="write it as 2030-01-31T08:00:00Z") from None


def local(moment: int, *, whole_seconds: bool = False) -> str:
    """Milliseconds since 1970 in this machine's time zone, for people: `2026-11-21 08:30:00.125+01:00`."""
    stamp = datetime.fromtimestamp(moment // 1000, UTC).astimezone()
    fraction = "" if whole_seconds else f".{moment % 1000:03d}"
    offset = f"{stamp:%z}"
    return f"{stamp:%Y-%m-%d %H:%M:%S}{fraction}{offset[:3]}:{offset[3:5]}"


_ISO: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def in_local_time(text: str) -> str:
    """Replace the times in a text, which must have the form of `iso`, with times in this machine's time zone."""
    return _ISO.sub(lambda found: local(milliseconds(found[0])), text)


def iso(moment: int | None) -> str | None:
    """Milliseconds since 1970 as ISO-8601 in UTC, such as `2026-11-21T08:30:00.125Z`."""
    if moment is None:
        return None
    stamp = datetime.fromtimestamp(moment / 1000, UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"
