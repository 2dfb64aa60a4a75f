"""Every method of `OfflineStore`, written once over a backend's transactions and snapshots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tako_lite.clock import Clock
from tako_lite.records import Activity, Batch, Enqueued, NewRun, Run, Schedule, StoredTrigger
from tako_lite.routing import Route
from tako_lite.store import reading
from tako_lite.store.base import GroupOverride, Hooks, MinuteTotals, RunChanges, RunFilter, Signalled
from tako_lite.store.membership import OtherServer
from tako_lite.store.transitions import activity, edits, enqueue, groups, hooks, minutes, runs, schedules, triggers, waits
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")


class TransactionalOfflineStore(ABC):
    """A queue without a daemon. A backend brings the methods below, `back_up` and `get_totals`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hooks = Hooks()

    def close(self) -> None:  # noqa: B027 -- only some backends keep a connection
        """Close the connections that are kept for the next call, if any."""

    @abstractmethod
    def _commit(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation in a transaction."""

    @abstractmethod
    def _read(self, function: Callable[[Snapshot], T], nothing: T) -> T:
        """Read one moment of the queue; `nothing` where there is none yet."""

    def _write(self, operation: Callable[[Transaction], T], locks: tuple[str, ...] = ()) -> T:
        """Run an operation in a transaction. `locks` keep others from the same while it works, where there are others."""

        def whole(transaction: Transaction) -> T:
            transaction.hooks = self._hooks
            result = operation(transaction)
            hooks.follow_deaths(transaction)
            return result

        whole.locks = locks  # type: ignore[attr-defined]
        return self._commit(whole)

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
        return self._write(partial(waits.signal, event=event, payload=payload), (f"signal {event}",))

    def move_runs(self, group: str, to: str) -> int:
        return self._write(partial(groups.move_runs, group=group, to=to, limit=reading.ALL))

    def pause_group(self, name: str, paused: bool) -> None:
        self._write(partial(groups.pause, name=name, paused=paused))

    def scale_group(self, name: str, scale: int | None) -> None:
        self._write(partial(groups.scale, name=name, workers=scale))

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

    def list_servers(self) -> list[OtherServer]:
        """A backend with several servers overrides it."""
        return []
