"""What charts show: the totals of minutes in slots of equal length, from the oldest to now.

A page has them as a table, which the charts of `tako.js` read: without scripts the table is what there is to see.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

from tako_lite.errors import BadInput
from tako_lite.histogram import EXECUTION_BOUNDS, QUEUE_BOUNDS, quantile
from tako_lite.store.transitions import minutes
from tako_lite.store.transitions.minutes import SlotTotals
from tako_lite.web.page import Visit

RANGES: Final = {"1h": (60, 1), "8h": (96, 5), "3d": (72, 60), "30d": (120, 360)}
"""The number of slots of each range, and the minutes of a slot."""
DEFAULT: Final = "1h"
MINUTE: Final = 60_000


class Slot(NamedTuple):
    """A slot of a chart. Times are in milliseconds, of which percentiles are None in a slot without runs."""

    at: str
    succeeded: int
    cancelled: int
    dead: int
    failed: int
    queue_p50: float | None
    queue_p95: float | None
    executed_p50: float | None
    executed_p95: float | None


class Charts(NamedTuple):
    """The slots of a range, oldest first. `width` is their length in minutes."""

    chosen: str
    width: int
    slots: tuple[Slot, ...]

    @property
    def ranges(self) -> tuple[str, ...]:
        """The ranges that a visitor may choose."""
        return tuple(RANGES)

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened in the whole range."""
        return not any(slot.succeeded or slot.cancelled or slot.dead or slot.failed for slot in self.slots)


def charts(visit: Visit, *, workflow: str | None = None, group: str | None = None) -> Charts:
    """The charts of the range that the address names. Raises BadInput for another range."""
    chosen = visit.query.get("range", DEFAULT)
    if chosen not in RANGES:
        raise BadInput(f"there is no range {chosen[:20]!r}", hint=f"ranges: {', '.join(RANGES)}")
    count, width = RANGES[chosen]
    last = visit.now // MINUTE // width
    read = partial(minutes.sum_by_slot, since=(last - count + 1) * width, width=width, workflow=workflow, group=group)
    totals: list[SlotTotals] = visit.read(read, [])
    found = {total.slot: total for total in totals}
    return Charts(chosen, width, tuple(_slot(slot * width, found.get(slot)) for slot in range(last - count + 1, last + 1)))


def _slot(minute: int, total: SlotTotals | None) -> Slot:
    at = datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
    if total is None:
        return Slot(at, 0, 0, 0, 0, None, None, None, None)
    spans: list[Any] = [
        quantile(bounds, counts, part)
        for bounds, counts in ((QUEUE_BOUNDS, total.waited), (EXECUTION_BOUNDS, total.executed))
        for part in (0.5, 0.95)
    ]
    return Slot(at, total.succeeded, total.cancelled, total.dead, total.failed, *spans)
