"""The list of runs."""

from __future__ import annotations

from functools import partial
from typing import Final

from tako_lite.errors import BadInput
from tako_lite.records import Run
from tako_lite.states import RUN_STATES
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.web.page import Page, Shown, Visit
from tako_lite.web.privacy import conceal

SHOWN: Final = 50
"""Runs on a page: as many as `tako-lite runs` prints."""


def runs(visit: Visit) -> Shown:
    """The newest runs that a filter of the address matches; the twin of `runs`."""
    query = visit.query
    state = query.get("state") or None
    if state is not None and state not in RUN_STATES:
        raise BadInput(f"there is no state {state[:60]!r}", hint=f"states: {', '.join(RUN_STATES)}")
    chosen = RunFilter(
        workflow=query.get("workflow") or None,
        group=query.get("group") or None,
        states=(state,) if state else (),
        before=query.get("before") or None,
    )
    listed: list[Run] = visit.read(partial(reading.list_runs, chosen=chosen, limit=SHOWN), [])
    found = [conceal(visit, run.as_json()) for run in listed]
    counts: dict[str, int] = visit.read(reading.count_by_state, {})
    view = {
        "state": state,
        "states": RUN_STATES,
        "counts": counts | {"pending": counts.get("due", 0) + counts.get("scheduled", 0)},
        "filters": {name: query[name] for name in ("workflow", "group") if query.get(name)},
        "older": found[-1]["id"] if len(found) == SHOWN else None,
    }
    return Shown("runs.html", "Runs", {"runs": found}, view)


PAGES: Final = (Page("/runs", runs),)
