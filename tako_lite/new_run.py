"""What an enqueue asks for, checked, and the row that comes of it.

Every run is made here, whoever asks: a client, a schedule, a trigger, a parent run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.errors import BadInput, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.names import printable
from tako_lite.options import FALLBACKS, OF_TENANT, Fallback, WorkflowOptions
from tako_lite.records import Batch, NewRun, Run, new_id
from tako_lite.routing import Plan, Route, Router, Wish, unknown_group, unknown_tenant
from tako_lite.templates import pick

MAX_PRIORITY: Final = 1_000_000_000
MAX_RETRIES: Final = 1_000_000
MAX_KEY: Final = 1_000
MOST_AGAIN: Final = 1_000
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
    fallback: str | None = None
    tenant: str | None = None


class Target(Protocol):
    """What a run needs to know of its workflow."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> WorkflowOptions: ...
    @property
    def plan(self) -> Plan: ...


def make_run(
    target: Target, payload: str, asked: Asked, router: Router, now: int, *, id: str | None = None, parent: str | None = None
) -> NewRun:
    """The row of a new run; `payload` is JSON text. Raises BadInput, and NotFound for a group or tenant that was asked for."""
    options = target.options
    retries = options.retries if asked.retries is None else _within(asked.retries, "retries", 0, MAX_RETRIES)
    priority = options.priority if asked.priority is None else asked.priority
    run_at = due_time(asked, now)
    route = router.route(target.plan, wish(asked, router), payload, due=run_at <= now)
    return NewRun(
        id=new_id() if id is None else check_id(id),
        workflow=target.name,
        group=route.group,
        group_source=route.group_source,
        payload=payload,
        run_at=run_at,
        priority=_within(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY),
        max_attempts=retries + 1,
        unique_key=_check_key(asked.unique_key),
        parent=parent,
        tenant=asked.tenant,
        fallback=route.fallback,
        fallback_source=route.fallback_source,
        limit_key=limit_key(options, payload, asked.tenant),
        rate_key=rate_key(options, payload, asked.tenant),
        refusal=route.refusal,
    )


def make_many(target: Target, runs: Sequence[tuple[str, str]], asked: Asked, router: Router, now: int) -> list[Batch]:
    """The rows of new runs by their ids and payloads, put together where they differ in nothing else."""
    options = target.options
    if options.limit_key is None and options.rate_key is None and not router.reads_payload(target.plan, asked.tenant):
        return [(make_run(target, "null", asked, router, now), runs)]
    batches: dict[NewRun, list[tuple[str, str]]] = {}
    for id, payload in runs:
        like = make_run(target, payload, asked, router, now, id=id)._replace(id="", payload="")
        batches.setdefault(like, []).append((id, payload))
    return list(batches.items())


def route_again(run: Run, plan: Plan | None, router: Router) -> Route:
    """Where a run that starts over goes; without a plan its workflow is gone, and it stays where it was."""
    asked_for = Wish(
        run.group if run.group_source in ("enqueue", "moved") or plan is None else None,
        _check_fallback(run.fallback) if run.fallback_source == "enqueue" else None,
        run.tenant,
    )
    return router.route(plan or Plan(), asked_for, json.dumps(run.payload), due=True)


class Again:
    """The reply to a `retry`: what became of each run, and which steps run again although they ran before.

    Those are the steps whose value could not be stored; up to `MOST_AGAIN` are named, and with `fresh` none.
    """

    def __init__(self, *, fresh: bool) -> None:
        self._left = 0 if fresh else MOST_AGAIN
        self._steps: dict[str, list[str]] = {}

    def add(self, run: Run | None) -> None:
        """Note the steps of a run before it starts over."""
        if run is not None and (names := run.unstored_steps()[: self._left]):
            self._steps[run.id] = names
            self._left -= len(names)

    def reply(self, outcomes: dict[str, str]) -> dict[str, Any]:
        """The answer of the command."""
        return {"outcomes": outcomes, "unstored": {id: names for id, names in self._steps.items() if outcomes[id] == "pending"}}


def wish(asked: Asked, router: Router) -> Wish:
    """What was asked of routing. Raises NotFound for a group or tenant that does not exist, BadInput for another fallback."""
    if asked.worker is not None and asked.worker not in router.groups:
        raise unknown_group(asked.worker, router.groups)
    if asked.tenant is not None and asked.tenant not in router.routes.tenants:
        raise unknown_tenant(asked.tenant, router.routes.tenants)
    return Wish(asked.worker, _check_fallback(asked.fallback), asked.tenant)


def limit_key(options: WorkflowOptions, payload: str, tenant: str | None) -> str | None:
    """What the runs of a workflow with a limit or a rate are counted by; None where there is neither."""
    if options.limit is None and options.rate is None:
        return None
    return key_of(options.limit_key, payload, tenant)


def rate_key(options: WorkflowOptions, payload: str, tenant: str | None) -> str | None:
    """What the runs of a workflow with a rate are counted by for it; None where there is no rate."""
    return None if options.rate is None else key_of(options.rate_key, payload, tenant)


def key_of(field: str | None, payload: str, tenant: str | None) -> str:
    """The value of a field of a payload as text, cut where it is long, or of `@tenant`; empty where there is none."""
    value = None if field is None else tenant if field == OF_TENANT else pick(json.loads(payload), field)
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)[:MAX_KEY]


def _check_fallback(word: str | None) -> Fallback | None:
    for known in FALLBACKS:
        if word == known:
            return known
    if word is None:
        return None
    hint = did_you_mean(word, FALLBACKS) or f"fallbacks: {', '.join(FALLBACKS)}"
    raise BadInput(f"there is no fallback {printable(word[:60])!r}", hint=hint)


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
            raise BadInput(f"a delay of {asked.delay:g} s is out of range", hint="0 or more, and due before the year 10000")
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
