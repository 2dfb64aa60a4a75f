"""The queue file while no daemon runs: opened with plain sqlite3 for one call, and closed again.

A writer holds the queue's write lock meanwhile, so that closing may checkpoint. The operations are those of the daemon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from tako_lite.clock import Clock
from tako_lite.records import Activity, Batch, Enqueued, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.store import reading
from tako_lite.store.base import GroupOverride, Hooks, MinuteTotals, RunChanges, RunFilter, Signalled, Totals
from tako_lite.store.sqlite.backup import back_up, size_of
from tako_lite.store.sqlite.file import Durability, connect, connect_reading, has_tables, translate
from tako_lite.store.sqlite.transaction import SqliteSnapshot, commit, consistent
from tako_lite.store.transitions import activity, edits, enqueue, groups, hooks, minutes, runs, schedules, triggers, waits
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")

NOTHING: Final = Totals({}, {}, {"file_bytes": 0, "pruned": {}})


class SqliteOfflineStore:
    """`store.base.OfflineStore` on a file. Writing creates and migrates the file; reading never does."""

    def __init__(self, path: Path, durability: Durability, clock: Clock) -> None:
        self._path = path
        self._durability = durability
        self._clock = clock
        self._hooks = Hooks()

    def set_hooks(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def enqueue_run(self, new: NewRun) -> Enqueued:
        (enqueued,) = self._write(partial(enqueue.enqueue, runs=[new]))
        return enqueued

    def enqueue_batches(self, batches: Sequence[Batch]) -> int:
        return self._write(partial(enqueue.enqueue_many, batches=batches))

    def cancel_runs(self, ids: Sequence[str]) -> dict[str, str]:
        return self._write(partial(runs.cancel, ids=ids))

    def discard_runs(self, ids: Sequence[str]) -> dict[str, str]:
        return self._write(partial(runs.discard, ids=ids))

    def edit_run(self, id: str, changes: RunChanges) -> str:
        return self._write(partial(edits.edit, id=id, changes=changes))

    def run_now(self, ids: Sequence[str]) -> dict[str, str]:
        return self._write(partial(edits.run_now, ids=ids))

    def move_each_run(self, ids: Sequence[str], to: str) -> dict[str, str]:
        return self._write(partial(edits.move, ids=ids, to=to))

    def retry_runs(self, routes: Mapping[str, Route], *, fresh: bool) -> dict[str, str]:
        return self._write(partial(enqueue.retry, routes=routes, fresh=fresh))

    def store_signal(self, event: str, payload: str) -> Signalled:
        return self._write(partial(waits.signal, event=event, payload=payload))

    def move_runs(self, group: str, to: str) -> int:
        return self._write(partial(groups.move_runs, group=group, to=to, limit=-1))

    def forget_group(self, name: str) -> None:
        self._write(partial(groups.forget, group=name))

    def record_activity(self, done: Activity) -> None:
        self._write(partial(activity.record, done=done))

    def list_minutes(self, since: int, until: int) -> list[MinuteTotals]:
        return self._read(partial(minutes.list_between, since=since, until=until), [])

    def list_activity(
        self, limit: int, before: str | None = None, *, actor: str | None = None, action: str | None = None
    ) -> list[Activity]:
        return self._read(partial(activity.list_newest, limit=limit, before=before, actor=actor, action=action), [])

    def get_run(self, id: str) -> Run | None:
        return self._read(partial(reading.get_run, id=id), None)

    def resolve_ending(self, ending: str) -> str | None:
        return self._read(partial(reading.resolve_ending, ending=ending), None)

    def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        return self._read(partial(reading.list_runs, chosen=chosen, limit=limit), [])

    def list_run_ids(self, chosen: RunFilter, limit: int | None = None) -> list[str]:
        return self._read(partial(reading.list_run_ids, chosen=chosen, limit=limit), [])

    def count_runs(self, chosen: RunFilter, limit: int | None = None) -> int:
        return self._read(partial(reading.count_runs, chosen=chosen, limit=limit), 0)

    def count_queued_by_workflow(self) -> dict[str, int]:
        return self._read(reading.count_queued_by_workflow, {})

    def list_group_overrides(self) -> dict[str, GroupOverride]:
        return self._read(groups.list_overrides, {})

    def list_schedules(self) -> list[Schedule]:
        return self._read(schedules.list_all, [])

    def list_triggers(self) -> list[StoredTrigger]:
        return self._read(triggers.list_all, [])

    def back_up(self, file: Path) -> int | None:
        return self._with_reader(lambda connection: back_up(connection, file), None)

    def get_totals(self) -> Totals:
        now = self._clock.now()

        def read(snapshot: SqliteSnapshot) -> Totals:
            stats = {"file_bytes": size_of(snapshot.connection), "pruned": reading.count_pruned(snapshot)}
            return Totals(reading.count_by_group(snapshot, now), groups.list_overrides(snapshot), stats)

        return self._with_reader(lambda connection: consistent(connection, read), NOTHING)

    def _write(self, operation: Callable[[Transaction], T]) -> T:
        def whole(transaction: Transaction) -> T:
            transaction.hooks = self._hooks
            result = operation(transaction)
            hooks.follow_deaths(transaction)
            return result

        try:
            with closing(connect(self._path, self._durability)) as connection:
                results, _ = commit(connection, self._clock.now(), [whole])
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        result: T = results[0]
        return result

    def _read(self, function: Callable[[Snapshot], T], nothing: T) -> T:
        return self._with_reader(lambda connection: consistent(connection, function), nothing)

    def _with_reader(self, function: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        try:
            if not self._path.exists():
                return nothing
            with closing(connect_reading(self._path)) as connection:
                return function(connection) if has_tables(connection) else nothing
        except (sqlite3.Error, OSError) as error:
            raise translate(error, self._path) from error
