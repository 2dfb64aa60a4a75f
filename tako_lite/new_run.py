"""Builds the rows of new runs: validates the request, then applies the workflow's options and the routing.

Clients, schedules, triggers and parent runs all create their runs here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, Protocol

from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import BadInput, NotFound
from tako_lite.names import printable
from tako_lite.options import MAX_PRIORITY, MAX_RETRIES, OF_TENANT, WorkflowOptions
from tako_lite.records import Batch, NewRun, new_id
from tako_lite.routing import Plan, Router
from tako_lite.templates import pick
from tako_lite.tracing import TRACEPARENT

MAX_KEY: Final = 1_000
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class WorkflowLike(Protocol):
    """The properties of a workflow that its new runs depend on."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> WorkflowOptions: ...
    @property
    def plan(self) -> Plan: ...


def make_run(
    workflow: WorkflowLike,
    payload: str,
    request: EnqueueRequest,
    router: Router,
    now: int,
    *,
    id: str | None = None,
    unique_key: str | None = None,
    parent: str | None = None,
    again_of: str | None = None,
) -> NewRun:
    """Build the row of a new run; `payload` is JSON text. Raises BadInput, and NotFound for an unknown group or tenant."""
    options = workflow.options
    retries = options.retries if request.retries is None else check_retries(request.retries)
    priority = options.priority if request.priority is None else request.priority
    run_at = due_time(request, now)
    router.check(request)
    route = router.route(workflow.plan, request, payload, due=run_at <= now)
    return NewRun(
        id=new_id() if id is None else check_id(id),
        workflow=workflow.name,
        group=route.group,
        group_source=route.group_source,
        payload=payload,
        run_at=run_at,
        priority=check_priority(priority),
        max_attempts=retries + 1,
        unique_key=_check_key(unique_key),
        parent=parent,
        tenant=request.tenant,
        fallback=route.fallback,
        fallback_source=route.fallback_source,
        limit_key=limit_key(options, payload, request.tenant),
        rate_key=rate_key(options, payload, request.tenant),
        refusal=route.refusal,
        trace=_check_trace(request.trace),
        again_of=None if again_of is None else check_id(again_of),
    )


def make_many(
    workflow: WorkflowLike, runs: Sequence[tuple[str, str]], request: EnqueueRequest, router: Router, now: int
) -> list[Batch]:
    """Build the rows of many new runs, given as ids with payloads. Runs that differ in nothing else share a batch."""
    options = workflow.options
    if options.limit_key is None and options.rate_key is None and not router.reads_payload(workflow.plan, request.tenant):
        return [(make_run(workflow, "null", request, router, now), runs)]
    batches: dict[NewRun, list[tuple[str, str]]] = {}
    for id, payload in runs:
        like = make_run(workflow, payload, request, router, now, id=id)._replace(id="", payload="")
        batches.setdefault(like, []).append((id, payload))
    return list(batches.items())


def limit_key(options: WorkflowOptions, payload: str, tenant: str | None) -> str | None:
    """The key under which the concurrency limit counts a run; None if the workflow has neither a limit nor a rate."""
    if options.limit is None and options.rate is None:
        return None
    return key_of(options.limit_key, payload, tenant)


def rate_key(options: WorkflowOptions, payload: str, tenant: str | None) -> str | None:
    """The key under which the rate counts a run; None if the workflow has no rate."""
    return None if options.rate is None else key_of(options.rate_key, payload, tenant)


def key_of(field: str | None, payload: str, tenant: str | None) -> str:
    """The value of a field of the payload, or the tenant for `@tenant`, as text of at most `MAX_KEY` characters.

    A missing value gives an empty text.
    """
    value = None if field is None else tenant if field == OF_TENANT else pick(json.loads(payload), field)
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)[:MAX_KEY]


def unknown_run(id: str) -> NotFound:
    """The error for an id, or the ending of an id, that matches no run."""
    return NotFound(f"there is no run {printable(id[:60])!r}", hint="tako-lite runs shows them", type="unknown_run")


def due_time(request: EnqueueRequest, now: int) -> int:
    """When a run is due, in milliseconds since 1970. Raises BadInput outside 1970–9999."""
    if request.at is not None and request.delay is not None:
        raise BadInput("both a delay and a time were given", hint="use either delay or at")
    moment = request.at if request.at is not None else now
    if request.delay is not None:
        if not 0 <= request.delay < LATEST_MS / 1000:
            raise BadInput(f"a delay of {request.delay:g} s is out of range", hint="0 or more, and due before the year 10000")
        moment = now + round(request.delay * 1000)
    if not EARLIEST_MS <= moment <= LATEST_MS:
        raise BadInput("the time is outside the years 1970 to 9999")
    return moment


def check_id(id: str) -> str:
    """Return the id that a client chose. Raises BadInput unless it is a UUID with hyphens, in lower case."""
    if not _ID.fullmatch(id):
        raise BadInput(f"{printable(id[:60])!r} is not a run id", hint="ids are lower-case UUIDs; omit it to get one")
    return id


def zip_ids(ids: Sequence[str], payloads: Sequence[str]) -> list[tuple[str, str]]:
    """Pair the ids and payloads of many runs. Raises BadInput for an invalid id or lists of different lengths."""
    if len(ids) != len(payloads):
        raise BadInput("run_ids and payloads have different lengths", hint="pass one id for each payload, or no run_ids")
    return [(check_id(id), payload) for id, payload in zip(ids, payloads, strict=True)]


def _check_key(key: str | None) -> str | None:
    if key is not None and (not 0 < len(key) <= MAX_KEY or "\x00" in key):
        raise BadInput(f"a unique key must have 1 to {MAX_KEY} characters and no NUL character")
    return key


def _check_trace(trace: str | None) -> str | None:
    if trace is not None and not TRACEPARENT.fullmatch(trace):
        raise BadInput("trace must be a W3C traceparent of version 00")
    return trace


def check_retries(retries: int) -> int:
    """Return the number of retries. Raises BadInput if it is out of range."""
    return _within(retries, "retries", 0, MAX_RETRIES)


def check_priority(priority: int) -> int:
    """Return the priority in seconds. Raises BadInput if it is out of range."""
    return _within(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)


def _within(number: int, what: str, low: int, high: int) -> int:
    if not low <= number <= high:
        raise BadInput(f"{what} = {number} is out of range", hint=f"{low} to {high}")
    return number
