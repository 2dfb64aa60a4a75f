"""The delay before a run, a step or the start of a group is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from tako_lite.errors import BadInput
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import timedelta

JITTER: Final = 0.2
_MOST_DOUBLINGS: Final = 64
"""Enough for any base to exceed any `max`; without this bound the power would overflow."""


class _Bounds(NamedTuple):
    base: float
    max: float


class Backoff(_Bounds):
    """Delays that double from `base` up to `max`, both in seconds.

    Accepts seconds, a `timedelta` or text such as `"5m"`. Raises BadInput for anything else.
    """

    __slots__ = ()

    def __new__(cls, base: float | timedelta | str = 1, max: float | timedelta | str = 3600) -> Self:
        bounds = super().__new__(cls, duration(base), duration(max))
        if bounds.base > bounds.max:
            raise BadInput(f"base ({bounds.base:g} s) is above max ({bounds.max:g} s)", hint="raise max or lower base")
        return bounds

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Seconds to wait after this number of failures in a row.

        `random` returns numbers from 0 to 1, as `random.random` does; 0.5 gives the delay without jitter.
        """
        doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
        exact = min(self.base * 2.0**doublings, self.max)
        return min(exact * (1 - JITTER + 2 * JITTER * random()), self.max)
