"""The queue file while no daemon runs: opened with plain sqlite3 for one call, and closed again.

Whoever writes holds `write.lock` meanwhile, so that closing may checkpoint. The operations are the daemon's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tako_lite.clock import Clock
from tako_lite.records import Batch, Enqueued, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.store.base import GroupCounts, GroupOverride, RunFilter, Signalled
from tako_lite.store.migrate import refuse_newer, refuse_older
from tako_lite.store.sqlite import enqueue, groups, read_queries, runs, schedules, triggers, waits
from tako_lite.store.sqlite.file import PACKAGE, Durability, connect, connect_reading, translate
from tako_lite.store.sqlite.transaction import Transaction, commit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Totals:
    """What `status` says of the queue: by group what it holds and what people asked of it, then the file as a whole."""

    counts: dict[str, GroupCounts]
    wishes: dict[str, GroupOverride]
    stats: dict[str, Any]


NOTHING = Totals({}, {}, {"file_bytes": 0, "pruned": {}})


class OfflineQueue:
    """The queue file of a project without a daemon. Writing makes and migrates the file; reading never does."""

    def __init__(self, path: Path, durability: Durability, clock: Clock) -> None:
        self._path = path
        self._durability = durability
        self._clock = clock

    def enqueue_run(self, new: NewRun) -> Enqueued:
        """Store a new run."""
        (enqueued,) = self._write(partial(enqueue.enqueue, runs=[new]))
        return enqueued

    def enqueue_batches(self, batches: Sequence[Batch]) -> int:
        """Store a run for each id and payload, all or none; returns how many ended at once."""
        return self._write(partial(enqueue.enqueue_many, batches=batches))

    def cancel_runs(self, ids: Sequence[str]) -> dict[str, str]:
        """What became of each; a run that was running when the daemon ended is cancelled at the next start."""
        return self._write(partial(runs.cancel, ids=ids))

    def discard_runs(self, ids: Sequence[str]) -> dict[str, str]:
        """What became of each."""
        return self._write(partial(runs.discard, ids=ids))

    def retry_runs(self, routes: Mapping[str, Route], fresh: bool) -> dict[str, str]:
        """What became of each."""
        return self._write(partial(enqueue.retry, routes=routes, fresh=fresh))

    def store_signal(self, event: str, payload: str) -> Signalled:
        """Store a signal, unless one of that name is there, and end the waits for it."""
        return self._write(partial(waits.signal, event=event, payload=payload))

    def move_runs(self, group: str, to: str) -> int:
        """How many live runs of a group belong to another now; the next start gives those that were running back to it."""
        return self._write(partial(groups.move, group=group, to=to, limit=-1))

    def forget_group(self, name: str) -> None:
        """What people asked of a group is forgotten."""
        self._write(partial(groups.forget, group=name))

    def get_run(self, id: str) -> Run | None:
        """A run with its steps and waits."""
        return self._read(lambda connection: read_queries.get(connection, id), None)

    def resolve_ending(self, ending: str) -> str | None:
        """The one id that ends so, or None where there is no file yet. Raises BadInput, NotFound."""
        return self._read(lambda connection: read_queries.resolve_ending(connection, ending), None)

    def list_runs(self, chosen: RunFilter, limit: int | None) -> list[Run]:
        """The newest runs first, without their steps."""
        return self._read(lambda connection: read_queries.list_runs(connection, chosen, limit), [])

    def list_run_ids(self, chosen: RunFilter) -> list[str]:
        """The ids of runs, oldest first."""
        return self._read(lambda connection: read_queries.ids(connection, chosen), [])

    def count_queued_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow are pending or waiting."""
        return self._read(read_queries.queued_by_workflow, {})

    def list_group_overrides(self) -> dict[str, GroupOverride]:
        """What people asked of groups."""
        return self._read(schedules.wishes, {})

    def list_schedules(self) -> list[Schedule]:
        """The schedules that the last daemon had."""
        return self._read(schedules.listed, [])

    def list_triggers(self) -> list[StoredTrigger]:
        """The triggers that the last daemon had."""
        return self._read(triggers.listed, [])

    def back_up(self, file: Path) -> int | None:
        """Copy the queue to a new file; returns its bytes, or None where there is no queue yet. Raises BadInput."""
        return self._read(lambda connection: read_queries.backup(connection, file), None)

    def get_totals(self) -> Totals:
        """What `status` says of the queue."""
        now = self._clock.now()
        return self._read(
            lambda connection: Totals(
                read_queries.counts(connection, now), schedules.wishes(connection), read_queries.stats(connection)
            ),
            NOTHING,
        )

    def _write(self, operation: Callable[[Transaction], T]) -> T:
        try:
            with closing(connect(self._path, self._durability)) as connection:
                results, _ = commit(connection, self._clock.now(), [operation])
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        result: T = results[0]
        return result

    def _read(self, function: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        try:
            if not self._path.exists():
                return nothing
            with closing(connect_reading(self._path)) as connection:
                return function(connection) if _has_tables(connection) else nothing
        except (sqlite3.Error, OSError) as error:
            raise translate(error, self._path) from error


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Whether the file was ever migrated: its maker may have died between the two. Raises StoreTooNew, StoreTooOld."""
    refuse_newer(connection, PACKAGE)
    refuse_older(connection, PACKAGE)
    return bool(connection.execute("PRAGMA user_version").fetchone()[0])
