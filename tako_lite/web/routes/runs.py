"""The list of runs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from tako_lite.bulk import STATES as STATES_OF
from tako_lite.clock import iso
from tako_lite.errors import CatalogError, TakoError
from tako_lite.protocol.arguments import BulkAction
from tako_lite.records import Run, RunWait
from tako_lite.states import HAS
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.web.page import READ_LIMIT, Page, Shown, Visit
from tako_lite.web.privacy import conceal
from tako_lite.web.search import STATES, WORDS, Search, Word, as_document, in_all_states, read_search
from tako_lite.web.text import short_id

SHOWN: Final = 50
"""Runs on a page: as many as `tako-lite runs` prints."""
SLICE: Final = 20_000
"""Runs that a search looks through at a time, so that it can stop in between."""
PATIENCE: Final = READ_LIMIT * 0.8
"""Seconds after which a search shows what it has found."""
HOLDS: Final[Mapping[str | None, str]] = {
    "limit": "waits for other runs of its workflow to end (limit)",
    "rate": "waits for its turn (rate)",
    "suspect": "will run alone, because it was running when a worker crashed",
    "suspect_limit": "waits for other runs of its workflow to end (limit)",
    "suspect_rate": "waits for its turn (rate)",
    "no_handler": "no workflow file defines its workflow",
    "changed_steps": "held, because the steps of its code changed",
}
"""What keeps a due run from starting, in short, by its hold."""
_ID: Final = re.compile(r"(?:id:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{6,12})", re.IGNORECASE)


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
    view = {
        "state": search.state,
        "states": STATES,
        "counts": counts,
        "search": search.text,
        "suggestions": suggestions(visit),
        "filter": as_document(search.chosen),
        "allowed": [action for action in STATES_OF if visit.user.can(action) and _changes(action, search.chosen)],
        "found": found,
        "reasons": _reasons(visit, found.runs),
        "empty": _empty(visit, search) if not shapes and found.before is None else None,
    }
    return Shown("runs.html", "Runs", {"runs": shapes, "next": found.before}, view)


def _reasons(visit: Visit, shown: list[Run]) -> dict[str, str]:
    """Why each run that is waiting or held does not go on, in short; its page says it in a sentence."""
    ids = [run.id for run in shown if run.state == "waiting"]
    waits: dict[str, list[RunWait]] = visit.read(partial(reading.list_waits, ids=ids), {}) if ids else {}
    held = {run.id: HOLDS[run.hold] for run in shown if run.state == "pending" and run.hold in HOLDS}
    return held | {id: ", ".join(map(_wait, each)) for id, each in waits.items() if each}


def _wait(wait: RunWait) -> str:
    until = f" until {iso(wait.wake_at)}" if wait.wake_at is not None else ""
    match wait.kind:
        case "sleep":
            return f"sleeps{until}"
        case "signal":
            return f"waits for {wait.key}{until}"
        case "child":
            return f"waits for run {short_id(wait.key or '')}"
    return f"tries {wait.name} again{until.replace(' until', ' at')}"


def suggestions(visit: Visit) -> list[str]:
    """The words that the search box completes: those with few values as a whole, the others without their values."""
    site = visit.site
    try:
        catalog = site.project.catalog()
        workflows, groups = sorted(catalog.workflows), catalog.groups
    except CatalogError:
        workflows, groups = [], frozenset()
    values = {
        "state": STATES,
        "workflow": workflows,
        "group": sorted(groups | set(site.config.groups)),
        "tenant": sorted(site.config.routes.tenants),
        "has": HAS,
        **dict.fromkeys(("since", "until", "ended"), ("1h", "24h", "7d")),
        "longer": ("10s", "5m"),
    }
    return [str(Word(word, value)) for word in WORDS for value in values.get(word, ("",))]


def _of_one_run(visit: Visit) -> str | None:
    """The address of the run whose id, or the end of it, is in the search box; None if that is no id."""
    text = visit.query.get("q", "").strip()
    match = _ID.fullmatch(text)
    if match is None:
        return None
    try:
        id = visit.read(partial(reading.resolve_ending, ending=match[1]), "")
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


def _changes(action: BulkAction, chosen: RunFilter) -> bool:
    """Whether an action can change runs of a search."""
    return action != "move" and (not chosen.states or bool(set(chosen.states) & set(STATES_OF[action])))


def _empty(visit: Visit, search: Search) -> str:
    """Why the list is empty."""
    if not search.words:
        return "No runs yet."
    if search.state is not None and search.is_narrow and _narrow(visit, in_all_states(search.chosen)).runs:
        return f"No run that matches is {search.state}; there are such runs in other states."
    return "No runs match."


PAGES: Final = (Page("/runs", runs),)
