"""The signals that runs wait for."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from tako_lite.records import AwaitedSignal, new_id
from tako_lite.store import reading
from tako_lite.web.page import Page, Shown, Visit

MOST: Final = 500
"""Waits that are read: those that began first."""


class Awaited(NamedTuple):
    """A signal, and the waits for it: the one that began first is first."""

    event: str
    waits: tuple[AwaitedSignal, ...]

    @property
    def until(self) -> int | None:
        """When the first of the waits times out."""
        return min((wait.wake_at for wait in self.waits if wait.wake_at is not None), default=None)


def signals(visit: Visit) -> Shown:
    """The waits for signals, and a form that sends one."""
    found: list[AwaitedSignal] = visit.read(partial(reading.list_awaited, limit=MOST), [])
    by_event: dict[str, list[AwaitedSignal]] = {}
    for wait in found:
        by_event.setdefault(wait.event, []).append(wait)
    view = {
        "events": [Awaited(event, tuple(waits)) for event, waits in by_event.items()],
        "is_cut": len(found) == MOST,
        "most": MOST,
        "request": new_id(),
    }
    return Shown("signals.html", "Signals", {"waits": [wait.as_json() for wait in found]}, view)


PAGES: Final = (Page("/signals", signals),)
