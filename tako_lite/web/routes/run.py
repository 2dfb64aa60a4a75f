"""One run: its waterfall, steps, payload, result and error."""

from __future__ import annotations

from functools import partial
from typing import Final

from tako_lite.client.client_core import ID_LENGTH
from tako_lite.errors import TakoError
from tako_lite.new_run import unknown_run
from tako_lite.states import TERMINAL
from tako_lite.store import reading
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.waterfall import waterfall


def run(visit: Visit) -> Shown:
    """A run with its steps; the twin of `show`."""
    id = _full_id(visit, visit.path["id"])
    found = visit.read(partial(reading.get_run, id=id), None)
    if found is None:
        raise unknown_run(id)
    shape = {**found.as_json(), **_worker(visit, id)}
    view = {
        "why": None if shape["state"] in TERMINAL else _why(visit, id),
        "waterfall": waterfall(shape, visit.now, cut_gaps=visit.query.get("gaps") != "show"),
    }
    return Shown("run.html", f"{shape['workflow']} {shape['state']}", shape, view)


def _full_id(visit: Visit, ending: str) -> str:
    if len(ending) == ID_LENGTH:
        return ending.lower()
    id = visit.read(partial(reading.resolve_ending, ending=ending), None)
    if id is None:
        raise unknown_run(ending)
    return id


def _worker(visit: Visit, id: str) -> Document:
    """The worker that executes a run now, which only the daemon knows."""
    workers = [worker for group in (visit.status or {}).get("groups", ()) for worker in group["workers"]]
    return next(({"worker_pid": worker["pid"]} for worker in workers if id in worker["running"]), {})


def _why(visit: Visit, id: str) -> str | None:
    try:
        return str(visit.ask("why", run_id=id)["sentence"])
    except TakoError:
        return None


PAGES: Final = (Page("/runs/{id}", run, watches="workers"),)
