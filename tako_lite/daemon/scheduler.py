"""One timer for all that is due later: runs, waits, schedules, triggers, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from tako_lite.catalog import Catalog, cron_of
from tako_lite.clock import Clock
from tako_lite.daemon.cron import due_slots, next_slot
from tako_lite.daemon.events import Events
from tako_lite.daemon.triggers import Triggers, triggers_of
from tako_lite.errors import TakoError
from tako_lite.new_run import Asked, make_run
from tako_lite.records import Schedule
from tako_lite.routing import Router
from tako_lite.states import RunState
from tako_lite.store.base import SIGNALS_KEPT, Store

LONGEST_SLEEP: Final = 60.0
"""Seconds; bounds what a suspended machine or a moved clock can delay."""
GRACE_MS: Final = 60_000
"""A slot younger than this is not a missed one."""
PAUSE_AFTER_TROUBLE: Final = 1.0
"""Seconds until what failed is tried again."""
PRUNE_BATCH: Final = 500
PRUNE_PAUSE_MS: Final = 60_000
"""Retention looks again no sooner than this after it found nothing."""


def schedules_of(catalog: Catalog) -> list[Schedule]:
    """The schedules of a catalog, none of which has fired."""
    return [
        Schedule(spec.name, spec.options.schedule, spec.options.timezone, spec.options.catch_up, 0, None, False)
        for spec in catalog.workflows.values()
        if spec.options.schedule is not None
    ]


class Scheduler:
    """Knows the next moment at which something is due, and does it then."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        keep: dict[RunState, int | None],
        router: Router,
        triggers: Triggers,
    ) -> None:
        self.keep = keep
        self.router = router
        self._triggers = triggers
        self._store = store
        self._clock = clock
        self._events = events
        self._catalog: Catalog | None = None
        self._schedules: dict[str, Schedule] = {}
        self._next_slots: dict[str, int] = {}
        self._next_due: int | None = None
        self._next_prune: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    async def start(self, catalog: Catalog) -> None:
        """Take the schedules of the catalog, fire what was missed, and arm the timer."""
        schedules = await self._store.put_schedules(schedules_of(catalog), self._clock.now())
        await self._store.put_triggers(triggers_of(catalog))
        self.take(catalog, schedules)
        self._next_due = self._next_prune = self._clock.now()
        await self._work()

    def take(self, catalog: Catalog, stored: list[Schedule]) -> None:
        """Go by another catalog, whose schedules and triggers are stored."""
        self._catalog = catalog
        self._schedules = {schedule.workflow: schedule for schedule in stored}
        self._next_slots.clear()
        for schedule in self._schedules.values():
            self._advance(schedule.workflow, schedule.last_slot)
        self._next_prune = self._clock.now()  # `keep` may be another one
        self._arm()

    def stop(self) -> None:
        """Fire nothing more; twice is harmless."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def wake_by(self, moment: int) -> None:
        """Something is due at this moment."""
        if self._next_due is None or moment < self._next_due:
            self._next_due = moment
            self._arm()

    def triggers_are_due(self, due: dict[str, int]) -> None:
        """Triggers are due at other moments than before."""
        self._triggers.due = due
        self._arm()

    def something_ended(self) -> None:
        """An ended run is one that retention will take away."""
        shortest = min((age for age in self.keep.values() if age is not None), default=SIGNALS_KEPT)
        moment = self._clock.now() + max(shortest, PRUNE_PAUSE_MS)
        if self._next_prune is None or moment < self._next_prune:
            self._next_prune = moment
            self._arm()

    async def prune_now(self) -> None:
        """Take away everything that is past its time."""
        while True:
            again_at = await self._store.prune_runs(self.keep, PRUNE_BATCH)
            if again_at is None or again_at > self._clock.now():
                return

    def as_json(self) -> list[dict[str, Any]]:
        """The schedules with their next slots."""
        return [schedule.as_json(self._next_slots.get(schedule.workflow)) for schedule in self._schedules.values()]

    async def pause(self, workflow: str, paused: bool) -> None:
        """Pause a schedule, or let it go on with the next slot from now."""
        await self._store.pause_schedule(workflow, paused, self._clock.now())
        self._schedules = {schedule.workflow: schedule for schedule in await self._store.list_schedules()}
        self._advance(workflow, self._clock.now())
        self._arm()

    # The timer

    def _arm(self, least: float = 0.0) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = [moment for moment in (self._next_due, self._next_prune) if moment is not None]
        moments += self._next_slots.values()
        moments += (moment for name, moment in self._triggers.due.items() if name in self._triggers.catalog.triggers)
        if moments:
            seconds = (min(moments) - self._clock.now()) / 1000
            self._timer = self._loop.call_later(min(max(seconds, least), LONGEST_SLEEP), self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        failed = False
        try:
            now = self._clock.now()
            for workflow in [name for name, slot in self._next_slots.items() if slot <= now]:
                failed = await self._guarded(self._tick(workflow), f"the schedule of {workflow}") or failed
            failed = await self._guarded(self._triggers.evaluate_due(), "the evaluation of triggers") or failed
            if self._next_due is not None and self._next_due <= now:
                self._next_due = None
                await self._store.wake_due_runs()
                due = await self._store.get_next_due()
                if due is not None and (self._next_due is None or due < self._next_due):
                    self._next_due = due
            if self._next_prune is not None and self._next_prune <= now:
                await self._prune()
        except Exception as error:  # whatever it is, later slots must not be lost with it
            self._say("the scheduler", error)
            self._next_due = self._clock.now()
            failed = True
        finally:
            self._arm(PAUSE_AFTER_TROUBLE if failed else 0.0)

    async def _guarded(self, work: Awaitable[None], what: str) -> bool:
        """Do a part of the work and return whether it failed; an error in it does not stop the other parts."""
        try:
            await work
        except Exception as error:
            self._say(what, error)
            return True
        self._events.unexpected.over(what)
        return False

    def _say(self, what: str, error: Exception) -> None:
        if isinstance(error, TakoError):
            self._events.trouble(f"{what} has to wait: {error.message}")
        else:
            self._events.unexpected.raised(what, error)

    async def _prune(self) -> None:
        again_at = await self._store.prune_runs(self.keep, PRUNE_BATCH)
        now = self._clock.now()
        if again_at is None:
            self._next_prune = None
        elif again_at <= now:
            self._next_prune = now + 50  # small batches, with air between them
        else:
            self._next_prune = max(again_at, now + PRUNE_PAUSE_MS)

    # Schedules

    async def _tick(self, workflow: str) -> None:
        schedule = self._schedules.get(workflow)
        spec = self._catalog.workflows.get(workflow) if self._catalog is not None else None
        if schedule is None or spec is None or schedule.paused:
            self._next_slots.pop(workflow, None)
            return
        now = self._clock.now()
        cron, zone = cron_of(schedule.cron), schedule.timezone
        due = due_slots(cron, zone, schedule.last_slot, now, spec.options.catch_up, GRACE_MS)
        for slot in due.fire:
            run = make_run(spec, "null", Asked(at=slot), self.router, now)
            await self._store.fire_schedule(workflow, slot, [run])
            self._note(workflow, slot, fired_at=slot)
        if due.last > max([schedule.last_slot, *due.fire]):
            await self._store.fire_schedule(workflow, due.last, [])
            self._note(workflow, due.last)
        self._advance(workflow, max(due.last, schedule.last_slot))

    def _note(self, workflow: str, last_slot: int, fired_at: int | None = None) -> None:
        old = self._schedules[workflow]
        fired = old.fired_at if fired_at is None else fired_at
        self._schedules[workflow] = old._replace(last_slot=last_slot, fired_at=fired)

    def _advance(self, workflow: str, after: int) -> None:
        schedule = self._schedules.get(workflow)
        self._next_slots.pop(workflow, None)
        if schedule is not None and not schedule.paused:
            slot = next_slot(cron_of(schedule.cron), schedule.timezone, after)
            if slot is not None:
                self._next_slots[workflow] = slot
