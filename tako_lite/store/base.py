"""The contract of a store: one method per transition.

A method returns after its transaction is committed (group commit makes many share one). Losing a race is a result, not an
exception: a stale claim is told as `False`, `None` or `Stale`. No method assumes that this daemon is the only claimer, that ids
are row numbers, or that the clock is this machine's. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from tako_lite.errors import TakoError
from tako_lite.options import OnLimit
from tako_lite.protocol.worker import StoredStep as StoredStep
from tako_lite.records import Batch, Claimed, Enqueued, Failure, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.states import RunState
from tako_lite.units import Rate

SIGNALS_KEPT: Final = 7 * 24 * 3_600_000
"""Milliseconds after which a signal is forgotten."""

Hold = Literal["suspect", "no_handler", "limit", "rate", "suspect_limit", "suspect_rate"]
"""Why a due run is not claimed: it must run alone, the catalog has no workflow of its name, or its workflow has as many runs as
it may have. A suspect beyond a limit stays a suspect."""


class Limit(NamedTuple):
    """How many runs of a workflow may be running, those with one value of `key` counted apart, and how many may begin.

    Keys are fields of the payload, or `@tenant`.
    """

    most: int | None = None
    on_limit: OnLimit = "queue"
    key: str | None = None
    rate: Rate | None = None
    rate_key: str | None = None


class Completed(NamedTuple):
    """A claimed run that succeeded."""

    id: str
    token: int
    result: str
    pid: int


class SavedStep(NamedTuple):
    """The outcome of a step of a claimed run; `value` is JSON text, `error` the text of a Failure."""

    run_id: str
    token: int
    name: str
    kind: str
    state: Literal["succeeded", "failed"]
    value: str | None
    error: str | None
    tries: int
    started_at: int
    finished_at: int


class NewWait(NamedTuple):
    """A claimed run starts to wait; `key` is the event's name or the child's id."""

    run_id: str
    token: int
    name: str
    kind: Literal["sleep", "signal", "child", "retry"]
    key: str | None
    wake_at: int | None


class Signalled(NamedTuple):
    """What a signal did: whether its payload was stored, as the first of its name is, and how many waits it ended."""

    stored: bool
    woken: int


class Claims(NamedTuple):
    """What a claim got, in the order in which it is to start, and whether more is due."""

    runs: list[Claimed]
    more: bool


class Resolved(NamedTuple):
    """A wait that is over. `text` as in StoredStep; state `gone` means that only the time between two tries passed."""

    run_id: str
    name: str
    state: str
    text: str | None


@dataclass(slots=True)
class Effects:
    """What a transaction changed that others want to know once it is committed."""

    ready: set[str] = field(default_factory=set)
    """Groups that have due runs now."""
    suspects: set[str] = field(default_factory=set)
    """Groups that have due runs which must run alone."""
    due: int | None = None
    """The earliest time that the timer must not miss."""
    resolved: list[Resolved] = field(default_factory=list)
    """Waits that are over: a worker may hold their run."""
    ended: list[str] = field(default_factory=list)
    """Runs that are terminal now, except for those in `succeeded`."""
    succeeded: list[str] = field(default_factory=list)
    cancelling: list[str] = field(default_factory=list)
    """Running runs that somebody asked to cancel."""
    triggers: dict[str, int] | None = None
    """When each trigger is due that is neither paused nor being evaluated; None where that is as it was."""
    limits: Mapping[str, Limit] | None = None
    """The limits of workflows from now on; None where those are as they were."""

    def wake_by(self, moment: int) -> None:
        """The timer must fire at this moment or before."""
        if self.due is None or moment < self.due:
            self.due = moment


class GroupCounts(NamedTuple):
    """What the queue holds for a group; rates are the ends within the last minute."""

    pending: int
    waiting: int
    running: int
    dead: int
    oldest_due: int | None
    done_a_minute: int
    failed_a_minute: int
    due: int = 0

    def as_json(self, now: int) -> dict[str, Any]:
        """What `status` shows of it: `due` are those of `pending` whose time has come, the oldest since `oldest_wait_s`."""
        return {
            "pending": self.pending,
            "due": self.due,
            "running": self.running,
            "waiting": self.waiting,
            "dead": self.dead,
            "oldest_wait_s": None if self.oldest_due is None else max(now - self.oldest_due, 0) / 1000,
            "done_a_minute": self.done_a_minute,
            "failed_a_minute": self.failed_a_minute,
        }

    @property
    def live(self) -> bool:
        """Whether there is a run that is not over: of a name that only a payload gave, nothing else is left."""
        return bool(self.pending or self.waiting or self.running)


NO_COUNTS: Final = GroupCounts(0, 0, 0, 0, None, 0, 0, 0)


class GroupOverride(NamedTuple):
    """What people asked of a group while it ran."""

    paused: bool
    scale: int | None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: all conditions hold; `since` is a creation time, `before` an id that is larger."""

    workflow: str | None = None
    group: str | None = None
    states: tuple[RunState, ...] = ()
    since: int | None = None
    before: str | None = None


class Store(Protocol):
    """Every transition of runs, steps, signals and schedules, and what people read."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    @property
    def trouble(self) -> TakoError | None:
        """Why the last transaction could not be stored, such as a full disk; None once one was."""

    def check_file(self) -> TakoError | None:
        """See whether the queue is still where it was, which who does not write would not notice; what is wrong, or None.

        Costs next to nothing, and `trouble` says it too from then on.
        """

    async def wait_until_damaged(self) -> TakoError:
        """Return once the queue turns out to be damaged, with what to say; nothing is stored any more then."""

    # runs
    def enqueue_runs(self, runs: Sequence[NewRun]) -> Awaitable[list[Enqueued]]: ...
    def enqueue_batches(self, batches: Sequence[Batch]) -> Awaitable[int]: ...
    def claim_runs(
        self, group: str, limit: int, hold: Hold | None = None, allowed: Sequence[str] | None = None
    ) -> Awaitable[Claims]: ...
    def mark_run_begun(self, id: str, token: int) -> Awaitable[None]:
        """The handler of a claimed run was called: for a rate it counts from now on. A stale claim changes nothing."""

    def complete_runs(self, done: Sequence[Completed]) -> Awaitable[None]: ...
    def reschedule_run(
        self, id: str, token: int, failure: Failure | None, run_at: int, pid: int, *, charged: bool
    ) -> Awaitable[bool]: ...
    def finish_run(
        self, id: str, token: int, state: RunState, failure: Failure | None, pid: int, *, charged: bool
    ) -> Awaitable[bool]: ...
    def requeue_runs(
        self, given: Sequence[tuple[str, int]], hold: Hold | None = None, executed_ms: int = 0, *, begun: bool = True
    ) -> Awaitable[None]: ...
    def charge_crash(self, id: str, token: int, failure: Failure, max_crashes: int, pid: int) -> Awaitable[RunState | None]: ...
    def recover_runs(self) -> Awaitable[int]: ...
    def release_held_runs(self, hold: Hold) -> Awaitable[None]: ...
    def set_limits(self, limits: Mapping[str, Limit]) -> Awaitable[None]: ...
    def cancel_runs(self, ids: Sequence[str]) -> Awaitable[dict[str, str]]: ...
    def discard_runs(self, ids: Sequence[str]) -> Awaitable[dict[str, str]]:
        """Acknowledge dead runs, so that no count has them any more: `discarded`, `not_dead` or `unknown` for each."""

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> Awaitable[dict[str, str]]: ...
    def set_progress(self, id: str, token: int, fraction: float, note: str | None) -> Awaitable[None]: ...

    # steps and waits
    def save_steps(self, steps: Sequence[SavedStep]) -> Awaitable[list[StoredStep | None]]: ...
    def add_wait(self, wait: NewWait) -> Awaitable[StoredStep | Literal["waiting"] | None]: ...
    def invoke_child(
        self, run_id: str, token: int, name: str, child: NewRun
    ) -> Awaitable[StoredStep | Literal["waiting"] | None]: ...
    def enqueue_child(self, run_id: str, token: int, name: str, child: NewRun) -> Awaitable[StoredStep | None]: ...
    def park_run(self, id: str, token: int, waits: Sequence[str], executed_ms: int = 0) -> Awaitable[RunState | None]: ...
    def store_signal(self, event: str, payload: str) -> Awaitable[Signalled]: ...

    # time
    def wake_due_runs(self) -> Awaitable[None]: ...
    def get_next_due(self) -> Awaitable[int | None]: ...
    def list_groups_with_work(self) -> Awaitable[tuple[set[str], set[str]]]: ...
    def prune_runs(self, keep: dict[RunState, int | None], limit: int) -> Awaitable[int | None]: ...

    # schedules
    def put_schedules(self, schedules: Sequence[Schedule], from_slot: int) -> Awaitable[list[Schedule]]: ...
    def put_catalog(
        self,
        limits: Mapping[str, Limit],
        schedules: Sequence[Schedule],
        from_slot: int,
        triggers: Sequence[StoredTrigger],
    ) -> Awaitable[list[Schedule]]:
        """`set_limits`, `put_schedules` and `put_triggers` in one transaction: all of them or none."""

    def list_schedules(self) -> Awaitable[list[Schedule]]: ...
    def fire_schedule(self, workflow: str, slot: int, runs: Sequence[NewRun]) -> Awaitable[bool]: ...
    def pause_schedule(self, workflow: str, paused: bool, slot: int) -> Awaitable[bool]: ...

    # triggers
    def put_triggers(self, known: Sequence[StoredTrigger]) -> Awaitable[None]: ...
    def list_triggers(self) -> Awaitable[list[StoredTrigger]]: ...
    def begin_evaluation(self, trigger: str, run: NewRun, *, by_hand: bool = False) -> Awaitable[bool]: ...
    def complete_evaluation(self, id: str, token: int, cursor: str, found: Sequence[Batch]) -> Awaitable[bool]: ...
    def pause_trigger(self, trigger: str, paused: bool) -> Awaitable[bool]: ...

    # groups
    def list_group_overrides(self) -> Awaitable[dict[str, GroupOverride]]: ...
    def pause_group(self, name: str, paused: bool) -> Awaitable[None]: ...
    def mark_group_unavailable(self, name: str, failure: Failure, wait_timeout: int | None) -> Awaitable[int | None]: ...
    def mark_group_available(self, name: str) -> Awaitable[None]: ...
    def scale_group(self, name: str, scale: int | None) -> Awaitable[None]: ...
    def move_runs(self, group: str, to: str) -> Awaitable[int]: ...
    def forget_group(self, name: str) -> Awaitable[None]: ...

    # reading
    async def get_run(self, id: str) -> Run | None: ...
    async def resolve_ending(self, ending: str) -> str: ...
    async def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]: ...
    async def list_run_ids(self, chosen: RunFilter) -> list[str]: ...
    async def count_runs_ahead(self, run: Run) -> int: ...
    async def count_runs_beside(self, run: Run, since: int | None) -> int: ...
    async def count_by_group(self) -> dict[str, GroupCounts]: ...
    async def count_queued_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow are pending or waiting. It looks at each of them: not for hot paths."""

    async def get_stats(self) -> dict[str, Any]: ...
    async def back_up(self, file: Path) -> int: ...
