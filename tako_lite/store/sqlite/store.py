"""The store on one SQLite file: a writing thread with group commit, and a reading one."""

from __future__ import annotations

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.errors import StoreError, TakoError
from tako_lite.records import Batch, Enqueued, Failure, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.states import RunState
from tako_lite.store.base import (
    SIGNALS_KEPT,
    Claims,
    Completed,
    Effects,
    GroupCounts,
    GroupOverride,
    Hold,
    Limit,
    NewWait,
    RunFilter,
    SavedStep,
    Signalled,
    StoredStep,
)
from tako_lite.store.sqlite import (
    claims,
    enqueue,
    evaluations,
    groups,
    limits,
    queries,
    read_queries,
    runs,
    schedules,
    steps,
    triggers,
    waits,
)
from tako_lite.store.sqlite.connection import GroupCommit, ReadingConnection, on_thread, open_thread
from tako_lite.store.sqlite.file import Durability, connect, connect_reading, translate
from tako_lite.store.sqlite.transaction import Transaction
from tako_lite.store.sqlite.waits import Outcome

T = TypeVar("T")

WAKE_AT_ONCE = 2_000
"""How many due runs and waits one transaction takes up; the rest follow in the next."""
MOVED_AT_ONCE = 5_000
LIFTED_AT_ONCE = 2_000


class SqliteStore:
    """The transitions of `store.base.Store`; those that workers report are kept while the disk is full."""

    def __init__(
        self, path: Path, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> None:  # fmt: skip
        self.path = path
        self._durability = durability
        self._clock = clock
        self._server = server
        self._boot_id = boot_id
        self._on_commit = on_commit
        self._limits: Mapping[str, Limit] = {}
        self._connection: aiosqlite.Connection | None = None
        self._writer: GroupCommit | None = None
        self._reading: ReadingConnection | None = None

    @property
    def trouble(self) -> TakoError | None:
        return self._writer.trouble if self._writer is not None else None

    def check_file(self) -> TakoError | None:
        return self._writer.look() if self._writer is not None else None

    async def wait_until_damaged(self) -> TakoError:
        if self._writer is None:
            raise StoreError("the queue is not open")
        return await asyncio.shield(self._writer.damaged)

    async def start(self) -> None:
        """Open the file, and make or migrate it."""
        self._connection = await open_thread(partial(connect, self.path, self._durability, proven=True))
        self._writer = GroupCommit(self._connection, self.path, self._clock, self._committed)
        self._reading = ReadingConnection(partial(connect_reading, self.path), self.path)

    async def stop(self) -> None:
        """Commit what is left and close; twice is harmless."""
        if self._reading is not None:
            open_reader, self._reading = self._reading, None
            await open_reader.stop()  # first: the last connection to close checkpoints, and only the writer may
        if self._writer is not None and self._connection is not None:
            writer, connection = self._writer, self._connection
            await writer.stop()
            self._writer = self._connection = None
            await connection.close()

    # Runs

    def enqueue_runs(self, new: Sequence[NewRun]) -> Future[list[Enqueued]]:
        return self._submit(lambda transaction: enqueue.enqueue(transaction, new))

    def enqueue_batches(self, batches: Sequence[Batch]) -> Future[int]:
        return self._submit(lambda transaction: enqueue.enqueue_many(transaction, batches))

    def claim_runs(
        self, group: str, limit: int, hold: Hold | None = None, allowed: Sequence[str] | None = None
    ) -> Future[Claims]:
        server, boot_id = self._server, self._boot_id
        return self._submit(lambda transaction: claims.claim(transaction, group, limit, hold, allowed, server, boot_id))

    def mark_run_begun(self, id: str, token: int) -> Future[None]:
        return self._submit(lambda transaction: runs.begin(transaction, id, token), keep=True)

    def complete_runs(self, done: Sequence[Completed]) -> Future[None]:
        return self._submit(lambda transaction: runs.complete(transaction, done), keep=True)

    def reschedule_run(
        self, id: str, token: int, failure: Failure | None, run_at: int, pid: int, *, charged: bool
    ) -> Future[bool]:
        return self._submit(
            lambda transaction: runs.try_again(transaction, id, token, failure, run_at, pid, charged), keep=True
        )

    def finish_run(
        self, id: str, token: int, state: RunState, failure: Failure | None, pid: int, *, charged: bool
    ) -> Future[bool]:
        return self._submit(lambda transaction: runs.finish(transaction, id, token, state, failure, pid, charged), keep=True)

    def requeue_runs(
        self, given: Sequence[tuple[str, int]], hold: Hold | None = None, executed_ms: int = 0, *, begun: bool = True
    ) -> Future[None]:
        return self._submit(lambda transaction: runs.give_back(transaction, given, hold, executed_ms, begun), keep=True)

    def charge_crash(self, id: str, token: int, failure: Failure, max_crashes: int, pid: int) -> Future[RunState | None]:
        return self._submit(lambda transaction: runs.charge_crash(transaction, id, token, failure, max_crashes, pid), keep=True)

    def recover_runs(self) -> Future[int]:
        return self._submit(runs.recover)

    async def release_held_runs(self, hold: Hold) -> None:
        """In portions, so that others can write meanwhile."""
        while await self._submit(lambda transaction: runs.lift(transaction, hold, LIFTED_AT_ONCE), keep=True) == LIFTED_AT_ONCE:
            pass

    def set_limits(self, known: Mapping[str, Limit]) -> Future[None]:
        return self._submit(lambda transaction: limits.replace(transaction, known))

    def cancel_runs(self, ids: Sequence[str]) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: runs.cancel(transaction, ids))

    def discard_runs(self, ids: Sequence[str]) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: runs.discard(transaction, ids))

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> Future[dict[str, str]]:
        return self._submit(lambda transaction: enqueue.retry(transaction, routes, fresh))

    def set_progress(self, id: str, token: int, fraction: float, note: str | None) -> Future[None]:
        return self._submit(lambda transaction: runs.set_progress(transaction, id, token, fraction, note))

    # Steps and waits

    def save_steps(self, saved: Sequence[SavedStep]) -> Future[list[StoredStep | None]]:
        return self._submit(lambda transaction: steps.save(transaction, saved), keep=True)

    def add_wait(self, wait: NewWait) -> Future[Outcome]:
        return self._submit(lambda transaction: waits.add_wait(transaction, wait), keep=True)

    def invoke_child(self, run_id: str, token: int, name: str, child: NewRun) -> Future[Outcome]:
        return self._submit(lambda transaction: steps.invoke(transaction, run_id, token, name, child), keep=True)

    def enqueue_child(self, run_id: str, token: int, name: str, child: NewRun) -> Future[StoredStep | None]:
        return self._submit(lambda transaction: steps.enqueue_child(transaction, run_id, token, name, child), keep=True)

    def park_run(self, id: str, token: int, waits: Sequence[str], executed_ms: int = 0) -> Future[RunState | None]:
        return self._submit(lambda transaction: runs.park(transaction, id, token, waits, executed_ms), keep=True)

    def store_signal(self, event: str, payload: str) -> Future[Signalled]:
        return self._submit(lambda transaction: waits.signal(transaction, event, payload))

    # Time

    def wake_due_runs(self) -> Future[None]:
        def operation(transaction: Transaction) -> None:
            enqueue.wake_due(transaction, WAKE_AT_ONCE)
            waits.wake_due(transaction, WAKE_AT_ONCE)
            limits.wake_due(transaction)

        return self._submit(operation, keep=True)

    async def get_next_due(self) -> int | None:
        def read(connection: sqlite3.Connection) -> int | None:
            times = [
                connection.execute(statement).fetchone()[0] for statement in (queries.runs.next_due, queries.steps.next_wait)
            ]
            return min((time for time in times if time is not None), default=None)

        return await self._read(read)

    async def list_groups_with_work(self) -> tuple[set[str], set[str]]:
        def read(connection: sqlite3.Connection) -> tuple[set[str], set[str]]:
            ready, suspects = (
                {group for (group,) in connection.execute(statement)}
                for statement in (queries.runs.groups_with_work, queries.runs.suspects)
            )
            return ready, suspects

        return await self._read(read)

    def prune_runs(self, keep: dict[RunState, int | None], limit: int) -> Future[int | None]:
        def operation(transaction: Transaction) -> int | None:
            times = (runs.prune(transaction, keep, limit), waits.prune_signals(transaction, SIGNALS_KEPT))
            return min((time for time in times if time is not None), default=None)

        return self._submit(operation)

    # Schedules and groups

    def put_schedules(self, known: Sequence[Schedule], from_slot: int) -> Future[list[Schedule]]:
        return self._submit(lambda transaction: schedules.put(transaction, known, from_slot))

    def put_catalog(
        self,
        known: Mapping[str, Limit],
        scheduled: Sequence[Schedule],
        from_slot: int,
        polled: Sequence[StoredTrigger],
    ) -> Future[list[Schedule]]:
        def operation(transaction: Transaction) -> list[Schedule]:
            limits.replace(transaction, known)
            triggers.put(transaction, polled)
            return schedules.put(transaction, scheduled, from_slot)

        return self._submit(operation)

    async def list_schedules(self) -> list[Schedule]:
        return await self._read(schedules.listed)

    def fire_schedule(self, workflow: str, slot: int, new: Sequence[NewRun]) -> Future[bool]:
        return self._submit(lambda transaction: schedules.fire(transaction, workflow, slot, new), keep=True)

    def pause_schedule(self, workflow: str, paused: bool, slot: int) -> Future[bool]:
        return self._submit(lambda transaction: schedules.pause(transaction, workflow, paused, slot))

    def put_triggers(self, known: Sequence[StoredTrigger]) -> Future[None]:
        return self._submit(lambda transaction: triggers.put(transaction, known))

    async def list_triggers(self) -> list[StoredTrigger]:
        return await self._reader().run(triggers.listed)

    def begin_evaluation(self, trigger: str, run: NewRun, *, by_hand: bool = False) -> Future[bool]:
        return self._submit(lambda transaction: evaluations.begin(transaction, trigger, run, by_hand))

    def complete_evaluation(self, id: str, token: int, cursor: str, found: Sequence[Batch]) -> Future[bool]:
        return self._submit(lambda transaction: evaluations.complete(transaction, id, token, cursor, found), keep=True)

    def pause_trigger(self, trigger: str, paused: bool) -> Future[bool]:
        return self._submit(lambda transaction: triggers.pause(transaction, trigger, paused))

    async def list_group_overrides(self) -> dict[str, GroupOverride]:
        return await self._read(schedules.wishes)

    def pause_group(self, name: str, paused: bool) -> Future[None]:
        return self._submit(lambda transaction: schedules.pause_group(transaction, name, paused))

    def scale_group(self, name: str, scale: int | None) -> Future[None]:
        return self._submit(lambda transaction: schedules.scale_group(transaction, name, scale))

    def mark_group_unavailable(self, name: str, failure: Failure, wait_timeout: int | None) -> Future[int | None]:
        return self._submit(
            lambda transaction: groups.lose_group(transaction, name, failure, wait_timeout, WAKE_AT_ONCE), keep=True
        )

    def mark_group_available(self, name: str) -> Future[None]:
        return self._submit(lambda transaction: groups.find_group(transaction, name), keep=True)

    async def move_runs(self, group: str, to: str) -> int:
        """In portions, so that others can write meanwhile."""
        moved = 0
        while True:
            count = await self._submit(lambda transaction: groups.move(transaction, group, to, MOVED_AT_ONCE))
            moved += count
            if count < MOVED_AT_ONCE:
                return moved

    def forget_group(self, name: str) -> Future[None]:
        return self._submit(lambda transaction: groups.forget(transaction, name))

    # Reading

    async def get_run(self, id: str) -> Run | None:
        return await self._reader().run(partial(read_queries.get, id=id))

    async def resolve_ending(self, ending: str) -> str:
        return await self._reader().run(partial(read_queries.resolve_ending, ending=ending))

    async def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        return await self._reader().run(partial(read_queries.list_runs, chosen=chosen, limit=limit))

    async def list_run_ids(self, chosen: RunFilter) -> list[str]:
        return await self._reader().run(partial(read_queries.ids, chosen=chosen))

    async def count_runs_ahead(self, run: Run) -> int:
        return await self._reader().run(partial(read_queries.ahead, run=run))

    async def count_runs_beside(self, run: Run, since: int | None) -> int:
        return await self._reader().run(partial(read_queries.beside, run=run, since=since))

    async def count_by_group(self) -> dict[str, GroupCounts]:
        return await self._reader().run(partial(read_queries.counts, now=self._clock.now()))

    async def count_queued_by_workflow(self) -> dict[str, int]:
        return await self._reader().run(read_queries.queued_by_workflow)

    async def get_stats(self) -> dict[str, Any]:
        return await self._reader().run(read_queries.stats)

    async def back_up(self, file: Path) -> int:
        return await self._reader().run(partial(read_queries.backup, file=file))

    def _submit(self, operation: Callable[[Transaction], T], *, keep: bool = False) -> Future[T]:
        if self._writer is None:
            raise StoreError("the queue is not open")

        def whole(transaction: Transaction) -> T:
            if transaction.limits is None:
                transaction.limits = self._limits
            result = operation(transaction)
            if transaction.freed or transaction.paced:
                limits.release(transaction)
            return result

        return self._writer.submit(whole, keep=keep)

    def _committed(self, effects: Effects) -> None:
        if effects.limits is not None:
            self._limits = effects.limits
        self._on_commit(effects)

    def _reader(self) -> ReadingConnection:
        if self._reading is None:
            raise StoreError("the queue is not open")
        return self._reading

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Read on the writing connection, between two transactions."""
        if self._connection is None:
            raise StoreError("the queue is not open")
        try:
            return await on_thread(self._connection, function)
        except sqlite3.Error as error:
            said = translate(error, self.path)
            if self._writer is not None:
                self._writer.give_up(said)
            raise said from error
