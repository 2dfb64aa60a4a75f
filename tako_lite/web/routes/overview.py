"""The first page: what needs a person, and the groups."""

from __future__ import annotations

from typing import Any, Final

from tako_lite.store import reading
from tako_lite.web.charts import charts
from tako_lite.web.needs import coming, needs
from tako_lite.web.page import Page, Shown, Visit


def overview(visit: Visit) -> Shown:
    """The groups with their workers; the twin of `status`."""
    status = visit.status or {"daemon": None, "groups": [], "warnings": [], "queue": {}}
    counts: dict[str, int] = visit.read(reading.count_by_state, {})
    view = {
        "needs": needs(visit, status, counts.get("dead", 0)),
        "coming": coming(visit),
        "at_zero": all(group["state"] == "zero" for group in status["groups"]),
        "cells": cells,
        "charts": charts(visit),
    }
    return Shown("overview.html", "Overview", status, view)


def cells(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The worker strip of a group: a cell for each worker that lives, and an empty one for each that could be started."""
    live = [worker for worker in group["workers"] if worker["state"] != "exited"]
    filled = [_cell(worker, len(worker["running"])) for worker in live]
    return filled + [{"state": "possible", "busy": 0, "quarters": 0, "pid": None}] * max(0, group["max_workers"] - len(live))


def _cell(worker: dict[str, Any], busy: int) -> dict[str, Any]:
    """A cell of a worker; `quarters` is how much of it is filled, which is a part of it as soon as one slot is busy."""
    quarters = min(4, -(-4 * busy // max(1, worker["slots"])))
    return {"state": worker["state"], "busy": busy, "slots": worker["slots"], "quarters": quarters, "pid": worker["pid"]}


PAGES: Final = (Page("/", overview, watches="workers", clock=60),)
