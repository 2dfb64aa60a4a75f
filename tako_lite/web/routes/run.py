"""One run: its waterfall, attempts, steps, payload, result, error and log."""

from __future__ import annotations

import json
import shlex
from functools import partial
from typing import Final

from tako_lite.client.client_core import ID_LENGTH
from tako_lite.client.logfiles import SUFFIX
from tako_lite.client.run_log import RunLog, read_run_log
from tako_lite.clock import iso, milliseconds
from tako_lite.errors import TakoError
from tako_lite.new_run import unknown_run
from tako_lite.reached import sentences
from tako_lite.records import Run
from tako_lite.states import TERMINAL
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.web import text
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.privacy import conceal
from tako_lite.web.traces import parts
from tako_lite.web.waterfall import WAITING, waterfall

SHOWN_LINES: Final = 200
"""Lines of the log on the page of the run."""
SHOWN_CHILDREN: Final = 20
MOST_LINES: Final = 5_000
LONGEST_COPY: Final = 2_000
"""Characters of a payload in a command line to copy."""
_ENDED: Final = {"succeeded": "Succeeded", "cancelled": "Cancelled", "dead": "Died"}


def run(visit: Visit) -> Shown:
    """A run with its steps; the twin of `show`. The end of an id leads to the run."""
    if len(visit.path["id"]) != ID_LENGTH:
        id = visit.read(partial(reading.resolve_ending, ending=visit.path["id"]), "")
        if not id:
            raise unknown_run(visit.path["id"])
        return Shown("run.html", "Run", {}, location=visit.urls(f"/runs/{id}"))
    found = _found(visit)
    shape = conceal(visit, {**found.as_json(), **_under_way(visit, found)})
    error = shape["error"] or {}
    drawn = waterfall(shape, visit.now, cut_gaps=visit.query.get("gaps") != "show")
    view = {
        "why": None if found.state in TERMINAL else _why(visit, found.id),
        "outcome": outcome(shape),
        "not_reached": () if found.hold == "changed_steps" else sentences(found.not_reached),
        "waterfall": drawn,
        "kinds": {segment.kind for row in drawn.rows for segment in row.segments},
        "children": _children(visit, found.id),
        "named": {step["name"] for step in shape["steps"]},
        "attempts": [attempt for attempt in shape["history"] if attempt["step"] is None],
        "trace": parts(text.plain(error["traceback"]), visit.site.config.root) if error.get("traceback") else [],
        "log": _log(visit, found, SHOWN_LINES),
        "copies": copies(shape) if visit.user.can("see_payloads") else (),
    }
    return Shown("run.html", f"{shape['workflow']} {shape['state']}", shape, view)


def log(visit: Visit) -> Shown:
    """The newest lines that a run wrote, each as `logs RUN --json` prints it."""
    found = _found(visit)
    before = visit.query.get("before")
    lines = _log(visit, found, MOST_LINES, None if not before else milliseconds(before))
    document = {"id": found.id, "lines": [line.as_json() for line in lines.lines], "older": iso(lines.older)}
    return Shown("run_log.html", f"Log of {found.workflow}", document, {"log": lines, "workflow": found.workflow})


def _found(visit: Visit) -> Run:
    """The run that the address names by its id. Raises NotFound."""
    id = visit.path["id"].lower()
    found: Run | None = visit.read(partial(reading.get_run, id=id), None)
    if found is None:
        raise unknown_run(id)
    return found


def _children(visit: Visit, id: str) -> list[Document]:
    """The newest runs that a run started."""
    read = partial(reading.list_runs, chosen=RunFilter(parent=id), limit=SHOWN_CHILDREN)
    found: list[Run] = visit.read(read, [])
    return [conceal(visit, run.as_json()) for run in found]


def _under_way(visit: Visit, found: Run) -> Document:
    """What only the daemon knows of a run that is running: its worker, and the steps that it executes now."""
    if found.state == "running":
        try:
            run = visit.ask("get", run_id=found.id)["run"]
            return {"worker_pid": run["worker_pid"], "in_flight": run["in_flight"]}
        except TakoError:
            pass
    return {"in_flight": []}


def _why(visit: Visit, id: str) -> str | None:
    try:
        return str(visit.ask("why", run_id=id)["sentence"])
    except TakoError:
        return None


def outcome(run: Document) -> str | None:
    """A sentence about a run that has ended: how, after how many attempts, and how long it only waited."""
    if run["finished_at"] is None:
        return None
    whole = text.milliseconds(run["finished_at"]) - text.milliseconds(run["created_at"])
    tries = f" after {text.counted(run['attempts'], 'attempt')}" if run["attempts"] > 1 else ""
    waiting = _waiting(run)
    waited = f", of which {text.span(waiting / 1000)} waiting" if waiting > 1000 else ""
    return f"{_ENDED[run['state']]}{tries} in {text.span(whole / 1000)}{waited}."


def _waiting(run: Document) -> int:
    """How long a run waited in its steps, in milliseconds; waits at the same time count once."""
    total = before = 0
    for step in sorted(run.get("steps") or (), key=lambda step: str(step["started_at"])):
        if step["kind"] in WAITING and step["finished_at"]:
            began, ended = text.milliseconds(step["started_at"]), text.milliseconds(step["finished_at"])
            total += max(0, ended - max(began, before))
            before = max(before, ended)
    return total


def _log(visit: Visit, found: Run, most: int, before: int | None = None) -> RunLog:
    if found.started_at is None or not visit.user.can("see_logs"):
        return RunLog([], older=None, is_gone=False)
    folder = visit.site.project.serving_dir() / "logs"
    return read_run_log(folder, found.group, found.id, found.started_at, found.finished_at, most, before)


def _log_size(visit: Visit) -> int | None:
    """The size of the log file of the run's group: a run that only prints changes nothing in the queue."""
    try:
        found = _found(visit)
        if found.state in TERMINAL:
            return None
        return (visit.site.project.serving_dir() / "logs" / f"{found.group}{SUFFIX}").stat().st_size
    except (TakoError, OSError):
        return None


def copies(run: Document) -> tuple[tuple[str, str], ...]:
    """How to enqueue the same again: as a command line and as Python."""
    payload = json.dumps(run["payload"], ensure_ascii=False)
    if len(payload) > LONGEST_COPY:
        return ()
    options = {name: run[name] for name in ("unique_key", "tenant", "priority") if run[name]}
    flags = "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items())
    keywords = "".join(f", {name}={value!r}" for name, value in options.items())
    return (
        ("Command line", f"tako-lite enqueue {run['workflow']} {shlex.quote(payload)}{flags}"),
        ("Python", f"Client().enqueue({run['workflow']!r}, {run['payload']!r}{keywords})"),
    )


PAGES: Final = (
    Page("/runs/{id}", run, watches="workers", mark=_log_size),
    Page("/runs/{id}/log", log, mark=_log_size, right="see_logs"),
)
