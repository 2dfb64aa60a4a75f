"""Which group a run belongs to, and what its row says when it is stored.

Every run is made here, whoever asks: a client, a schedule, a parent run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.errors import BadInput, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.records import NewRun, new_id
from tako_lite.wire import printable
from tako_lite.workflow import WorkflowOptions

GroupSource = Literal["enqueue", "workflow", "default"]

MAX_PRIORITY: Final = 1_000_000_000
MAX_RETRIES: Final = 1_000_000
MAX_KEY: Final = 1_000
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an enqueue says beside workflow and payload. `delay` is seconds, `at` milliseconds since 1970."""

    worker: str | None = None
    unique_key: str | None = None
    delay: float | None = None
    at: int | None = None
    priority: int | None = None
    retries: int | None = None


def make_run(
    workflow: str,
    options: WorkflowOptions,
    payload: str,
    asked: Asked,
    groups: Collection[str],
    now: int,
    *,
    id: str | None = None,
    parent: str | None = None,
) -> NewRun:
    """The row of a new run; `payload` is JSON text, `groups` those that exist. Raises BadInput, NotFound."""
    group, source = resolve_group(options, asked.worker, groups)
    retries = options.retries if asked.retries is None else _within(asked.retries, "retries", 0, MAX_RETRIES)
    priority = options.priority if asked.priority is None else asked.priority
    return NewRun(
        id=new_id() if id is None else check_id(id),
        workflow=workflow,
        group=group,
        group_source=source,
        payload=payload,
        run_at=due_time(asked, now),
        priority=_within(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY),
        max_attempts=retries + 1,
        unique_key=_check_key(asked.unique_key),
        parent=parent,
    )


def resolve_group(options: WorkflowOptions, worker: str | None, groups: Collection[str]) -> tuple[str, GroupSource]:
    """The group of a run and what named it: the enqueue, else the decorator, else `default`. Raises NotFound."""
    if worker is not None:
        if worker not in groups:
            raise unknown_group(worker, groups)
        return worker, "enqueue"
    if options.worker != "default":
        return options.worker, "workflow"
    return "default", "default"


def unknown_group(name: str, groups: Collection[str]) -> NotFound:
    """The error for a group that does not exist."""
    hint = did_you_mean(name, groups) or f"groups: {', '.join(sorted(groups))}"
    return NotFound(f"there is no worker group {printable(name[:60])!r}", hint=hint, type="unknown_group")


def unknown_run(id: str) -> NotFound:
    """The error for an id, or the ending of one, that no run has."""
    return NotFound(f"there is no run {printable(id[:60])!r}", hint="tako-lite runs shows them", type="unknown_run")


def due_time(asked: Asked, now: int) -> int:
    """When a run is due, in milliseconds since 1970. Raises BadInput outside 1970–9999."""
    if asked.at is not None and asked.delay is not None:
        raise BadInput("both a delay and a time were given", hint="give one of delay and at")
    moment = asked.at if asked.at is not None else now
    if asked.delay is not None:
        if not 0 <= asked.delay < LATEST_MS / 1000:
            raise BadInput(f"a delay of {asked.delay:g} s is out of range")
        moment = now + round(asked.delay * 1000)
    if not EARLIEST_MS <= moment <= LATEST_MS:
        raise BadInput("the time is outside the years 1970 to 9999")
    return moment


def check_id(id: str) -> str:
    """An id that a client made: a UUID in its usual form, lower case."""
    if not _ID.fullmatch(id):
        raise BadInput(f"{printable(id[:60])!r} is not a run id", hint="ids are lower-case UUIDs; leave it out to get one")
    return id


def pair(ids: Sequence[str], payloads: Sequence[str]) -> list[tuple[str, str]]:
    """The ids and payloads of many runs. Raises BadInput for what is no id, and where there is not one for each payload."""
    if len(ids) != len(payloads):
        raise BadInput("there must be as many run_ids as payloads")
    return [(check_id(id), payload) for id, payload in zip(ids, payloads, strict=True)]


def check_event(event: str) -> str:
    """A signal's name: 1 to 256 characters without control characters, such as `approval:order-17`."""
    if not 0 < len(event) <= 256 or printable(event) != event or "\n" in event or "\t" in event:
        raise BadInput(f"{printable(event[:60])!r} is not a signal's name", hint="1 to 256 characters, none of them control")
    return event


def _check_key(key: str | None) -> str | None:
    if key is not None and (not 0 < len(key) <= MAX_KEY or "\x00" in key):
        raise BadInput(f"a unique key has 1 to {MAX_KEY} characters, none of them NUL")
    return key


def _within(number: int, what: str, low: int, high: int) -> int:
    if not low <= number <= high:
        raise BadInput(f"{what} = {number} is out of range", hint=f"{low} to {high}")
    return number
