"""Wall and monotonic time, passed in so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """The wall clock, in milliseconds since 1970 (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward; the zero point means nothing."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


EARLIEST_MS = 0
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: times outside these two are refused."""


def iso(moment: int | None) -> str | None:
    """Milliseconds since 1970 as ISO-8601 in UTC, such as `2026-11-21T08:30:00.125Z`."""
    if moment is None:
        return None
    stamp = datetime.fromtimestamp(moment / 1000, UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"
