"""The clock of the database, which decides what is due; a server whose own clock is wrong does everything at the right time."""

from __future__ import annotations

from collections import deque
from typing import Final

from tako_lite.clock import Clock
from tako_lite.linux import boottime

KEPT: Final = 10
"""How many of the last answers are compared."""


class DatabaseClock:
    """`Clock` by the database, as of the fastest of its last answers; that of this machine until the first one."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._answers: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._offset: float | None = None

    def now(self) -> int:
        return self._own.now() if self._offset is None else round(boottime() * 1000 + self._offset)

    def monotonic(self) -> float:
        return self._own.monotonic()

    def set(self, database_ms: int, sent_at: float, took: float) -> None:
        """The database answered with its time; `sent_at` and `took` are seconds by the clock that counts suspended time."""
        self._answers.append((took, database_ms - (sent_at + took / 2) * 1000))
        newest = self._answers[-1][1]
        best = min(self._answers)[1]
        if abs(best - newest) > 1000:  # the clock of the database was set, or this is another database
            self._answers = deque([self._answers[-1]], maxlen=KEPT)
            best = newest
        self._offset = best
