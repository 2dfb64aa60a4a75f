"""The list of runs."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, replace
from functools import partial
from typing import Final, NamedTuple

from tako_lite.bulk import STATES as STATES_OF
from tako_lite.errors import TakoError
from tako_lite.protocol.arguments import BulkAction
from tako_lite.records import Run
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.web.page import READ_LIMIT, Document, Page, Shown, Visit
from tako_lite.web.privacy import conceal
from tako_lite.web.search import STATES, Search, read_search

SHOWN: Final = 50
"""Runs on a page: as many as `tako-lite runs` prints."""
SLICE: Final = 20_000
"""Runs that a search looks through at a time, so that it can stop in between."""
PATIENCE: Final = READ_LIMIT * 0.8
"""Seconds after which a search shows what it has found."""
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{6,12}", re.IGNORECASE)


class Found(NamedTuple):
    """The runs of a page. `before` continues the list; `looked_at` is set if the search stopped before it had enough."""

    runs: list[Run]
    before: str | None
    looked_at: int | None = None


def runs(visit: Visit) -> Shown:
    """The newest runs that a search matches; the twin of `runs`."""
    if (address := _of_one_run(visit)) is not None:
        return Shown("runs.html", "Runs", {}, location=address)
    search = read_search(visit.query, visit.now)
    found = _narrow(visit, search.chosen) if search.is_narrow else _newest(visit, search.chosen)
    shapes = [conceal(visit, run.as_json()) for run in found.runs]
    counts: dict[str, int] = {} if search.is_narrow else visit.read(reading.count_by_state, {})
    words = dict(search.words)
    view = {
        "state": words.pop("state", None),
        "states": STATES,
        "counts": counts,
        "filters": words,
        "filter": _filter(search.chosen),
        "allowed": [action for action in STATES_OF if visit.user.can(action) and _changes(action, search.chosen)],
        "found": found,
        "empty": _empty(visit, search) if not shapes and found.before is None else None,
    }
    return Shown("runs.html", "Runs", {"runs": shapes, "next": found.before}, view)


def _of_one_run(visit: Visit) -> str | None:
    """The address of the run whose id, or the end of it, is in the search box; None if that is no id."""
    text = visit.query.get("q", "").strip()
    if not _ID.fullmatch(text):
        return None
    try:
        id = visit.read(partial(reading.resolve_ending, ending=text), "")
    except TakoError:
        return None
    return visit.urls(f"/runs/{id}") if id else None


def _newest(visit: Visit, chosen: RunFilter) -> Found:
    found: list[Run] = visit.read(partial(reading.list_runs, chosen=chosen, limit=SHOWN), [])
    return Found(found, found[-1].id if len(found) == SHOWN else None)


def _narrow(visit: Visit, chosen: RunFilter) -> Found:
    """Look through the runs slice by slice: a workflow that ran rarely must not keep the page waiting."""
    found: list[Run] = []
    end = time.monotonic() + PATIENCE
    before, looked_at = chosen.before, 0
    while True:
        ends: tuple[str, str] | None = visit.read(partial(reading.find_slice, before=before, count=SLICE), None)
        part = replace(chosen, before=before, after=ends and ends[1])
        found += visit.read(partial(reading.list_runs, chosen=part, limit=SHOWN - len(found)), [])
        if len(found) == SHOWN:
            return Found(found, found[-1].id)
        if ends is None:
            return Found(found, None)
        before, looked_at = ends[0], looked_at + SLICE
        if time.monotonic() > end:
            return Found(found, before, looked_at)


def _filter(chosen: RunFilter) -> Document:
    """The filter of a search as the argument of a bulk action, which is about every page of the list."""
    return {
        name: value for name, value in asdict(chosen).items() if value not in (None, ()) and name not in ("before", "after")
    }


def _changes(action: BulkAction, chosen: RunFilter) -> bool:
    """Whether an action can change runs of a search."""
    return action != "move" and (not chosen.states or bool(set(chosen.states) & set(STATES_OF[action])))


def _empty(visit: Visit, search: Search) -> str:
    """Why the list is empty."""
    if not search.words:
        return "No run yet."
    if "state" in search.words and search.is_narrow:
        others = replace(search.chosen, states=(), due_before=None, due_after=None)
        if _narrow(visit, others).runs:
            return f"No run that matches is {search.words['state']}; there are such runs in other states."
    return "No run matches."


PAGES: Final = (Page("/runs", runs),)
