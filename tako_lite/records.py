"""Frozen records that cross layers, and the ids of runs."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from tako_lite.clock import iso
from tako_lite.states import AttemptKind, RunState

SCHEMA: Final = 1
"""The version in every JSON document that tako-lite prints. Under one version keys may be added, but not renamed."""


class NewRun(NamedTuple):
    """A new run, not stored yet. `payload` is JSON text, times are milliseconds since 1970, `priority` is in seconds."""

    id: str
    workflow: str
    group: str
    group_source: str
    payload: str
    run_at: int
    priority: int
    max_attempts: int
    unique_key: str | None = None
    parent: str | None = None
    tenant: str | None = None
    fallback: str | None = None
    fallback_source: str | None = None
    limit_key: str | None = None
    rate_key: str | None = None
    refusal: Refusal | None = None
    again_of: str | None = None
    trace: str | None = None


Batch = tuple[NewRun, Sequence[tuple[str, str]]]
"""Runs that differ only in id and payload: the row that they share, then each id with its payload."""


class Enqueued(NamedTuple):
    """The outcome of an enqueue. `deduplicated`: a run with the id, or an unfinished one with the key, existed."""

    id: str
    state: RunState
    group: str
    deduplicated: bool = False
    warning: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "id": self.id,
            "state": self.state,
            "group": self.group,
            "deduplicated": self.deduplicated,
            "warning": self.warning,
        }


class Claimed(NamedTuple):
    """A run that was claimed for a worker, as the statement returns it; one that is denied to its tenant is `dead`.

    Runs sort by the order in which they start. `executed_ms` is how long this attempt ran before it parked or was re-queued,
    `code` the hash of the code that the run began with. `stored` lists the steps of a run that was claimed before: name, state,
    JSON text and number of attempts.
    """

    due_order: int
    id: str
    workflow: str
    token: int
    attempts: int
    max_attempts: int
    crashes: int
    executed_ms: int
    parent: str | None
    tenant: str | None
    payload: str
    state: RunState = "running"
    limit_key: str | None = None
    rate_key: str | None = None
    due_at: int = 0
    trace: str | None = None
    code: str | None = None
    stored: tuple[tuple[str, str, str | None, int], ...] | None = None


class Failure(NamedTuple):
    """Why a run or a step failed. `reason` is one of the words that docs/operations.md lists, such as `crashed`."""

    type: str
    message: str
    traceback: str | None = None
    reason: str | None = None
    fingerprint: str | None = None

    def as_text(self) -> str:
        return json.dumps(self.as_json(), ensure_ascii=False)

    def as_json(self) -> dict[str, str | None]:
        return {"type": self.type, "message": self.message, "traceback": self.traceback, "reason": self.reason}


class Refusal(NamedTuple):
    """The final state of a run that is not allowed to start, and the reason."""

    state: Literal["dead", "cancelled"]
    failure: Failure


UNSTORED: Final = "unstored"
"""The key that marks the error of a step whose body ran but whose value could not be stored."""


class RunStep(NamedTuple):
    """A stored step of a run. `timed_out` is true for a wait that ended with its timeout."""

    name: str
    kind: str
    state: str
    result: Any
    attempts: int
    started_at: int
    finished_at: int | None
    error: dict[str, Any] | None = None
    timed_out: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            "result": self.result,
            "attempts": self.attempts,
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
            "error": self.error,
            "timed_out": self.timed_out,
        }


class Run(NamedTuple):
    """A stored run."""

    id: str
    workflow: str
    group: str
    group_source: str
    state: RunState
    attempts: int
    max_attempts: int
    crashes: int
    priority: int
    payload: Any
    result: Any
    error: dict[str, Any] | None
    unique_key: str | None
    parent: str | None
    tenant: str | None
    created_at: int
    run_at: int
    started_at: int | None
    finished_at: int | None
    server: str | None
    worker_pid: int | None
    claim_token: int
    hold: str | None
    cancel_requested: bool
    progress: float | None
    progress_note: str | None
    fallback: str | None = None
    fallback_source: str | None = None
    limit_key: str | None = None
    rate_key: str | None = None
    discarded_at: int | None = None
    claimed_at: int | None = None
    fingerprint: str | None = None
    again_of: str | None = None
    trace: str | None = None
    code: str | None = None
    not_reached: tuple[str, ...] = ()
    steps: tuple[RunStep, ...] | None = None
    waits: tuple[RunWait, ...] = ()
    history: tuple[Attempt, ...] = ()
    repeated_by: tuple[str, ...] = ()

    def unstored_steps(self) -> list[str]:
        """The names of the steps that ran but whose value could not be stored. The next attempt runs them again."""
        return [step.name for step in self.steps or () if step.error and step.error.get(UNSTORED)]

    def as_json(self) -> dict[str, Any]:
        """The format of `show`, and without `steps` that of `runs`."""
        shape: dict[str, Any] = {
            "id": self.id,
            "workflow": self.workflow,
            "group": self.group,
            "group_source": self.group_source,
            "fallback": self.fallback or "wait",
            "fallback_source": self.fallback_source or "default",
            "state": self.state,
            "attempts": self.attempts,
            "max_attempts": self.max_attempts,
            "crashes": self.crashes,
            "priority": self.priority,
            "payload": self.payload,
            "result": self.result,
            "error": self.error,
            "fingerprint": self.fingerprint,
            "unique_key": self.unique_key,
            "parent": self.parent,
            "again": self.again_of,
            "tenant": self.tenant,
            "created_at": iso(self.created_at),
            "run_at": iso(self.run_at),
            "started_at": iso(self.started_at),
            "claimed_at": iso(self.claimed_at),
            "finished_at": iso(self.finished_at),
            "discarded_at": iso(self.discarded_at),
            "server": self.server,
            "worker_pid": self.worker_pid,
            "progress": self.progress,
            "progress_note": self.progress_note,
            "cancel_requested": self.cancel_requested,
            "hold": self.hold,
            "code": self.code,
            "not_reached": list(self.not_reached),
        }
        if self.steps is not None:
            shape["steps"] = [step.as_json() for step in self.steps]
            shape["waits"] = [wait.as_json() for wait in self.waits]
            shape["history"] = [attempt.as_json() for attempt in self.history]
            shape["repeated_by"] = list(self.repeated_by)
        return shape


class RunWait(NamedTuple):
    """A wait of a run. `kind` is `sleep`, `signal`, `child` or `retry`; `key` is the name of an event or the id of a child."""

    name: str
    kind: str
    key: str | None
    wake_at: int | None
    started_at: int

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "key": self.key,
            "started_at": iso(self.started_at),
            "wake_at": iso(self.wake_at),
        }


class AwaitedSignal(NamedTuple):
    """A wait of a run for a signal; `wake_at` is when it times out."""

    event: str
    run_id: str
    workflow: str
    started_at: int
    wake_at: int | None

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "started_at": iso(self.started_at), "wake_at": iso(self.wake_at)}


class Attempt(NamedTuple):
    """How an attempt of a run ended, or a try of its step if `step` is not empty. Both are numbered from 1."""

    step: str
    number: int
    kind: AttemptKind
    started_at: int
    ended_at: int
    executed_ms: int
    server: str | None
    worker_pid: int | None
    error: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "step": self.step or None,
            "kind": self.kind,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "executed_ms": self.executed_ms,
            "server": self.server,
            "worker_pid": self.worker_pid,
            "error": self.error,
        }


class Activity(NamedTuple):
    """Something that a person changed by hand. `source` is the kind of client, such as `cli` or `web`."""

    id: str
    at: int
    actor: str
    source: str
    action: str
    target: str
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "at": iso(self.at)}


class Upcoming(NamedTuple):
    """A run to which something happens at a time: it is due (`kind` is `run`), or a wait of this kind ends."""

    id: str
    workflow: str
    kind: str
    at: int


class Schedule(NamedTuple):
    """A cron expression that creates runs of a workflow.

    Every slot up to `last_slot` has been handled. `fired_at` is the newest slot that created a run.
    """

    workflow: str
    cron: str
    timezone: str
    catch_up: str
    last_slot: int
    fired_at: int | None
    paused: bool

    def as_json(self, next_at: int | None = None) -> dict[str, Any]:
        """The format of `schedules`. Only a daemon knows `next_at`, the next slot."""
        return {
            "workflow": self.workflow,
            "cron": self.cron,
            "timezone": self.timezone,
            "catch_up": self.catch_up,
            "next_at": iso(next_at),
            "last_at": iso(self.fired_at),
            "paused": self.paused,
        }


class StoredTrigger(NamedTuple):
    """A polling trigger: its settings from the catalog, its cursor, and the outcome of its last evaluation.

    `cursor` is JSON text, `started` is the number of runs that it started, `error` is the error of the last evaluation, and
    `evaluation` is the state of the current one.
    """

    name: str
    group: str
    starts: str
    every_ms: int
    cursor: str = "null"
    next_at: int = 0
    evaluated_at: int | None = None
    started: int = 0
    error: dict[str, Any] | None = None
    paused: bool = False
    evaluation: str | None = None

    @property
    def evaluating(self) -> bool:
        """Whether an evaluation is due or running."""
        return self.evaluation is not None

    def as_json(self, trouble: str | None = None) -> dict[str, Any]:
        """The format of `triggers`. `next_at` is null while the trigger is paused or being evaluated.

        `trouble` is the reason why its group starts no runs now. It appears only while a due evaluation waits for a worker.
        """
        return {
            "name": self.name,
            "group": self.group,
            "every_s": self.every_ms / 1000,
            "starts": self.starts,
            "cursor": json.loads(self.cursor),
            "next_at": None if self.paused or self.evaluating else iso(self.next_at),
            "evaluated_at": iso(self.evaluated_at),
            "started": self.started,
            "last_error": self.error,
            "paused": self.paused,
            "evaluating": self.evaluating,
            "trouble": trouble if self.evaluation == "pending" else None,
        }


class _Ids:
    """Generates UUIDv7 (RFC 9562 §5.7). They increase within a process, and are unique across threads and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # a thread that exists only in the parent may hold the old one

    def make(self, count: int) -> list[str]:
        now = time.time_ns() // 1_000_000 << 12
        with self._lock:
            first = max(now, self._last + 1)
            self._last = first + count - 1
        random = os.urandom(8 * count).hex()
        made = []
        for number in range(count):
            stamp = f"{first + number:015x}"
            part = random[16 * number : 16 * number + 16]
            made.append(f"{stamp[:8]}-{stamp[8:12]}-7{stamp[12:]}-{_VARIANT[part[0]]}{part[1:4]}-{part[4:]}")
        return made


_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""For the random digit there, the one that says that an id is of RFC 9562."""
_ids = _Ids()


def new_ids(count: int) -> list[str]:
    """Return `count` new ids, in increasing order."""
    return _ids.make(count)


def first_id_at(moment: int) -> str:
    """What sorts before every id that was made at this time or later, in milliseconds since 1970."""
    text = f"{moment:012x}"
    return f"{text[:8]}-{text[8:]}"


def new_id() -> str:
    """Return a new id: a UUIDv7, so that ids sort by creation time."""
    return _ids.make(1)[0]
