"""What the first page says before all numbers: what needs a person, and what will happen next."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Final, NamedTuple

from tako_lite import __version__
from tako_lite.clock import iso
from tako_lite.errors import TakoError
from tako_lite.records import Upcoming
from tako_lite.store import reading
from tako_lite.store.failures import ErrorGroup, list_errors
from tako_lite.units import counted, size_text
from tako_lite.web.page import Document, Visit
from tako_lite.web.pauses import pauses
from tako_lite.web.routes.schedules import ticks
from tako_lite.web.text import age

TROUBLED: Final = frozenset({"paused", "backoff", "unhealthy"})
"""The states of a group in which it starts no runs."""
LEAST_FREE: Final = 0.05
"""The part of the disk that should be free."""
LARGE_LOG: Final = 40_000_000
"""Bytes of the log (WAL) of the queue: ten times what it has in normal operation."""
MOST_ERRORS: Final = 3
ERRORS_KEPT: Final = 10.0
"""Seconds for which the errors are shown again: with very many dead runs, counting them takes a while."""
MOST_COMING: Final = 5


class Need(NamedTuple):
    """Something that needs a person: the name of its icon, what it is, where it is shown, and more about it."""

    icon: str
    title: str
    path: str | None
    text: str = ""


class Coming(NamedTuple):
    """Something that will happen: when, what, and where it is shown."""

    at: str
    title: str
    path: str
    word: str


def needs(visit: Visit, status: Document, dead: int) -> list[Need]:
    """What needs a person; usually nothing."""
    found = _groups(visit, [group for group in status["groups"] if group["state"] in TROUBLED])
    found += _dead(visit, dead)
    found += [
        Need("unhealthy", f"trigger {one['name']}", "/triggers", _first_line(one["last_error"]["message"]))
        for one in _asked(visit, "triggers")
        if one["last_error"]
    ]
    return [*found, *_machine(visit, status), *(Need("warning", "warning", None, text) for text in status["warnings"])]


def _groups(visit: Visit, troubled: list[Document]) -> list[Need]:
    """The groups that start no runs, with the note of who paused them or the error of their last worker."""
    paused = pauses(visit, "pause") if any(group["state"] == "paused" for group in troubled) else {}
    found = []
    for group in troubled:
        name, state = group["name"], group["state"]
        text = _first_line(group["last_error"])
        if state == "paused" and (pause := paused.get(name)):
            text = f"by {pause.actor}, {age(pause.at, visit.now)}" + (f": {pause.note}" if pause.note else "")
        word = "failed to start" if state != "paused" else "is paused"
        found.append(Need(state, f"group {name} {word}", f"/groups/{name}", text))
    return found


def _dead(visit: Visit, dead: int) -> list[Need]:
    if not dead:
        return []
    errors = visit.site.kept("errors", ERRORS_KEPT, partial(_errors, visit))
    recent = [error for error in errors if error.day]
    named = [
        Need(
            "dead",
            f"{counted(error.day, 'run')} died of {error.error.get('type')} in 24 h",
            f"/errors/{error.fingerprint}",
            _first_line(error.error.get("message")),
        )
        for error in recent
    ]
    return named or [Need("dead", f"{dead:,} dead {'run' if dead == 1 else 'runs'}", "/errors")]


def _errors(visit: Visit) -> list[ErrorGroup]:
    try:
        errors: list[ErrorGroup] = visit.read(partial(list_errors, now=visit.now, limit=MOST_ERRORS), [])
    except TakoError:  # the number of dead runs is shown instead
        return []
    return errors


def _machine(visit: Visit, status: Document) -> list[Need]:
    """What the machine lacks, and a daemon of another release."""
    found = []
    files = [file for file in visit.site.config.queue.location.files() if file.exists()]
    if files:
        disk = shutil.disk_usage(files[0].parent)
        if disk.free < LEAST_FREE * disk.total:
            found.append(Need("warning", f"only {size_text(disk.free)} are free on the disk of the queue", "/system"))
    logs = [file for file in files if file.name.endswith("-wal") and file.stat().st_size > LARGE_LOG]
    found += [Need("warning", f"the log of the queue has {size_text(log.stat().st_size)}", "/system") for log in logs]
    if (daemon := status["daemon"]) and daemon["version"] != __version__:
        text = f"the daemon is of release {daemon['version']}, and this dashboard of {__version__}: restart both"
        found.append(Need("warning", text, "/system"))
    return found


def coming(visit: Visit) -> list[Coming]:
    """The next things that will happen by themselves: schedules, delayed runs, and ends of sleeps."""
    found = [
        Coming(tick.moment, one["workflow"], f"/schedules/{one['workflow']}", "scheduled")
        for one in _asked(visit, "schedules")
        if not one["paused"]
        for tick in ticks(one["cron"], one["timezone"], visit.now, 2)
    ]
    upcoming: list[Upcoming] = visit.read(partial(reading.list_upcoming, limit=MOST_COMING), [])
    for one in upcoming:
        word = "due" if one.kind == "run" else "wakes up"
        if one.at > visit.now:
            found.append(Coming(iso(one.at) or "", one.workflow, f"/runs/{one.id}", word))
    return sorted(found)[:MOST_COMING]


def _asked(visit: Visit, command: str) -> list[Document]:
    try:
        return list(visit.ask(command)[command])
    except TakoError:
        return []


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
