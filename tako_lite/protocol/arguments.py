"""The typed arguments of the commands. `protocol.commands` says which command takes which of them.

The daemon and the offline client convert the JSON of a request into these records, and refuse what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.protocol.commands import COMMANDS, PAGE
from tako_lite.states import HAS, RUN_STATES, RunState


@dataclass(frozen=True, slots=True)
class Enqueue(EnqueueRequest):
    workflow: str
    payload: Any = None
    run_id: str | None = None
    unique_key: str | None = None
    again_of: str | None = None


@dataclass(frozen=True, slots=True)
class EnqueueMany(EnqueueRequest):
    workflow: str
    payloads: list[Any]
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class Signal:
    event: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Wake:
    """A hint of a client that wrote the queue itself: groups with due runs, when a delayed run is due, whether it signalled."""

    work: list[str]
    due: int | None = None
    signals: bool = False


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
class RunNow:
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class MoveRuns:
    run_ids: list[str]
    to: str


@dataclass(frozen=True, slots=True)
class Edit:
    run_id: str
    at: int | None = None
    priority: int | None = None
    retries: int | None = None
    worker: str | None = None


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


OPPOSITES: Final = (
    "workflow", "group", "state", "since", "until", "ended_since", "due_before", "due_after", "min_duration", "tenant",
    "unique_key", "parent", "again_of", "reason", "fingerprint", "text", "error", "step", "has",
)  # fmt: skip
"""The conditions that a filter may turn round: `without={"workflow": ["noisy"]}`."""
_NUMBERS: Final = frozenset({"since", "until", "ended_since", "due_before", "due_after", "min_duration"})


@dataclass(frozen=True, slots=True)
class Filter:
    workflow: str | None = None
    group: str | None = None
    states: list[str] = field(default_factory=list)
    since: int | None = None
    until: int | None = None
    ended_since: int | None = None
    ended_until: int | None = None
    due_before: int | None = None
    due_after: int | None = None
    min_duration: int | None = None
    tenant: str | None = None
    unique_key: str | None = None
    parent: str | None = None
    again_of: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    text: str | None = None
    error: str | None = None
    step: str | None = None
    has: list[str] = field(default_factory=list)
    without: dict[str, list[str | int]] = field(default_factory=dict)
    discarded: bool | None = None
    limit: int | None = None
    before: str | None = None
    after: str | None = None

    @property
    def page(self) -> int:
        """The number of runs in one answer; `before` asks for the next page."""
        return PAGE if self.limit is None else max(0, min(self.limit, PAGE))

    def run_states(self) -> tuple[RunState, ...]:
        """The states, once each. Raises BadInput for a state that does not exist."""
        if unknown := [state for state in self.states if state not in RUN_STATES]:
            hint = did_you_mean(unknown[0], RUN_STATES) or f"states: {', '.join(RUN_STATES)}"
            raise BadInput(f"there is no state {unknown[0][:60]!r}", hint=hint)
        return tuple(state for state in RUN_STATES if state in self.states)

    def opposites(self) -> tuple[tuple[str, str | int], ...]:
        """The conditions that must not hold. Raises BadInput for one that does not exist, and for a value of another kind."""
        _check_words(self.without, OPPOSITES, "condition")
        _check_words([str(word) for word in self.without.get("has", ())], HAS, "word for `has`")
        found = tuple((name, value) for name, values in self.without.items() for value in values)
        for name, value in found:
            if isinstance(value, int) is not (name in _NUMBERS):
                raise BadInput(f"the value of {name} is {'a number' if name in _NUMBERS else 'text'}")
        return found

    def has_words(self) -> tuple[str, ...]:
        """What a run must have. Raises BadInput for a word that does not exist."""
        _check_words(self.has, HAS, "word for `has`")
        return tuple(self.has)

    def check_times(self) -> None:
        """Raise BadInput for a time outside the years 1970 to 9999."""
        for moment in (self.since, self.until, self.ended_since, self.ended_until, self.due_before, self.due_after):
            if moment is not None and not EARLIEST_MS <= moment <= LATEST_MS:
                raise BadInput("the time is outside the years 1970 to 9999")


def _check_words(words: Iterable[str], known: Sequence[str], what: str) -> None:
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"one of: {', '.join(known)}"
            raise BadInput(f"there is no {what} {word[:60]!r}", hint=hint)


BulkAction = Literal["cancel", "retry", "discard", "run_now", "move"]


@dataclass(frozen=True, slots=True)
class Bulk:
    """Do something to all runs that match a filter; the same `bulk_id` again asks how far it has come.

    `expect` refuses more runs than a person has confirmed; `wait` is for how many seconds to wait for the end.
    """

    bulk_id: str
    action: BulkAction
    filter: Filter
    fresh: bool = False
    to: str | None = None
    expect: int | None = None
    wait: float = 5.0


@dataclass(frozen=True, slots=True)
class StopBulk:
    bulk_id: str


@dataclass(frozen=True, slots=True)
class ActivityPage:
    limit: int | None = None
    before: str | None = None
    actor: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Minutes:
    """From one minute up to another, in minutes since 1970."""

    since: int
    until: int


@dataclass(frozen=True, slots=True)
class OneGroup:
    group: str


@dataclass(frozen=True, slots=True)
class PauseGroup:
    group: str
    note: str | None = None


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
    note: str | None = None


@dataclass(frozen=True, slots=True)
class OneTrigger:
    name: str


@dataclass(frozen=True, slots=True)
class PauseTrigger:
    name: str
    paused: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    ready: bool = False
    groups: list[str] = field(default_factory=list)
    max_lag: float | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    file: str


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@dataclass(frozen=True, slots=True)
class Stop:
    now: bool = False


SHAPES: Final[dict[str, type]] = {name: globals()[command.arguments] for name, command in COMMANDS.items()}
"""The shape of each command's arguments."""
