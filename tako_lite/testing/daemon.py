"""The daemon of production in the process of the test: it starts runs and lets time pass only when the test asks for it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from tako_lite.config import Config
from tako_lite.daemon.daemon import Daemon
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.events import Events
from tako_lite.daemon.limits import limits_of
from tako_lite.daemon.scheduler import schedules_of
from tako_lite.daemon.triggers import triggers_of
from tako_lite.daemon.worker_session import WorkerSession
from tako_lite.errors import TakoError
from tako_lite.processes.group import Group
from tako_lite.records import Claimed
from tako_lite.routing import no_worker
from tako_lite.store.base import Effects, Hold
from tako_lite.testing.output import MemoryLogs
from tako_lite.testing.project import LoadedProject
from tako_lite.testing.scheduler import SteppedScheduler
from tako_lite.testing.script import Script
from tako_lite.testing.store import LocalQueue, LocalStore
from tako_lite.testing.workers import LocalSpawner

if TYPE_CHECKING:
    from tako_lite.testing.thread import TurningLoop

SETTLED: Final = 50
"""Turns of the loop after which the daemon is idle although a task that a handler left behind keeps the loop busy."""
LOOK_AGAIN: Final = 0.005
"""Seconds between two looks while handlers wait for something outside."""


@dataclass
class Gate:
    """Which runs may start: those of a group or all, and up to how many; and those that did.

    With `fails`, more than that is a loop, and not the wish of the test.
    """

    group: str | None = None
    left: int = 1_000_000_000
    fails: bool = True
    started: list[Claimed] = field(default_factory=list)


class GatedDispatcher(Dispatcher):
    """Claims runs only while its gate is open."""

    gate: Gate | None = None
    claims_ahead = False
    """A run that the gate does not let start stays pending."""

    def schedule_pass(self, group: str) -> None:
        if self.gate is not None and self.gate.group in (None, group):
            super().schedule_pass(group)

    def free_slots(self, group: Group, hold: Hold | None) -> int:
        asked = sum(self._claims_in_flight.values())
        own = self._claims_in_flight.get((group.name, hold), 0)
        left = 0 if self.gate is None else self.gate.left - asked + own
        return min(super().free_slots(group, hold), left)

    def _begin(self, session: WorkerSession, run: Claimed, timeout: float | None, now: float) -> None:
        super()._begin(session, run, timeout, now)
        if self.gate is not None:
            self.gate.left -= 1
            self.gate.started.append(run)

    def open_gate(self, gate: Gate) -> None:
        """Let runs start."""
        self.gate = gate
        for due in self._due.values():
            for name in due:
                self.schedule_pass(name)

    def forget_work(self) -> None:
        """Clear the marks of all groups."""
        for due in self._due.values():
            due.clear()

    def pending_groups(self) -> list[Group]:
        """The groups that may have due runs which the gate lets start."""
        gate = self.gate
        if gate is None or gate.left <= 0:
            return []
        names = {name for due in self._due.values() for name in due if gate.group in (None, name)}
        return [group for name in names if not (group := self._ensure_group(name)).paused]

    @property
    def is_busy(self) -> bool:
        """Whether a run is claimed or executed."""
        return any(self._claims_in_flight.values()) or any(session.assignments for session in self.sessions.values())


class LocalDaemon(Daemon):
    """Real store, commands, scheduler, dispatcher and outcomes; workers on the same loop; no socket, no files watched."""

    dispatcher_type = GatedDispatcher
    scheduler_type = SteppedScheduler
    logs_type = MemoryLogs
    dispatcher: GatedDispatcher
    scheduler: SteppedScheduler
    logs: MemoryLogs
    spawner: LocalSpawner
    store: LocalStore

    def __init__(self, loaded: LoadedProject, script: Script, folder: Path) -> None:
        self._folder, self._code = folder, loaded.code
        self.moved = asyncio.Event()
        self.ended: list[str] = []
        """The runs that have ended, in this order."""
        super().__init__(self._of_test(loaded.config), loaded.catalog, script.clock, Events())
        self.virtual = script.clock
        spawner = LocalSpawner(
            self.dispatcher, self.outcomes, self.health, self.logs, self.events, self.meter, self.fork_servers, self.records
        )
        spawner.on_change = self._group_changed
        spawner.loader, spawner.script, spawner.base = loaded.loader, script, contextvars.copy_context()
        self.spawner = spawner
        self.outcomes.random = lambda: 0.5
        self.dispatcher.on_push = lambda: None

    def _of_test(self, config: Config) -> Config:
        """The settings of a project, with the folder and the queue of the test."""
        queue = replace(config.queue, location=LocalQueue(self._folder / "queue.db"), durability="process")
        return replace(config, root=self._folder, state_dir=self._folder, queue=queue)

    async def start(self) -> None:
        """Open the queue."""
        await self.store.start()
        for name in self.group_names():
            self.ensure_group(name)
        await self.put_catalog()
        self.readiness.state = "serving"

    async def put_catalog(self) -> None:
        """Store what the queue knows of the catalog: its code, limits, schedules and triggers."""
        catalog, now = self.catalog, self.clock.now()
        self.dispatcher.code = self._code
        futures: list[Awaitable[object]] = [self.store.put_code(self._code)]
        if self.store.has_limits or limits_of(catalog):
            futures.append(self.store.set_limits(limits_of(catalog)))
        if self.scheduler.slots() or schedules_of(catalog) or self.triggers.due or triggers_of(catalog):
            stored = self.store.put_schedules(schedules_of(catalog), now, catalog.workflows)
            await self.store.put_triggers(triggers_of(catalog))
            self.scheduler.take(catalog, await stored)
        await asyncio.gather(*futures)

    async def take(self, loaded: LoadedProject) -> None:
        """Continue with other code, as after `tako-lite reload`: new workers, and another try for runs that are held."""
        self._use(self._of_test(loaded.config), loaded.catalog)
        self._code, self.spawner.loader = loaded.code, loaded.loader
        await self.put_catalog()
        for name in self.group_names() | set(self.groups):
            self.ensure_group(name).replace(self._settings(name))
        await self.store.release_held_runs("no_handler")
        await self.store.release_held_runs("changed_steps")

    async def stop(self) -> None:
        """Kill the workers, and close the queue."""
        self._stopped = True
        self.scheduler.stop()
        self.fallbacks.stop()
        self.health.stop()
        await self.dispatcher.stop()
        for worker, session in list(self.dispatcher.sessions.items()):
            if session.assignments:
                worker.kill_uncharged("stop")
        for group in list(self.groups.values()):
            await group.stop()
        await self.store.stop()

    # Running

    @contextmanager
    def opened(self, gate: Gate) -> Iterator[None]:
        """Let runs start through the gate in this block."""
        self.dispatcher.open_gate(gate)
        try:
            yield
        finally:
            self.dispatcher.gate = None

    async def drain(self) -> None:
        """Wait until nothing is under way and nothing more is due. Raises TakoError for a group that cannot start."""
        loop, turns = cast("TurningLoop", asyncio.get_running_loop()), 0
        while turns < SETTLED:
            if not self._is_idle():
                turns = 0
                await self._wait_for_change(loop)
            elif loop.is_quiet:
                return
            else:
                turns += 1
                await asyncio.sleep(0)

    def _is_idle(self) -> bool:
        if self.dispatcher.is_busy or not self.store.is_idle:
            return False
        for group in self.dispatcher.pending_groups():
            if group.failures:
                raise TakoError(f"group {group.name} cannot start: {group.last_error}")
            return False
        return not any(worker.state == "starting" for group in self.groups.values() for worker in group.workers)

    async def _wait_for_change(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the next commit, or for a moment: a group that cannot start commits nothing."""
        timer = loop.call_later(LOOK_AGAIN, self.moved.set)
        await self.moved.wait()
        timer.cancel()
        self.moved.clear()

    def _committed(self, effects: Effects) -> None:
        super()._committed(effects)
        self.ended += [*(run.run_id for run in effects.ended), *effects.succeeded]
        self.moved.set()

    @contextmanager
    def only(self, workflow: str | None) -> Iterator[None]:
        """Let only runs of one workflow start; the others are held meanwhile."""
        whole = self.dispatcher.catalog
        if workflow is not None:
            workflows = {name: spec for name, spec in whole.workflows.items() if name == workflow}
            triggers = {name: spec for name, spec in whole.triggers.items() if f"@{name}" == workflow}
            self.dispatcher.catalog = replace(whole, workflows=workflows, triggers=triggers)
        try:
            yield
        finally:
            self.dispatcher.catalog = whole

    # Time

    async def next_moment(self, *, retention: bool = True) -> int | None:
        """When something happens next by itself; without `retention`, the deletion of ended runs does not count."""
        of_scheduler = self.scheduler.next_moment() if retention else self.scheduler.next_due
        moments = [moment for moment in (of_scheduler, await self._next_fallback()) if moment is not None]
        return min(moments, default=None)

    async def _next_fallback(self) -> int | None:
        """When the next run has waited for too long for its unavailable group; those that have, end."""
        moments: list[int] = []
        for group in self.groups.values():
            wait = group.settings.wait_timeout
            if wait is not None and not group.available:
                why = no_worker(group.trouble or "nobody serves the group")
                moment = await self.store.mark_group_unavailable(group.name, why, round(wait * 1000))
                moments += [] if moment is None else [moment]
        return min(moments, default=None)
