"""Every method of `Store`, written once over a backend's transactions and snapshots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeVar

from tako_lite.clock import Clock
from tako_lite.records import Activity, Batch, Enqueued, Failure, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.states import RunState
from tako_lite.store import reading
from tako_lite.store.base import (
    SIGNALS_KEPT,
    Claims,
    Completed,
    Effects,
    Expression,
    GroupCounts,
    GroupOverride,
    Hold,
    Hooks,
    Limit,
    MinuteTotals,
    NewWait,
    OtherCode,
    RunChanges,
    RunFilter,
    SavedStep,
    Signalled,
    StoredStep,
)
from tako_lite.store.counts import StoreCounts
from tako_lite.store.membership import Membership
from tako_lite.store.transitions import (
    activity,
    claims,
    code,
    edits,
    enqueue,
    evaluations,
    groups,
    hooks,
    limits,
    minutes,
    runs,
    schedules,
    steps,
    triggers,
    waits,
)
from tako_lite.store.transitions.transaction import Snapshot, Transaction
from tako_lite.store.transitions.waits import StepOutcome

T = TypeVar("T")

WAKE_AT_ONCE: Final = 2_000
"""How many due runs and waits one transaction takes up; the next ones take up the rest."""
MOVED_AT_ONCE: Final = 5_000
RELEASED_AT_ONCE: Final = 2_000
MANY: Final = 1_000
"""How many rows an operation may change whose number is not known."""


class TransactionalStore(ABC):
    """A store whose backend runs operations in transactions. A backend brings `start`, `stop`, SQL, and the methods below.

    `keep` marks what must not be dropped, such as the result of a run: a full disk or a lost connection does not fail it, and
    the backend tries it again until it is stored or the store stops.
    """

    membership: Membership | None = None

    def __init__(self, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]) -> None:
        self.clock = clock
        self.counts = StoreCounts()
        self._server = server
        self._boot_id = boot_id
        self._on_commit = on_commit
        self._limits: Mapping[str, Limit] = {}
        self._hooks = Hooks()

    @abstractmethod
    def _write(self, operation: Callable[[Transaction], T], *, keep: bool, urgent: bool, size: int) -> Future[T]:
        """Run an operation in a transaction; the future is done after COMMIT."""

    @abstractmethod
    async def _read(self, function: Callable[[Snapshot], T]) -> T:
        """Read one moment of the queue beside the writer."""

    @abstractmethod
    async def _read_between(self, function: Callable[[Snapshot], T]) -> T:
        """Read on the writer's connection, between two transactions, so that every acknowledged change is seen."""

    def _submit(
        self,
        operation: Callable[[Transaction], T],
        *,
        keep: bool = False,
        locks: tuple[str, ...] = (),
        urgent: bool = True,
        size: int = 1,
    ) -> Future[T]:
        """Run an operation in a transaction. `locks` keep others from the same while it works, where there are others."""

        def whole(transaction: Transaction) -> T:
            if transaction.limits is None:
                transaction.limits = self._limits
            transaction.hooks = self._hooks
            result = operation(transaction)
            if transaction.died:
                hooks.follow_deaths(transaction)
            if transaction.freed or transaction.paced:
                limits.release(transaction)
            return result

        if self.membership is not None:
            whole.locks = (*locks, "limits") if self._limits else locks  # type: ignore[attr-defined]
        return self._write(whole, keep=keep, urgent=urgent, size=size)

    def _committed(self, effects: Effects) -> None:
        """To be called by the backend after each COMMIT."""
        if effects.limits is not None:
            self._limits = effects.limits
        self._on_commit(effects)

    async def ping(self) -> None:
        await self._read_between(lambda snapshot: None)

    # Runs

    def enqueue_runs(self, new: Sequence[NewRun]) -> Future[list[Enqueued]]:
        return self._submit(lambda transaction: enqueue.enqueue(transaction, new), size=len(new))

    def enqueue_batches(self, batches: Sequence[Batch]) -> Future[int]:
        size = sum(len(runs) for _, runs in batches)
        return self._submit(lambda transaction: enqueue.enqueue_many(transaction, batches), size=size)

    def claim_runs(
        self,
        group: str,
        limit: int,
        hold: Hold | None = None,
        allowed: Sequence[str] | None = None,
        *,
        urgent: bool = True,
    ) -> Future[Claims]:
        return self._submit(lambda transaction: self._claim(transaction, group, limit, hold, allowed), urgent=urgent)

    def _claim(
        self, transaction: Transaction, group: str, limit: int, hold: Hold | None, allowed: Sequence[str] | None
    ) -> Claims:
        return claims.claim(transaction, group, limit, hold, allowed, self._server, self._boot_id)

    def mark_run_begun(self, id: str, token: int) -> Future[None]:
        return self._submit(lambda transaction: runs.mark_begun(transaction, id, token), keep=True)

    def complete_runs(self, done: Sequence[Completed], *, urgent: bool = True) -> Future[None]:
        return self._submit(lambda transaction: runs.complete(transaction, done), keep=True, urgent=urgent, size=len(done))

    def reschedule_run(
        self, id: str, token: int, failure: Failure | None, run_at: int, pid: int, *, charged: bool
    ) -> Future[bool]:
        return self._submit(
            lambda transaction: runs.reschedule(transaction, id, token, failure, run_at, pid, charged), keep=True
        )

    def finish_run(
        self, id: str, token: int, state: RunState, failure: Failure | None, pid: int, *, charged: bool
    ) -> Future[bool]:
        return self._submit(lambda transaction: runs.finish(transaction, id, token, state, failure, pid, charged), keep=True)

    def requeue_runs(
        self,
        claimed: Sequence[tuple[str, int]],
        hold: Hold | None = None,
        executed_ms: int = 0,
        *,
        ended_as: Literal["released", "interrupted"] | None = "released",
        pid: int | None = None,
    ) -> Future[None]:
        return self._submit(
            lambda transaction: runs.requeue(transaction, claimed, hold, executed_ms, ended_as, pid),
            keep=True,
            size=len(claimed),
        )

    def charge_crash(self, id: str, token: int, failure: Failure, max_crashes: int, pid: int) -> Future[RunState | None]:
        return self._submit(lambda transaction: runs.charge_crash(transaction, id, token, failure, max_crashes, pid), keep=True)

    def recover_runs(self, server: str, boot_id: str) -> Future[Mapping[str, int]]:
        return self._submit(lambda transaction: runs.recover(transaction, server, boot_id), size=MANY)

    async def release_held_runs(self, hold: Hold) -> None:
        """In portions, so that others can write meanwhile."""

        def operation(transaction: Transaction) -> int:
            return runs.release_held(transaction, hold, RELEASED_AT_ONCE)

        while await self._submit(operation, keep=True, size=RELEASED_AT_ONCE) == RELEASED_AT_ONCE:
            pass

    def set_limits(self, known: Mapping[str, Limit], workflows: Collection[str] = ()) -> Future[None]:
        def operation(transaction: Transaction) -> None:
            limits.replace(transaction, self._announced(transaction, known, workflows))

        return self._submit(operation, locks=("limits",), size=MANY)

    async def read_limits_again(self) -> None:  # noqa: B027 -- one server has no others
        """Use the limits that other servers have announced since."""

    def _announced(
        self, transaction: Transaction, known: Mapping[str, Limit], workflows: Collection[str]
    ) -> Mapping[str, Limit]:
        """The limits that hold once these are announced; for one server, they are these."""
        return known

    def put_code(self, hashes: Mapping[str, str]) -> Future[None]:
        return self._submit(lambda transaction: code.put(transaction, self._server, hashes))

    async def list_other_code(self) -> list[OtherCode]:
        return await self._read(partial(code.count_others, server=self._server))

    async def list_held_for_code(self, groups: Sequence[str]) -> list[OtherCode]:
        return await self._read(partial(code.count_held, groups=groups))

    def note_not_reached(self, id: str, token: int, names: Sequence[str]) -> Future[None]:
        return self._submit(lambda transaction: code.note_not_reached(transaction, id, token, names), keep=True)

    def hold_run(
        self, id: str, token: int, not_reached: Sequence[str], failure: Failure, executed_ms: int, pid: int
    ) -> Future[bool]:
        return self._submit(
            lambda transaction: code.hold(transaction, id, token, not_reached, failure, executed_ms, pid), keep=True
        )

    def set_hooks(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def cancel_runs(self, ids: Sequence[str]) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: runs.cancel(transaction, ids), size=len(ids))

    def discard_runs(self, ids: Sequence[str]) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: runs.discard(transaction, ids), size=len(ids))

    def edit_run(self, id: str, changes: RunChanges) -> Future[str]:
        return self._submit(lambda transaction: edits.edit(transaction, id, changes))

    def run_now(self, ids: Sequence[str]) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: edits.run_now(transaction, ids), size=len(ids))

    def move_each_run(self, ids: Sequence[str], to: str) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: edits.move(transaction, ids, to), size=len(ids))

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: enqueue.retry(transaction, routes, fresh), size=len(routes))

    def set_progress(self, id: str, token: int, fraction: float, note: str | None) -> Future[None]:
        return self._submit(lambda transaction: runs.set_progress(transaction, id, token, fraction, note))

    # Steps and waits

    def save_steps(self, saved: Sequence[SavedStep], pid: int | None = None) -> Future[list[StoredStep | None]]:
        return self._submit(lambda transaction: steps.save(transaction, saved, pid), keep=True, size=len(saved))

    def add_wait(self, wait: NewWait) -> Future[StepOutcome]:
        locks = (f"signal {wait.key}",) if wait.kind == "signal" else ()
        return self._submit(lambda transaction: waits.add_wait(transaction, wait), keep=True, locks=locks)

    def invoke_child(self, run_id: str, token: int, name: str, child: NewRun) -> Future[StepOutcome]:
        return self._submit(lambda transaction: steps.invoke(transaction, run_id, token, name, child), keep=True)

    def enqueue_child(self, run_id: str, token: int, name: str, child: NewRun) -> Future[StoredStep | None]:
        return self._submit(lambda transaction: steps.enqueue_child(transaction, run_id, token, name, child), keep=True)

    def park_run(
        self, id: str, token: int, waits: Sequence[str], executed_ms: int = 0, pid: int | None = None
    ) -> Future[RunState | None]:
        return self._submit(lambda transaction: runs.park(transaction, id, token, waits, executed_ms, pid), keep=True)

    def store_signal(self, event: str, payload: str) -> Future[Signalled]:
        locks = (f"signal {event}",)
        return self._submit(lambda transaction: waits.signal(transaction, event, payload), locks=locks)

    async def deliver_signals(self) -> None:
        if self.membership is None:
            return
        for event in await self._read_between(waits.list_undelivered):
            locks = (f"signal {event}",)
            await self._submit(partial(waits.deliver, event=event), keep=True, locks=locks)

    # Time

    def wake_due_runs(self) -> Future[None]:
        def operation(transaction: Transaction) -> None:
            enqueue.mark_due(transaction, WAKE_AT_ONCE)
            waits.end_due(transaction, WAKE_AT_ONCE)
            limits.release_due(transaction)

        return self._submit(operation, keep=True, size=WAKE_AT_ONCE)

    async def get_next_due(self) -> int | None:
        return await self._read_between(reading.get_next_due)

    async def list_groups_with_work(self) -> tuple[set[str], set[str]]:
        return await self._read_between(reading.list_groups_with_work)

    def prune_runs(self, keep: dict[RunState, int | None], limit: int) -> Future[int | None]:
        def operation(transaction: Transaction) -> int | None:
            times = (runs.prune(transaction, keep, limit), waits.prune_signals(transaction, SIGNALS_KEPT))
            return min((time for time in times if time is not None), default=None)

        return self._submit(operation, size=limit)

    # Schedules and triggers

    def put_schedules(
        self, known: Sequence[Schedule], from_slot: int, workflows: Collection[str] = ()
    ) -> Future[list[Schedule]]:
        return self._submit(lambda transaction: schedules.put(transaction, known, from_slot, workflows))

    def put_catalog(
        self,
        known: Mapping[str, Limit],
        scheduled: Sequence[Schedule],
        from_slot: int,
        polled: Sequence[StoredTrigger],
        hashes: Mapping[str, str],
    ) -> Future[list[Schedule]]:
        def operation(transaction: Transaction) -> list[Schedule]:
            limits.replace(transaction, self._announced(transaction, known, hashes))
            triggers.put(transaction, polled)
            code.put(transaction, self._server, hashes)
            return schedules.put(transaction, scheduled, from_slot, hashes)

        return self._submit(operation, locks=("limits",), size=MANY)

    async def list_schedules(self) -> list[Schedule]:
        return await self._read_between(schedules.list_all)

    def fire_schedule(
        self, workflow: str, slot: int, new: Sequence[NewRun], expression: Expression | None = None
    ) -> Future[bool]:
        return self._submit(lambda transaction: schedules.fire(transaction, workflow, slot, new, expression), keep=True)

    def pause_schedule(self, workflow: str, paused: bool, slot: int) -> Future[bool]:
        return self._submit(lambda transaction: schedules.pause(transaction, workflow, paused, slot))

    def put_triggers(self, known: Sequence[StoredTrigger]) -> Future[None]:
        return self._submit(lambda transaction: triggers.put(transaction, known))

    async def list_triggers(self) -> list[StoredTrigger]:
        return await self._read(triggers.list_all)

    def begin_evaluation(self, trigger: str, run: NewRun, *, by_hand: bool = False) -> Future[bool]:
        return self._submit(lambda transaction: evaluations.begin(transaction, trigger, run, by_hand))

    def complete_evaluation(self, id: str, token: int, cursor: str, found: Sequence[Batch]) -> Future[bool]:
        return self._submit(lambda transaction: evaluations.complete(transaction, id, token, cursor, found), keep=True)

    def pause_trigger(self, trigger: str, paused: bool) -> Future[bool]:
        return self._submit(lambda transaction: triggers.pause(transaction, trigger, paused))

    # Groups

    async def list_group_overrides(self) -> dict[str, GroupOverride]:
        return await self._read_between(groups.list_overrides)

    def pause_group(self, name: str, paused: bool) -> Future[None]:
        return self._submit(lambda transaction: groups.pause(transaction, name, paused))

    def scale_group(self, name: str, scale: int | None) -> Future[None]:
        return self._submit(lambda transaction: groups.scale(transaction, name, scale))

    def mark_group_unavailable(self, name: str, failure: Failure, wait_timeout: int | None) -> Future[int | None]:
        return self._submit(
            lambda transaction: groups.mark_unavailable(transaction, name, failure, wait_timeout, WAKE_AT_ONCE),
            keep=True,
            size=WAKE_AT_ONCE,
        )

    def mark_group_available(self, name: str) -> Future[None]:
        return self._submit(lambda transaction: groups.mark_available(transaction, name), keep=True, size=MANY)

    async def move_runs(self, group: str, to: str) -> int:
        """In portions, so that others can write meanwhile."""
        moved = 0
        while True:
            count = await self._submit(
                lambda transaction: groups.move_runs(transaction, group, to, MOVED_AT_ONCE), size=MOVED_AT_ONCE
            )
            moved += count
            if count < MOVED_AT_ONCE:
                return moved

    def forget_group(self, name: str) -> Future[None]:
        return self._submit(lambda transaction: groups.forget(transaction, name))

    # What people see and do

    def record_minutes(self, totals: Sequence[MinuteTotals]) -> Future[None]:
        return self._submit(lambda transaction: minutes.record(transaction, totals), keep=True)

    def record_activity(self, done: Activity) -> Future[None]:
        return self._submit(lambda transaction: activity.record(transaction, done))

    # Reading

    async def list_minutes(self, since: int, until: int) -> list[MinuteTotals]:
        return await self._read(partial(minutes.list_between, since=since, until=until))

    async def list_activity(
        self, limit: int, before: str | None = None, *, actor: str | None = None, action: str | None = None
    ) -> list[Activity]:
        return await self._read(partial(activity.list_newest, limit=limit, before=before, actor=actor, action=action))

    async def get_run(self, id: str) -> Run | None:
        return await self._read(partial(reading.get_run, id=id))

    async def get_wait_outcome(self, run_id: str, name: str) -> StoredStep | None:
        return await self._read(partial(reading.get_wait_outcome, run_id=run_id, name=name))

    async def resolve_ending(self, ending: str) -> str:
        return await self._read(partial(reading.resolve_ending, ending=ending))

    async def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        return await self._read(partial(reading.list_runs, chosen=chosen, limit=limit))

    async def list_run_ids(self, chosen: RunFilter, limit: int | None = None) -> list[str]:
        return await self._read(partial(reading.list_run_ids, chosen=chosen, limit=limit))

    async def count_runs(self, chosen: RunFilter, limit: int | None = None) -> int:
        return await self._read(partial(reading.count_runs, chosen=chosen, limit=limit))

    async def count_runs_ahead(self, run: Run) -> int:
        return await self._read(partial(reading.count_runs_ahead, run=run))

    async def count_runs_beside(self, run: Run, since: int | None) -> int:
        return await self._read(partial(reading.count_runs_beside, run=run, since=since))

    async def count_by_group(self, *, ended: bool = True) -> dict[str, GroupCounts]:
        return await self._read(partial(reading.count_by_group, now=self.clock.now(), ended=ended))

    async def count_held(self, groups: Sequence[str]) -> dict[tuple[str, str], int]:
        return await self._read(partial(reading.count_held, groups=groups))

    async def count_queued_by_workflow(self, limit: int | None = None) -> dict[str, int]:
        return await self._read(partial(reading.count_queued_by_workflow, limit=limit))
