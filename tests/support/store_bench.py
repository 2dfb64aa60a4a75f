"""An open store on a workbench: a clock that tests move, what each commit told, and short ways to put a run into a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tako_lite.records import Claimed, Failure, NewRun, Run, new_id
from tako_lite.routing import Route
from tako_lite.states import RunState
from tako_lite.store.base import Completed, Effects, NewWait, SavedStep, Store
from tako_lite.store.opening import Queue

DAY = 24 * 3_600_000
BOOT_ID = "boot-1"
WORKER = 4242
SMALL = '"small"'
LARGE = '"' + "x" * 5_000 + '"'
LARGEST = '"' + "é" * (1024 * 1024 // 2 - 16) + '"'


class HandClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.moment = 1_800_000_000_000
        self.seconds = 0.0

    def now(self) -> int:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def move(self, milliseconds: int) -> None:
        """Forward, or back: the monotonic time never goes back."""
        self.moment += milliseconds
        self.seconds += max(milliseconds, 0) / 1000


class Bench:
    """The store of a queue with its clock; `told` are the effects of every commit, oldest first."""

    def __init__(self, store: Store, clock: HandClock, told: list[Effects], queue: Queue) -> None:
        self.store = store
        self.clock = clock
        self.told = told
        self.queue = queue

    @property
    def effects(self) -> Effects:
        """What the last commit told."""
        return self.told[-1]

    @property
    def ended_ids(self) -> list[str]:
        """The runs that the last commit reported as ended, without those that succeeded."""
        return [run.run_id for run in self.effects.ended]

    @property
    def cancelling_ids(self) -> list[str]:
        """The running runs that the last commit reported as to be cancelled."""
        return [run.run_id for run in self.effects.cancelling]

    def new(self, **changes: Any) -> NewRun:
        """A run of workflow `greet` in group `default`, due now."""
        fields: dict[str, Any] = {
            "id": new_id(),
            "workflow": "greet",
            "group": "default",
            "group_source": "default",
            "payload": "{}",
            "run_at": self.clock.now(),
            "priority": 0,
            "max_attempts": 3,
        }
        return NewRun(**(fields | changes))

    async def add(self, **changes: Any) -> str:
        """Enqueue a run; its id."""
        (enqueued,) = await self.store.enqueue_runs([self.new(**changes)])
        return enqueued.id

    async def claim_one(self, group: str = "default") -> Claimed:
        """The next run of a group, claimed."""
        (run,) = (await self.store.claim_runs(group, 1)).runs
        return run

    async def running(self, **changes: Any) -> Claimed:
        """A run in a group of its own, claimed, so that no other due run can be taken for it."""
        group = changes.setdefault("group", f"g{new_id()}")
        await self.add(**changes)
        return await self.claim_one(group)

    async def waiting(self, event: str = "go", **changes: Any) -> Claimed:
        """A run that is parked on a signal."""
        run = await self.running(**changes)
        await self.store.add_wait(self.wait(run, "wait", "signal", event))
        assert await self.store.park_run(run.id, run.token, ["wait"]) == "waiting"
        return run

    async def ended(self, state: RunState, **changes: Any) -> Claimed:
        """A run that has ended so."""
        run = await self.running(**changes)
        if state == "succeeded":
            await self.complete(run)
        else:
            assert await self.store.finish_run(run.id, run.token, state, failed_with(), WORKER, charged=True)
        return run

    async def in_state(self, state: RunState) -> str:
        """The id of a run in any of the states."""
        if state == "pending":
            return await self.add()
        if state == "running":
            return (await self.running()).id
        if state == "waiting":
            return (await self.waiting()).id
        return (await self.ended(state)).id

    async def retry(self, ids: Sequence[str], *, fresh: bool) -> dict[str, str]:
        """Runs start over in the groups that they were in."""
        routes = {}
        for id in ids:
            run = await self.store.get_run(id)
            routes[id] = Route("default", "default") if run is None else Route(run.group, "workflow")
        return await self.store.retry_runs(routes, fresh=fresh)

    async def complete(self, run: Claimed, result: str = "null") -> None:
        """A claimed run succeeds."""
        await self.store.complete_runs([Completed(run.id, run.token, result, WORKER)])

    @property
    def told_nothing(self) -> bool:
        """Whether the last commit changed nothing that others want to know."""
        effects = self.effects
        return effects.due is None and not any(
            (effects.ready, effects.suspects, effects.resolved, effects.ended, effects.succeeded, effects.cancelling)
        )

    async def show(self, id: str) -> Run:
        """A run that is there."""
        run = await self.store.get_run(id)
        assert run is not None
        return run

    async def state(self, id: str) -> RunState:
        """The state of a run that is there."""
        return (await self.show(id)).state

    def step(self, run: Claimed, name: str, value: str | None = SMALL, **changes: Any) -> SavedStep:
        """A step that succeeded; with `error` in place of a value, one that failed."""
        now = self.clock.now()
        state = "failed" if "error" in changes else "succeeded"
        fields: dict[str, Any] = {
            "run_id": run.id,
            "token": run.token,
            "name": name,
            "kind": "run",
            "state": state,
            "value": None if state == "failed" else value,
            "error": None,
            "tries": 1,
            "started_at": now,
            "finished_at": now,
        }
        return SavedStep(**(fields | changes))

    def wait(self, run: Claimed, name: str, kind: Any = "sleep", key: str | None = None, lasting: int | None = None) -> NewWait:
        """A wait of a claimed run that is over by itself after so many milliseconds, or never."""
        wake_at = None if lasting is None else self.clock.now() + lasting
        return NewWait(run.id, run.token, name, kind, key, wake_at)


def failed_with(message: str = "boom", **changes: str) -> Failure:
    """A failure of a handler."""
    return Failure("ValueError", message, **changes)


def stale(run: Claimed) -> Claimed:
    """The same run as a worker with an older claim knows it."""
    return run._replace(token=run.token - 1)
