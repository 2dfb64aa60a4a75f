"""What people changed by hand, and the progress of a bulk action."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from tako_lite.errors import NotFound
from tako_lite.records import Activity
from tako_lite.store.transitions import activity as entries
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.search import words_of
from tako_lite.web.text import filter_words

SHOWN: Final = 50
"""Entries on a page: as many as `tako-lite activity` prints."""
BULK: Final = "bulk_"
_KNOWN: Final = ("done", "stopped", "counts", "runs", "outcomes", "filter", "error", "changed", "matched")
"""The details that the template asks for; which of them an entry has depends on its command."""
_IMPLIED: Final = frozenset({"done", "stopped", "counts", "runs", "outcomes"})
"""Keys of details that are shown in another way."""


def activity(visit: Visit) -> Shown:
    """The newest entries that the address chooses; the twin of `activity`."""
    chosen = {name: visit.query[name] for name in ("actor", "action") if visit.query.get(name)}
    before = {"before": visit.query["before"]} if visit.query.get("before") else {}
    document = visit.ask("activity", limit=SHOWN, **chosen, **before)
    found = document["activity"]
    view = {
        "entries": [(entry, facts(entry)) for entry in found],
        "chosen": chosen,
        "older": found[-1]["id"] if len(found) == SHOWN else None,
    }
    return Shown("activity.html", "Activity", document, view)


def entry(visit: Visit) -> Shown:
    """One entry; of a bulk action, how far it has come."""
    id = visit.path["id"]
    found: Activity | None = visit.read(partial(entries.find, id=id), None)
    if found is None:
        raise NotFound(f"the activity has no entry {id[:60]!r}", hint="entries are kept for 90 days")
    shape = found.as_json()
    view = {
        "detail": {**dict.fromkeys(_KNOWN), **found.detail},
        "facts": facts(shape),
        "is_bulk": found.action.startswith(BULK),
        "search": search_text(found.detail.get("filter")),
        "words": filter_words,
    }
    return Shown("activity_entry.html", f"{found.action} by {found.actor}", shape, view)


def facts(entry: Document) -> list[tuple[str, str]]:
    """The details of an entry that other columns do not show, as names and texts."""
    detail = {name: value for name, value in entry["detail"].items() if value not in (None, {}, []) and name not in _IMPLIED}
    return [(name.replace("_", " "), value if isinstance(value, str) else _text(value)) for name, value in detail.items()]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def search_text(chosen: Document | None) -> str:
    """The search for the runs that match the filter of a bulk action now."""
    return " ".join(map(str, words_of(chosen or {})))


PAGES: Final = (Page("/activity", activity), Page("/activity/{id}", entry))
