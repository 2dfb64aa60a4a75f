"""What surrounds each page: the navigation with its numbers, and the state of the daemon."""

from __future__ import annotations

from typing import Final, NamedTuple

from tako_lite.errors import TakoError
from tako_lite.store import reading
from tako_lite.web.daemon import Daemon
from tako_lite.web.page import Page, Visit

NAVIGATION: Final = (
    ("overview", "/", "Overview", None),
    ("runs", "/runs", "Runs", "running"),
    ("groups", "/groups", "Groups", None),
    ("workflows", "/workflows", "Workflows", None),
    ("schedules", "/schedules", "Schedules", None),
    ("errors", "/errors", "Errors", "dead"),
    ("signals", "/signals", "Signals", None),
    ("activity", "/activity", "Activity", None),
    ("system", "/system", "System", None),
)
"""The main pages: name, path, title, and the state whose number of runs stands beside the title."""


class Link(NamedTuple):
    """A link of the navigation."""

    name: str
    path: str
    title: str
    number: int | None
    current: bool


class Frame(NamedTuple):
    """The facts around a page."""

    links: tuple[Link, ...]
    daemon: Daemon
    dead: int
    """How many runs are dead and not discarded."""
    running: int
    trouble: str | None
    """Why the queue cannot be read, if that is so."""


def make_frame(visit: Visit, page: Page) -> Frame:
    """The frame of a page. A queue that cannot be read leaves the numbers out."""
    trouble = None
    counts: dict[str, int] = {}
    try:
        counts = visit.read(reading.count_by_state, {})
    except TakoError as error:
        trouble = error.message
    links = (
        Link(name, path, title, counts.get(state, 0) if state and counts else None, _is_in(page.path, path))
        for name, path, title, state in NAVIGATION
    )
    return Frame(tuple(links), visit.daemon, counts.get("dead", 0), counts.get("running", 0), trouble)


def _is_in(page: str, path: str) -> bool:
    """Whether a page belongs to the part of the dashboard that begins at a path."""
    return page == path if path == "/" else page == path or page.startswith(f"{path}/")
