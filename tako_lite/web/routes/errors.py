"""The errors of runs by fingerprint, and one of them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

from tako_lite.errors import BadInput, NotFound
from tako_lite.records import Activity, Run
from tako_lite.store import failures, reading
from tako_lite.store.base import RunFilter
from tako_lite.store.failures import ErrorGroup, ErrorVariants, Occurrence
from tako_lite.store.transitions import activity
from tako_lite.web import text
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.privacy import conceal
from tako_lite.web.traces import parts

RUNS: Final = 20
"""Runs on the page of an error."""
RETRIES: Final = 50
"""The newest bulk retries, among which the page of an error looks for one of that error."""


def errors(visit: Visit) -> Shown:
    """The errors that occurred last, by fingerprint."""
    occurrence = visit.query.get("of", "dead")
    if occurrence not in ("dead", "attempts"):
        raise BadInput(f"there is no list of errors of {occurrence[:40]!r}", hint="use dead or attempts")
    found = [_shape(visit, group) for group in _list(visit, cast("Occurrence", occurrence))]
    return Shown("errors.html", "Errors", {"errors": found}, {"of": occurrence})


def error(visit: Visit) -> Shown:
    """One error: an example, how its occurrences differ, and the runs that died of it."""
    fingerprint = visit.path["fingerprint"]
    groups = {name: _list(visit, name, fingerprint) for name in ("dead", "attempts")}
    found = next((group for of in groups.values() for group in of), None)
    if found is None:
        raise NotFound(f"no run has an error with the fingerprint {fingerprint[:40]!r}", hint="its runs may be pruned")
    shape = _shape(visit, found)
    chosen = RunFilter(fingerprint=fingerprint, states=("dead",))
    runs: list[Run] = visit.read(partial(reading.list_runs, chosen=chosen, limit=RUNS), [])
    variants: ErrorVariants = visit.read(partial(failures.find_variants, fingerprint=fingerprint), ErrorVariants((), ()))
    traceback = shape["error"]["traceback"]
    dead = groups["dead"][0].number if groups["dead"] else 0
    view = {
        "dead": dead,
        "tried": groups["attempts"][0].number if groups["attempts"] else 0,
        "trace": parts(text.plain(traceback), visit.site.config.root) if traceback else [],
        "runs": [conceal(visit, run.as_json()) for run in runs],
        "filter": {"fingerprint": fingerprint, "states": ["dead"]},
        "retried": _last_retry(visit, fingerprint),
    }
    document = {**shape, "dead": dead, "variants": variants.as_json()}
    return Shown("failure.html", f"{shape['error']['type']} {fingerprint[-8:]}", document, view)


def _list(visit: Visit, occurrence: str, fingerprint: str | None = None) -> list[ErrorGroup]:
    read = partial(failures.list_errors, now=visit.now, occurrence=cast("Occurrence", occurrence), fingerprint=fingerprint)
    found: list[ErrorGroup] = visit.read(read, [])
    return found


def _shape(visit: Visit, group: ErrorGroup) -> Document:
    """An error as this visitor may see it."""
    shape = group.as_json()
    shape["error"] = {"type": "Error", "message": "", "traceback": None, **shape["error"]}
    if visit.site.redact is not None:
        shape["error"] = visit.site.redact("error", shape["error"])
    return shape


def _last_retry(visit: Visit, fingerprint: str) -> Document | None:
    """The last bulk retry of this error, and how many runs died of it again since then."""
    entries: list[Activity] = visit.read(
        partial(activity.list_newest, limit=RETRIES, before=None, actor=None, action="bulk_retry"), []
    )
    last = next((entry for entry in entries if entry.detail.get("filter", {}).get("fingerprint") == fingerprint), None)
    if last is None:
        return None
    again = RunFilter(fingerprint=fingerprint, states=("dead",), ended_since=last.at)
    count: Any = visit.read(partial(reading.count_runs, chosen=again, limit=10_000), 0)
    return {**last.as_json(), "died_again": count}


PAGES: Final = (Page("/errors", errors, clock=3600), Page("/errors/{fingerprint}", error, clock=3600))
