"""Histograms with fixed buckets: plain integers that are cheap to count up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

QUEUE_BOUNDS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000, 60_000, 300_000, 1_800_000)
"""Milliseconds that runs waited: the upper bounds of the buckets, the last of which has none."""
EXECUTION_BOUNDS: Final = (5.0, 10.0, 50.0, 100.0, 500.0, 1e3, 5e3, 15e3, 60e3, 300e3, 900e3, 3600e3)
"""Milliseconds that attempts executed; floats, as those are what `bisect` compares them with."""


class Histogram:
    """How many values fell below each bound, and their sum. The last bucket has no bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add the values of another histogram with the same bounds."""
        self.counts = [mine + other for mine, other in zip(self.counts, counts, strict=True)]
        self.sum += total


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """The value below which a part of the values lies, interpolated in its bucket; None without values.

    Values in the last bucket, which has no bound, count as the largest bound.
    """
    wanted = sum(counts) * part
    if not wanted:
        return None
    passed, low = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if passed + count >= wanted:
            return low + (bound - low) * (wanted - passed) / count
        passed, low = passed + count, bound
    return float(bounds[-1])
