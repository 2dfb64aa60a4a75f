"""Histograms with fixed buckets: plain integers that are cheap to count up."""

from __future__ import annotations

from bisect import bisect_left


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
