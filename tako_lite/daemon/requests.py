"""The shapes of the commands on the control socket: what each takes, typed; a frame that does not fit is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Enqueue:
    workflow: str
    payload: Any = None
    run_id: str | None = None
    worker: str | None = None
    unique_key: str | None = None
    delay: float | None = None
    at: int | None = None
    priority: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class EnqueueMany:
    workflow: str
    payloads: list[Any]
    run_ids: list[str]
    worker: str | None = None
    delay: float | None = None
    at: int | None = None
    priority: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    event: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Cancel:
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class Retry:
    run_ids: list[str]
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Find:
    ending: str


@dataclass(frozen=True, slots=True)
class OneRun:
    run_id: str


@dataclass(frozen=True, slots=True)
class Wait:
    run_id: str
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    workflow: str | None = None
    group: str | None = None
    states: list[str] = field(default_factory=list)
    since: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class OneGroup:
    group: str


@dataclass(frozen=True, slots=True)
class Scale:
    group: str
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class OneSchedule:
    workflow: str


@dataclass(frozen=True, slots=True)
class PauseSchedule:
    workflow: str
    paused: bool


@dataclass(frozen=True, slots=True)
class Backup:
    file: str


@dataclass(frozen=True, slots=True)
class Nothing:
    pass
