"""The question before a bulk action: how many runs, which ones, and what stays as it is."""

from __future__ import annotations

import json
from typing import Final

from tako_lite.bulk import STATES
from tako_lite.errors import BadInput, NotFound
from tako_lite.protocol.arguments import BulkAction, Filter
from tako_lite.records import new_id
from tako_lite.typed import convert
from tako_lite.web.actions import TYPED
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.text import filter_words

VERBS: Final[dict[BulkAction, str]] = {
    "cancel": "Cancel",
    "retry": "Retry",
    "discard": "Discard",
    "run_now": "Start now",
    "move": "Move",
}
UNTOUCHED: Final[dict[BulkAction, str]] = {
    "cancel": "Runs that have ended are not changed.",
    "retry": "Runs that succeeded or have not ended are not changed.",
    "discard": "The runs stay readable, but no longer count as dead.",
    "run_now": "Only runs that are scheduled for later are changed.",
    "move": "Runs that have ended are not changed.",
}


def bulk(visit: Visit) -> Shown:
    """How many runs match a filter that an action can change, and the form that starts it."""
    action = next((name for name in VERBS if name == visit.path["action"]), None)
    if action is None:
        raise NotFound(f"there is no bulk action {visit.path['action'][:40]!r}", hint=f"actions: {', '.join(VERBS)}")
    chosen = _filter(visit.query.get("filter", "{}"))
    possible = STATES[action]
    chosen["states"] = [state for state in chosen.get("states") or possible if state in possible] or list(possible)
    count = visit.ask("count", **chosen)["count"]
    view = {
        "verb": VERBS[action],
        "untouched": UNTOUCHED[action],
        "typed": count >= TYPED,
        "request": new_id(),
        "words": filter_words,
        "groups": sorted(visit.site.config.groups),
        "back": visit.urls.within(visit.query.get("next")),
    }
    return Shown("bulk.html", f"{VERBS[action]} runs", {"action": action, "filter": chosen, "count": count}, view)


def _filter(text: str) -> Document:
    """The filter that an address has as JSON. Raises BadInput."""
    try:
        chosen = json.loads(text)
        convert(chosen, Filter)
    except ValueError:
        raise BadInput("the filter in the address is not JSON") from None
    return {name: value for name, value in chosen.items() if name not in ("limit", "before", "after")}


PAGES: Final = (Page("/bulk/{action}", bulk, watches="nothing", right="bulk"),)
