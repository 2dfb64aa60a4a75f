"""The contract of a store: one method for each transition.

A method returns after its transaction is committed; group commit lets many share one. Times are milliseconds since 1970 by the
store's own clock. A *claim* is a run's id with the token under which it was claimed. A claim is stale once the run was taken
away from its claimer; then a method changes nothing and returns False or None. That is a result, not an exception. No method
assumes that ids are row numbers, or that no other server claims runs of the same queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from tako_lite.clock import Clock
from tako_lite.errors import TakoError
from tako_lite.options import OnLimit
from tako_lite.protocol.worker import StoredStep as StoredStep
from tako_lite.records import Activity, Batch, Claimed, Enqueued, Failure, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.states import RunState
from tako_lite.store.counts import StoreCounts
from tako_lite.store.membership import Membership, OtherServer
from tako_lite.units import Rate

SIGNALS_KEPT: Final = 7 * 24 * 3_600_000
"""Milliseconds after which a signal is deleted."""

Hold = Literal["suspect", "no_handler", "changed_steps", "limit", "rate", "suspect_limit", "suspect_rate"]
"""Why the ordinary claim skips a due run: it must run alone (a suspect), no file defines its workflow, its stored steps do not
fit the current code, or the limit or rate of its workflow is reached. A suspect over a limit stays a suspect."""


class Limit(NamedTuple):
    """How many runs of a workflow may run at a time, counted for each value of `key`, and at what rate they may start.

    Keys are fields of the payload, or `@tenant`.
    """

    most: int | None = None
    on_limit: OnLimit = "queue"
    key: str | None = None
    rate: Rate | None = None
    rate_key: str | None = None


class Expression(NamedTuple):
    """When a schedule fires."""

    cron: str
    timezone: str


MINUTES_KEPT: Final = 30 * 24 * 3_600_000
"""Milliseconds after which the totals of a minute are deleted."""


class MinuteTotals(NamedTuple):
    """What happened in a minute, counted in minutes since 1970, in one group and of one workflow.

    `failed` counts attempts, the others runs. `waited` and `executed` are counts by bucket, as the meter of the daemon keeps
    them: of how long due runs waited for a worker, and of how long runs executed.
    """

    minute: int
    group: str
    workflow: str
    started: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    waited_ms: int
    executed_ms: int
    waited: tuple[int, ...]
    executed: tuple[int, ...]


class DeathHook(NamedTuple):
    """A workflow with `on_dead`: the patterns of workflows whose deaths start a run of it.

    `make` makes that run from its payload as JSON text, the id of the dead run, and the time. It is called by the writer.
    """

    patterns: tuple[str, ...]
    make: Callable[[str, str, int], NewRun]


class Hooks(NamedTuple):
    """What follows from a death, and the names of all hook workflows: nothing follows from the deaths of their descendants."""

    on_dead: tuple[DeathHook, ...] = ()
    workflows: frozenset[str] = frozenset()


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
    """A wait that a claimed run begins; `key` is the name of the event or the id of the child."""

    run_id: str
    token: int
    name: str
    kind: Literal["sleep", "signal", "child", "retry"]
    key: str | None
    wake_at: int | None


class Signalled(NamedTuple):
    """What a signal did: whether its payload was stored (the first of its name is), and how many waits it ended."""

    stored: bool
    woken: int


class Claims(NamedTuple):
    """The claimed runs, in the order in which they are to start, and whether more are due."""

    runs: list[Claimed]
    more: bool


class Resolved(NamedTuple):
    """A wait that has ended while its run was not parked.

    `text` is as in StoredStep; state `gone` means that only the pause between two tries passed. `boot_id` is that of the server
    that has the run.
    """

    run_id: str
    name: str
    state: str
    text: str | None
    boot_id: str | None


class ServedRun(NamedTuple):
    """A run, and the boot id of the server that claimed it last; None for a run that was never claimed."""

    run_id: str
    boot_id: str | None


class EndedRun(NamedTuple):
    """A run that ended as `dead` or `cancelled`, the boot id of its last server, and its error."""

    run_id: str
    boot_id: str | None
    group: str
    workflow: str
    state: RunState
    worker_pid: int | None
    reason: str | None
    error_type: str | None
    error_message: str | None


class OtherCode(NamedTuple):
    """How many runs of a workflow began with other code than a server has now, and the oldest of them."""

    workflow: str
    number: int
    oldest: str


class EnqueuedRuns(NamedTuple):
    """Runs of a workflow that something other than a client enqueued."""

    group: str
    workflow: str
    source: Literal["schedule", "trigger", "step", "retry"]
    number: int = 1


@dataclass(slots=True)
class Effects:
    """What a transaction changed that others want to know once it is committed."""

    ready: set[str] = field(default_factory=set)
    """Groups that have due runs now."""
    arrived: set[str] = field(default_factory=set)
    """Groups that got new due runs from clients, about which their server knows already."""
    overrides: bool = False
    """Whether people changed a group, a schedule or a trigger."""
    suspects: set[str] = field(default_factory=set)
    """Groups that have due runs which must run alone."""
    due: int | None = None
    """The earliest time that the timer must not miss."""
    resolved: list[Resolved] = field(default_factory=list)
    """Waits that have ended: a worker may have their run."""
    ended: list[EndedRun] = field(default_factory=list)
    """Runs that have ended, except for those in `succeeded`."""
    enqueued: list[EnqueuedRuns] = field(default_factory=list)
    """Runs that were enqueued or start over, except for those that clients enqueued."""
    succeeded: list[str] = field(default_factory=list)
    """Runs that this server reported as succeeded."""
    cancelling: list[ServedRun] = field(default_factory=list)
    """Running runs whose cancellation was requested."""
    triggers: dict[str, int] | None = None
    """When each trigger is due that is neither paused nor being evaluated; None if nothing about that changed."""
    limits: Mapping[str, Limit] | None = None
    """The limits of workflows from now on; None if they did not change."""

    def wake_by(self, moment: int) -> None:
        """Have the timer fire at this moment or before."""
        if self.due is None or moment < self.due:
            self.due = moment


class GroupCounts(NamedTuple):
    """How many runs a group has, by state; the rates are the runs that ended within the last minute."""

    pending: int
    waiting: int
    running: int
    dead: int
    oldest_due: int | None
    done_a_minute: int
    failed_a_minute: int
    due: int = 0

    def as_json(self, now: int) -> dict[str, Any]:
        """The shape of `status`: `due` are the pending runs whose time has come, the oldest of them `oldest_wait_s` ago."""
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
        """Whether the group has a run that has not ended. A group that only a payload named exists no longer without one."""
        return bool(self.pending or self.waiting or self.running)


NO_COUNTS: Final = GroupCounts(0, 0, 0, 0, None, 0, 0, 0)


class GroupOverride(NamedTuple):
    """What people set for a group at run time, with `pause` and `scale`."""

    paused: bool
    scale: int | None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: all conditions hold. Times are in milliseconds since 1970, and `until` ones are excluded.

    `since` and `until` are about the creation, `ended_since` and `ended_until` about the end, `due_before` and `due_after`
    about pending runs.
    `min_duration` is in milliseconds from the first start to the end. `before` and `after` are ids that are larger and smaller.
    `text` is part of the payload, the error or the unique key: each run is read for it. `error` is part of the error alone,
    `step` the name of a step or a wait. `has` are words of `states.HAS`. `without` has conditions that do not
    hold, each as the name of a field (`state` for one of `states`) and its value.
    """

    workflow: str | None = None
    group: str | None = None
    states: tuple[RunState, ...] = ()
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
    has: tuple[str, ...] = ()
    without: tuple[tuple[str, str | int], ...] = ()
    discarded: bool | None = None
    before: str | None = None
    after: str | None = None


class RunChanges(NamedTuple):
    """What people change of a run that no worker has; None leaves a field as it is. `priority` is in seconds."""

    run_at: int | None = None
    priority: int | None = None
    max_attempts: int | None = None


class Store(Protocol):
    """Every transition of runs, steps, signals, schedules, triggers and groups, and what people read.

    `start` and `stop` bound its life; stopping twice, or before the start, is safe. Any method raises StoreError while the
    store is not open, and a subclass of it for what the backend cannot do: StorageFull, StoreBusy, StoreDamaged, StoreGone.
    """

    @property
    def clock(self) -> Clock:
        """The clock by which the queue tells what is due: that of this machine, or that of a database."""

    @property
    def counts(self) -> StoreCounts:
        """The transactions so far."""

    @property
    def membership(self) -> Membership | None:
        """How this server shares the queue with others; None for a backend that one server has alone."""

    @property
    def trouble(self) -> TakoError | None:
        """Why the last transaction could not be stored, such as a full disk; None once one was."""

    async def start(self) -> None:
        """Open the queue, and create or migrate it. Raises StoreTooNew for the queue of a newer release."""

    async def stop(self) -> None:
        """Commit what was submitted, then close; later submissions fail."""

    def ping(self) -> Awaitable[object]:
        """Return once the thread or the connection that writes has answered; it reads no row."""

    def check_file(self) -> TakoError | None:
        """Check that the queue was not moved or replaced, which only a write would notice; cheap.

        Returns the error, which is `trouble` from then on, or None.
        """

    async def wait_until_damaged(self) -> TakoError:
        """Wait until the queue turns out to be damaged, and return the error. Nothing is stored any more from then on."""

    # Runs

    def enqueue_runs(self, new: Sequence[NewRun]) -> Awaitable[list[Enqueued]]:
        """Store new runs, all or none.

        A run whose id is known, or whose unique key belongs to a live run, is not stored: the answer is the known run, with
        `deduplicated`. `Effects.ready` does not name the groups of these runs.
        """

    def enqueue_batches(self, batches: Sequence[Batch]) -> Awaitable[int]:
        """Store a run for each id and payload, all or none; an id that is known changes nothing.

        Returns how many of the runs were refused, and so ended at once.
        """

    def claim_runs(
        self,
        group: str,
        limit: int,
        hold: Hold | None = None,
        allowed: Sequence[str] | None = None,
        *,
        urgent: bool = True,
    ) -> Awaitable[Claims]:
        """Claim up to `limit` due runs of a group with this hold, each under a new token, within the limits and rates.

        Of a paused group it claims none. `allowed` are the tenants that may use the group; due runs of others end `dead`.
        `urgent` says that a worker or a client waits for the commit, so that the caller need not do anything else meanwhile.
        """

    def mark_run_begun(self, id: str, token: int) -> Awaitable[None]:
        """Record that the handler of a claimed run was called: a rate counts it from now on. A stale claim changes nothing."""

    def complete_runs(self, done: Sequence[Completed], *, urgent: bool = True) -> Awaitable[None]:
        """End claimed runs as `succeeded`, and resolve the waits for them. Stale claims among them change nothing.

        `urgent` as in `claim_runs`.
        """

    def reschedule_run(
        self, id: str, token: int, failure: Failure | None, run_at: int, pid: int, *, charged: bool
    ) -> Awaitable[bool]:
        """Re-queue a claimed run for another attempt at `run_at`; `charged` counts the attempt that ended.

        A run whose cancellation was requested is cancelled instead. False for a stale claim.
        """

    def finish_run(
        self, id: str, token: int, state: RunState, failure: Failure | None, pid: int, *, charged: bool
    ) -> Awaitable[bool]:
        """End a claimed run as `dead` or `cancelled`, with what it invoked if it is cancelled. False for a stale claim."""

    def requeue_runs(
        self,
        claimed: Sequence[tuple[str, int]],
        hold: Hold | None = None,
        executed_ms: int = 0,
        *,
        ended_as: Literal["released", "interrupted"] | None = "released",
        pid: int | None = None,
    ) -> Awaitable[None]:
        """Make claimed runs due again with nothing charged, or cancel those for which that was requested.

        `ended_as` is how their attempts ended, or None for runs that reached no worker. Stale claims among them change nothing.
        """

    def charge_crash(self, id: str, token: int, failure: Failure, max_crashes: int, pid: int) -> Awaitable[RunState | None]:
        """Charge a claimed run with the crash of its worker: due again and alone, or `dead` after `max_crashes`.

        Returns the new state, `cancelled` if that was requested, or None for a stale claim.
        """

    def recover_runs(self, server: str, boot_id: str) -> Awaitable[Mapping[str, int]]:
        """Re-queue, uncharged, every run that a process has claimed which is gone; returns how many, by the name of its server.

        To be called after a start, when the workers of the earlier process are confirmed dead. A backend with several servers
        recovers the runs of those that have ended, one with a single server the runs of every other boot id.
        """

    def release_held_runs(self, hold: Hold) -> Awaitable[None]:
        """Make all due runs with this hold claimable again, in portions."""

    def set_limits(self, limits: Mapping[str, Limit], workflows: Collection[str] = ()) -> Awaitable[None]:
        """Replace the limits of all workflows, and release the runs that the new limits allow.

        `workflows` are those of the catalog. With several servers, limits of workflows that only others have stay;
        for the rest, the newest announcement holds on all servers.
        """

    async def read_limits_again(self) -> None:
        """Use the limits that other servers have announced since."""

    def put_code(self, code: Mapping[str, str]) -> Awaitable[None]:
        """Store the hash of the code of each workflow of this server: a run gets it at its first claim."""

    def list_other_code(self) -> Awaitable[list[OtherCode]]:
        """The waiting runs that began with other code than this server has now, by workflow."""

    def list_held_for_code(self, groups: Sequence[str]) -> Awaitable[list[OtherCode]]:
        """The runs of groups with the hold `changed_steps`, by workflow."""

    def note_not_reached(self, id: str, token: int, names: Sequence[str]) -> Awaitable[None]:
        """Store which stored steps the attempt of a claimed run did not reach again. A stale claim changes nothing."""

    def hold_run(
        self, id: str, token: int, not_reached: Sequence[str], failure: Failure, executed_ms: int, pid: int
    ) -> Awaitable[bool]:
        """Re-queue a claimed run with the hold `changed_steps`, uncharged; `failure` is what its history says.

        A run whose cancellation was requested is cancelled instead. False for a stale claim.
        """

    def set_hooks(self, hooks: Hooks) -> None:
        """Have each death from now on store the runs of the matching hook workflows, in the transaction of the death."""

    def cancel_runs(self, ids: Sequence[str]) -> Awaitable[dict[str, str]]:
        """Cancel runs and those that they invoked, all in one transaction.

        Returns for each `cancelled`, `cancelling` (it is running: `Effects.cancelling` has it), `ended` or `unknown`.
        """

    def discard_runs(self, ids: Sequence[str]) -> Awaitable[dict[str, str]]:
        """Acknowledge dead runs, which takes them out of the counts: `discarded`, `not_dead` or `unknown` for each."""

    def edit_run(self, id: str, changes: RunChanges) -> Awaitable[str]:
        """Change a run that no worker has: `edited`, `running`, `waiting` (it has no time), `ended` or `unknown`."""

    def run_now(self, ids: Sequence[str]) -> Awaitable[dict[str, str]]:
        """Make runs due that were to start later: `due`, `not_later`, `ended` or `unknown` for each."""

    def move_each_run(self, ids: Sequence[str], to: str) -> Awaitable[dict[str, str]]:
        """Move live runs to another group: `moved`, `ended` or `unknown` for each."""

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> Awaitable[dict[str, str]]:
        """Start dead and cancelled runs over, each by its route; `fresh` deletes their steps first.

        Returns for each `pending`, `refused`, `duplicate` (a live run has its unique key), `live`, `succeeded` or `unknown`.
        """

    def set_progress(self, id: str, token: int, fraction: float, note: str | None) -> Awaitable[None]:
        """Store how far a claimed run has come. A stale claim changes nothing."""

    # Steps and waits

    def save_steps(self, steps: Sequence[SavedStep], pid: int | None = None) -> Awaitable[list[StoredStep | None]]:
        """Store outcomes of steps, each unless its name has a value already; `pid` is the worker that reports them.

        Returns for each what is stored from now on, or None for a stale claim.
        """

    def add_wait(self, wait: NewWait) -> Awaitable[StoredStep | Literal["waiting"] | None]:
        """Store a wait of a claimed run; answers with its end if that is there already. None for a stale claim."""

    def invoke_child(
        self, run_id: str, token: int, name: str, child: NewRun
    ) -> Awaitable[StoredStep | Literal["waiting"] | None]:
        """Start a child run, once for each step name, and wait for its end, in one transaction. None for a stale claim."""

    def enqueue_child(self, run_id: str, token: int, name: str, child: NewRun) -> Awaitable[StoredStep | None]:
        """Start a run exactly once for each step name; the step's value is its id. None for a stale claim."""

    def park_run(
        self, id: str, token: int, waits: Sequence[str], executed_ms: int = 0, pid: int | None = None
    ) -> Awaitable[RunState | None]:
        """Take a claimed run off its slot while it waits for these steps.

        Returns `waiting`, `pending` if one of the waits has ended meanwhile, `cancelled` if that was requested, or None for a
        stale claim.
        """

    def store_signal(self, event: str, payload: str) -> Awaitable[Signalled]:
        """Store a signal unless one of its name is stored, and end the waits for that name."""

    def deliver_signals(self) -> Awaitable[None]:
        """End the waits for signals that transactions of users have stored, where a backend allows that."""

    # Time

    def wake_due_runs(self) -> Awaitable[None]:
        """Make due what time makes due: delayed runs, timed waits, runs held for a rate; a bounded number in a transaction."""

    def get_next_due(self) -> Awaitable[int | None]:
        """When the next delayed run or timed wait is due, or None."""

    def list_groups_with_work(self) -> Awaitable[tuple[set[str], set[str]]]:
        """The groups that have due runs, and those that have due suspects."""

    def prune_runs(self, keep: dict[RunState, int | None], limit: int) -> Awaitable[int | None]:
        """Delete up to `limit` ended runs of each state that are older than `keep` (milliseconds; None: for ever).

        Returns when the next one is old enough, or None.
        """

    # Schedules and triggers

    def put_schedules(
        self, schedules: Sequence[Schedule], from_slot: int, workflows: Collection[str] = ()
    ) -> Awaitable[list[Schedule]]:
        """Make the stored schedules those of the catalog, and return them; new ones start after `from_slot`.

        `workflows` are as in `set_limits`.
        """

    def put_catalog(
        self,
        limits: Mapping[str, Limit],
        schedules: Sequence[Schedule],
        from_slot: int,
        triggers: Sequence[StoredTrigger],
        code: Mapping[str, str],
    ) -> Awaitable[list[Schedule]]:
        """`set_limits`, `put_schedules`, `put_triggers` and `put_code` in one transaction: all of them or none.

        `code` has every workflow of the catalog.
        """

    def list_schedules(self) -> Awaitable[list[Schedule]]:
        """The schedules of the catalog, with how far each has come."""

    def fire_schedule(
        self, workflow: str, slot: int, runs: Sequence[NewRun], expression: Expression | None = None
    ) -> Awaitable[bool]:
        """Take a slot and store its runs in one transaction; without runs, skip the slots up to it.

        False, and nothing is stored, if the slot was taken before or the schedule is paused, gone or has another expression.
        """

    def pause_schedule(self, workflow: str, paused: bool, slot: int) -> Awaitable[bool]:
        """Pause a schedule, or resume it after `slot`; False if there is none."""

    def put_triggers(self, known: Sequence[StoredTrigger]) -> Awaitable[None]:
        """Make the stored triggers those of the catalog; evaluations that no worker has begun are withdrawn."""

    def list_triggers(self) -> Awaitable[list[StoredTrigger]]:
        """The triggers of the catalog, each with its cursor and the state of its evaluation."""

    def begin_evaluation(self, trigger: str, run: NewRun, *, by_hand: bool = False) -> Awaitable[bool]:
        """Store the run that evaluates a due trigger; False if it is not due, paused, or being evaluated.

        `by_hand` ignores its time and its pause.
        """

    def complete_evaluation(self, id: str, token: int, cursor: str, found: Sequence[Batch]) -> Awaitable[bool]:
        """Store the runs that a claimed evaluation found and the new cursor, all or nothing. False for a stale claim."""

    def pause_trigger(self, trigger: str, paused: bool) -> Awaitable[bool]:
        """Pause or resume a trigger; False if there is none. An evaluation that a worker has begun continues."""

    # Groups

    def list_group_overrides(self) -> Awaitable[dict[str, GroupOverride]]:
        """What people set for each group at run time."""

    def pause_group(self, name: str, paused: bool) -> Awaitable[None]:
        """Pause or resume a group; the effects of a resume name its due runs."""

    def scale_group(self, name: str, scale: int | None) -> Awaitable[None]:
        """Store the number of workers that people set for a group; None removes it."""

    def mark_group_unavailable(self, name: str, failure: Failure, wait_timeout: int | None) -> Awaitable[int | None]:
        """Apply the fallbacks of a group that takes no work to its due runs; those that wait end after `wait_timeout`.

        Returns when it must be called again, or None.
        """

    def mark_group_available(self, name: str) -> Awaitable[None]:
        """Record that a group takes work again, so that `wait_timeout` starts anew at the next loss."""

    def move_runs(self, group: str, to: str) -> Awaitable[int]:
        """Move all live runs of a group to another, in portions; returns how many."""

    def forget_group(self, name: str) -> Awaitable[None]:
        """Delete what people set for a group that exists no longer."""

    # What people see and do

    def record_minutes(self, totals: Sequence[MinuteTotals]) -> Awaitable[None]:
        """Add to what is stored of these minutes."""

    def record_activity(self, done: Activity) -> Awaitable[None]:
        """Store what a person changed by hand; an entry with the same id is replaced."""

    # Reading

    async def list_minutes(self, since: int, until: int) -> list[MinuteTotals]:
        """The minutes from `since` up to `until`, in minutes since 1970, oldest first."""

    async def list_activity(
        self, limit: int, before: str | None = None, *, actor: str | None = None, action: str | None = None
    ) -> list[Activity]:
        """The newest entries first, from before an id on if one is given."""

    async def get_run(self, id: str) -> Run | None:
        """A run with its steps, waits and history, or None."""

    async def get_wait_outcome(self, run_id: str, name: str) -> StoredStep | None:
        """The stored step of a wait that has ended, with the state `gone` if it left none; None while the run waits for it."""

    async def resolve_ending(self, ending: str) -> str:
        """The one id that ends so. Raises BadInput if it is too short or fits two runs, NotFound if it fits none."""

    async def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        """The newest runs first, without their steps; None is no limit."""

    async def list_run_ids(self, chosen: RunFilter, limit: int | None = None) -> list[str]:
        """The ids of runs, oldest first; None is no limit."""

    async def count_runs(self, chosen: RunFilter, limit: int | None = None) -> int:
        """How many runs there are, counted up to `limit`."""

    async def count_runs_ahead(self, run: Run) -> int:
        """How many due runs of its group, with the same hold as it has, start before a run; counted up to `MOST_AHEAD` + 1."""

    async def count_runs_beside(self, run: Run, since: int | None) -> int:
        """How many running runs the limit of a run counts; with a time, how many of its workflow started since then."""

    async def count_by_group(self, *, ended: bool = True) -> dict[str, GroupCounts]:
        """How many runs each group has, by state; the runs that ended within the last minute are counted only if `ended`."""

    async def count_held(self, groups: Sequence[str]) -> dict[tuple[str, str], int]:
        """How many due runs of these groups have a hold, by group and hold."""

    async def count_queued_by_workflow(self, limit: int | None = None) -> dict[str, int]:
        """How many runs of each workflow are pending or waiting, counted up to about `limit` runs. It reads each of them."""

    async def get_stats(self) -> dict[str, Any]:
        """`file_bytes`, the size of the queue, and `pruned`, how many runs retention has deleted, by state."""

    async def back_up(self, file: Path) -> int:
        """Write a consistent copy to a new file of mode 0600 and return its bytes. Raises BadInput if the file exists."""


class Totals(NamedTuple):
    """What `status` shows of a queue without a daemon: the counts and the overrides by group, and `get_stats`."""

    counts: dict[str, GroupCounts]
    overrides: dict[str, GroupOverride]
    stats: dict[str, Any]


class OfflineStore(Protocol):
    """The queue while no daemon serves it. Each method is one transaction or one consistent read, as in `Store`.

    The caller holds the backend's write lock while it writes. Where no queue exists yet, reads find nothing.
    """

    def close(self) -> None:
        """Close the connections that are kept for the next call, if any."""

    def set_hooks(self, hooks: Hooks) -> None:
        """As `Store.set_hooks`."""

    def enqueue_run(self, new: NewRun) -> Enqueued:
        """As `Store.enqueue_runs`, for one run. The next daemon applies limits."""

    def enqueue_batches(self, batches: Sequence[Batch]) -> int:
        """As `Store.enqueue_batches`."""

    def cancel_runs(self, ids: Sequence[str]) -> dict[str, str]:
        """As `Store.cancel_runs`; a run that was running when the daemon ended is cancelled at the next start."""

    def discard_runs(self, ids: Sequence[str]) -> dict[str, str]:
        """As `Store.discard_runs`."""

    def edit_run(self, id: str, changes: RunChanges) -> str:
        """As `Store.edit_run`."""

    def run_now(self, ids: Sequence[str]) -> dict[str, str]:
        """As `Store.run_now`."""

    def move_each_run(self, ids: Sequence[str], to: str) -> dict[str, str]:
        """As `Store.move_each_run`."""

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> dict[str, str]:
        """As `Store.retry_runs`."""

    def store_signal(self, event: str, payload: str) -> Signalled:
        """As `Store.store_signal`."""

    def move_runs(self, group: str, to: str) -> int:
        """As `Store.move_runs`, all at once."""

    def pause_group(self, name: str, paused: bool) -> None:
        """As `Store.pause_group`."""

    def scale_group(self, name: str, scale: int | None) -> None:
        """As `Store.scale_group`."""

    def forget_group(self, name: str) -> None:
        """As `Store.forget_group`."""

    def record_activity(self, done: Activity) -> None:
        """As `Store.record_activity`."""

    def list_minutes(self, since: int, until: int) -> list[MinuteTotals]:
        """As `Store.list_minutes`."""

    def list_activity(
        self, limit: int, before: str | None = None, *, actor: str | None = None, action: str | None = None
    ) -> list[Activity]:
        """As `Store.list_activity`."""

    def get_run(self, id: str) -> Run | None:
        """As `Store.get_run`."""

    def resolve_ending(self, ending: str) -> str | None:
        """As `Store.resolve_ending`; None where no queue exists yet."""

    def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        """As `Store.list_runs`."""

    def list_run_ids(self, chosen: RunFilter, limit: int | None = None) -> list[str]:
        """As `Store.list_run_ids`."""

    def count_runs(self, chosen: RunFilter, limit: int | None = None) -> int:
        """As `Store.count_runs`."""

    def count_queued_by_workflow(self) -> dict[str, int]:
        """As `Store.count_queued_by_workflow`."""

    def list_group_overrides(self) -> dict[str, GroupOverride]:
        """As `Store.list_group_overrides`."""

    def list_schedules(self) -> list[Schedule]:
        """The schedules that the last daemon had."""

    def list_triggers(self) -> list[StoredTrigger]:
        """The triggers that the last daemon had."""

    def back_up(self, file: Path) -> int | None:
        """As `Store.back_up`; None where no queue exists yet."""

    def get_totals(self) -> Totals:
        """What `status` shows, in one consistent read."""

    def list_servers(self) -> list[OtherServer]:
        """The servers that live, where a backend has several."""
