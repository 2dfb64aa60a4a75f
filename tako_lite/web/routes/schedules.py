"""Schedules and polling triggers: when they fire next, and what came of the last times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tako_lite.catalog import cron_of
from tako_lite.clock import iso
from tako_lite.cron import next_slot
from tako_lite.errors import BadInput, NotFound, TakoError
from tako_lite.hints import did_you_mean
from tako_lite.records import Run
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.pauses import pauses
from tako_lite.web.privacy import conceal

TICKS: Final = 5
STRIP: Final = 30
"""Recent runs of the workflow of a schedule, as cells."""
BOUND: Final = 0.05
"""Seconds that the ticks of one schedule may take."""
FAR_MS: Final = 8 * 366 * 86_400_000


class Tick(NamedTuple):
    """A time at which a schedule fires: the moment, the time on the clocks of its zone, and what is special about it."""

    moment: str
    wall: str
    note: str


def schedules(visit: Visit) -> Shown:
    """The schedules; the twin of `schedules`. The page shows the triggers as well."""
    found = visit.ask("schedules")
    return Shown("schedules.html", "Schedules", found, _view(visit, found["schedules"], visit.ask("triggers")["triggers"]))


def triggers(visit: Visit) -> Shown:
    """The polling triggers; the twin of `triggers`. The page is that of the schedules."""
    found = visit.ask("triggers")
    return Shown("schedules.html", "Triggers", found, _view(visit, visit.ask("schedules")["schedules"], found["triggers"]))


def _view(visit: Visit, found: list[Document], triggers: list[Document]) -> Document:
    return {
        "schedules": found,
        "triggers": triggers,
        "paused": pauses(visit, "pause_trigger") if any(one["paused"] for one in triggers) else {},
        "words": {one["workflow"]: words(one["cron"]) for one in found},
        "ticks": {one["workflow"]: [*ticks(one["cron"], one["timezone"], visit.now)] for one in found},
        "strips": {one["workflow"]: _recent(visit, one["workflow"], STRIP) for one in found},
    }


def schedule(visit: Visit) -> Shown:
    """One schedule, with its next times and its recent runs."""
    name = visit.path["name"]
    found = visit.ask("schedules")["schedules"]
    one = next((each for each in found if each["workflow"] == name), None)
    if one is None:
        hint = did_you_mean(name, [each["workflow"] for each in found]) or "`tako-lite schedules` lists the schedules"
        raise NotFound(f'no schedule is named "{name[:128]}"', hint=hint, type="unknown_schedule")
    coming = [*ticks(one["cron"], one["timezone"], visit.now, 2 * TICKS)]
    recent = _recent(visit, name, STRIP)
    pause = pauses(visit, "pause_schedule").get(name)
    view = {"one": one, "words": words(one["cron"]), "ticks": coming, "recent": recent, "pause": pause}
    return Shown("schedule.html", name, {**one, "next": [tick.moment for tick in coming]}, view)


def _recent(visit: Visit, workflow: str, most: int) -> list[Document]:
    """The newest runs of a workflow, the newest first; none if it takes too long to find them."""
    read = partial(reading.list_runs, chosen=RunFilter(workflow=workflow), limit=most)
    try:
        found: list[Run] = visit.read(read, [])
    except TakoError:
        return []
    return [conceal(visit, run.as_json()) for run in found]


def words(cron: str) -> str:
    """A cron expression in words; empty if it cannot be put into words."""
    try:
        return str(CronSim(cron_of(cron), datetime(2000, 1, 1, tzinfo=UTC)).explain())
    except (CronSimError, ValueError, AttributeError):
        return ""


def ticks(cron: str, timezone: str, now: int, most: int = TICKS) -> Iterator[Tick]:
    """The next times of a schedule: at most so many, within eight years, and within a bounded time of computing."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    end, after = time.monotonic() + BOUND, now
    for _ in range(most):
        try:
            slot = next_slot(cron, timezone, after)
        except BadInput:
            return
        if slot is None or slot > now + FAR_MS:
            return
        local = datetime.fromtimestamp(slot / 1000, zone)
        yield Tick(iso(slot) or "", f"{local:%a %-d %b %H:%M}", _note(cron, local))
        after = slot
        if time.monotonic() > end:
            return


def _note(cron: str, local: datetime) -> str:
    """What is special about a time: the clocks skip the one that the expression names."""
    minute, hour = cron_of(cron).split()[-5:-3]
    if minute.isdigit() and hour.isdigit() and (local.hour, local.minute) != (int(hour), int(minute)):
        return f"{int(hour):02d}:{int(minute):02d} does not exist on that day"
    return ""


PAGES: Final = (
    Page("/schedules", schedules, clock=60),
    Page("/triggers", triggers, clock=60),
    Page("/schedules/{name}", schedule, clock=60),
)
