"""What a store counts of its own work, for metrics."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tako_lite.errors import StorageFull, StoreBusy, StoreDamaged, StoreGone, TakoError
from tako_lite.histogram import Histogram

COMMIT_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0)
"""Milliseconds."""
ERRORS: Final[dict[type[TakoError], str]] = {
    StorageFull: "full",
    StoreBusy: "busy",
    StoreDamaged: "corrupt",
    StoreGone: "gone",
}
"""What errors count as; all others are `io`."""


class StoreCounts:
    """The transactions of a store since it was made."""

    def __init__(self) -> None:
        self.operations = 0
        self.commit_ms = Histogram(COMMIT_BOUNDS)
        self.errors: Counter[str] = Counter()

    def committed(self, operations: int, seconds: float) -> None:
        """Count a transaction, its operations, and the time from its submission to its commit."""
        self.operations += operations
        self.commit_ms.observe(seconds * 1000)

    def failed(self, error: TakoError) -> None:
        """Count a transaction that could not be stored."""
        self.errors[next((kind for type_, kind in ERRORS.items() if isinstance(error, type_)), "io")] += 1
