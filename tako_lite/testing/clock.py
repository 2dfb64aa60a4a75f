"""A clock that moves only when a test moves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""When the clock starts, unless the test says otherwise."""


class VirtualClock:
    """`Clock` for tests: `moment` is the wall clock in milliseconds since 1970."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.on_move: Callable[[datetime], object] = lambda moment: None

    def move(self, moment: int) -> None:
        """Go forward to a moment; time never goes back."""
        if moment > self.moment:
            self.moment = moment
            self.on_move(self.time)

    @property
    def time(self) -> datetime:
        """The wall clock as a datetime."""
        return datetime.fromtimestamp(self.moment / 1000, UTC)

    def now(self) -> int:
        return self.moment

    def monotonic(self) -> float:
        return time.monotonic()
