"""The shapes of the commands: what each takes, typed, whoever answers it; arguments that do not fit are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.states import RUN_STATES, RunState


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
    fallback: str | None = None
    tenant: str | None = None


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
    fallback: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    event: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Cancel:
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class Discard:
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
    before: str | None = None

    @property
    def page(self) -> int:
        """How many runs one answer holds; the next page is asked for with `before`."""
        return PAGE if self.limit is None else max(0, min(self.limit, PAGE))

    def run_states(self) -> tuple[RunState, ...]:
        """The states, once each. Raises BadInput for what is not one."""
        if unknown := [state for state in self.states if state not in RUN_STATES]:
            hint = did_you_mean(unknown[0], RUN_STATES) or f"states: {', '.join(RUN_STATES)}"
            raise BadInput(f"there is no state {unknown[0][:60]!r}", hint=hint)
        return tuple(state for state in RUN_STATES if state in self.states)

    def made_since(self) -> int | None:
        """The time, if there is one. Raises BadInput outside 1970–9999."""
        if self.since is not None and not EARLIEST_MS <= self.since <= LATEST_MS:
            raise BadInput("the time is outside the years 1970 to 9999")
        return self.since


@dataclass(frozen=True, slots=True)
class OneGroup:
    group: str


@dataclass(frozen=True, slots=True)
class MoveGroup:
    group: str
    to: str | None = None


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
class OneTrigger:
    name: str


@dataclass(frozen=True, slots=True)
class PauseTrigger:
    name: str
    paused: bool


@dataclass(frozen=True, slots=True)
class Backup:
    file: str


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


PAGE: Final = 100
"""Runs in one answer at the most: each may carry a payload and a result of 1 MiB."""
SHAPES: Final[dict[str, type]] = {
    "enqueue": Enqueue,
    "enqueue_many": EnqueueMany,
    "signal": Signal,
    "cancel": Cancel,
    "discard": Discard,
    "retry": Retry,
    "find": Find,
    "get": OneRun,
    "wait": Wait,
    "runs": Filter,
    "ids": Filter,
    "why": OneRun,
    "status": Nothing,
    "schedules": Nothing,
    "pause_schedule": PauseSchedule,
    "run_schedule": OneSchedule,
    "triggers": Nothing,
    "pause_trigger": PauseTrigger,
    "run_trigger": OneTrigger,
    "workflows": Nothing,
    "pause": OneGroup,
    "resume": OneGroup,
    "scale": Scale,
    "move_group": MoveGroup,
    "reload": Nothing,
    "prune": Nothing,
    "backup": Backup,
}
