"""How long to wait before trying again: runs, steps and groups that cannot start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tako_lite.errors import BadInput
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import timedelta

JITTER: Final = 0.2
_MOST_DOUBLINGS: Final = 64
"""Enough to take any base over any `max`; without a bound the power would overflow."""


@dataclass(frozen=True, slots=True, init=False)
class Backoff:
    """Waits that double from `base` up to `max`; both are kept in seconds.

    They are given as seconds, a `timedelta` or text such as `"5m"`. Raises BadInput for anything else.
    """

    base: float
    max: float

    def __init__(self, base: float | timedelta | str = 1, max: float | timedelta | str = 3600) -> None:
        object.__setattr__(self, "base", duration(base))
        object.__setattr__(self, "max", duration(max))
        if self.base > self.max:
            raise BadInput(f"base ({self.base:g} s) is above max ({self.max:g} s)", hint="raise max or lower base")

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Seconds to wait after so many failures in a row.

        `random` returns numbers from 0 to 1, as `random.random` does; 0.5 gives the delay without jitter.
        """
        doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
        exact = min(self.base * 2.0**doublings, self.max)
        return min(exact * (1 - JITTER + 2 * JITTER * random()), self.max)
