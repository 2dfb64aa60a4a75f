"""Who paused a group, a schedule or a trigger, and the note that was left."""

from __future__ import annotations

from functools import partial
from typing import Final, Literal, NamedTuple

from tako_lite.clock import iso
from tako_lite.records import Activity
from tako_lite.store.transitions import activity
from tako_lite.web.page import Visit

READ: Final = 500
"""Newest entries of the activity among which that of a pause is looked for."""


class Pause(NamedTuple):
    """Who paused something, when, and why."""

    actor: str
    at: str
    note: str | None


def pauses(visit: Visit, action: Literal["pause", "pause_schedule", "pause_trigger"]) -> dict[str, Pause]:
    """The last pause of each group, schedule or trigger, by its name."""
    read = partial(activity.list_newest, limit=READ, before=None, actor=None, action=action)
    entries: list[Activity] = visit.read(read, [])
    oldest_first = (entry for entry in reversed(entries) if entry.detail.get("paused", True))
    return {entry.target: Pause(entry.actor, iso(entry.at) or "", entry.detail.get("note")) for entry in oldest_first}
