"""One timer for everything that becomes due later: runs, waits, schedules, triggers, retention."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from tako_lite.catalog import Catalog, cron_of
from tako_lite.clock import Clock
from tako_lite.daemon.events import Events
from tako_lite.daemon.triggers import Triggers, triggers_of
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import NotFound, TakoError
from tako_lite.hints import did_you_mean
from tako_lite.new_run import make_run
from tako_lite.protocol.arguments import Nothing, PauseSchedule
from tako_lite.protocol.commands import Handler
from tako_lite.records import NewRun, Schedule
from tako_lite.routing import Router
from tako_lite.states import RunState
from tako_lite.store.base import SIGNALS_KEPT, Expression, Store

if TYPE_CHECKING:
    from tako_lite.cron import Due

LONGEST_SLEEP: Final = 60.0
"""Seconds; limits the delay after the machine was suspended or its clock was changed."""
GRACE_MS: Final = 60_000
"""A slot of the last so many milliseconds does not count as missed."""
PAUSE_AFTER_TROUBLE: Final = 1.0
"""Seconds until failed work is tried again."""
PRUNE_BATCH: Final = 500
PRUNE_PAUSE_MS: Final = 60_000
"""Minimum pause of the retention after it found nothing to delete."""


def schedules_of(catalog: Catalog) -> list[Schedule]:
    """The schedules of a catalog, as if none had fired yet."""
    return [
        Schedule(spec.name, spec.options.schedule, spec.options.timezone, spec.options.catch_up, 0, None, False)
        for spec in catalog.workflows.values()
        if spec.options.schedule is not None
    ]


def check_schedule(catalog: Catalog, workflow: str) -> None:
    """Raise NotFound for a workflow without a schedule."""
    scheduled = [spec.name for spec in catalog.workflows.values() if spec.options.schedule]
    if workflow not in scheduled:
        hint = did_you_mean(workflow, scheduled) or "tako-lite schedules shows them"
        raise NotFound(f"there is no schedule {workflow[:60]!r}", hint=hint, type="unknown_schedule")


class Scheduler:
    """Sleeps until the next moment at which something is due, and then does it."""

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
        self.missed: Counter[tuple[str, str]] = Counter()
        """By schedule, and `yes` for the slots that were run late, `no` for each time that slots were passed over."""
        self._next_due: int | None = None
        self._next_prune: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.before_enqueue: Callable[[NewRun], None] = lambda run: None
        """Is called before a run is stored, so that the same transaction claims it."""
        self.fires = True
        """Whether schedules and triggers start anything by themselves. Set it before `start`."""
        self._loop = asyncio.get_running_loop()

    async def start(self, catalog: Catalog) -> None:
        """Take the schedules of the catalog, fire what was missed, and arm the timer."""
        schedules = await self._store.put_schedules(schedules_of(catalog), self._clock.now(), catalog.workflows)
        await self._store.put_triggers(triggers_of(catalog))
        self.take(catalog, schedules)
        self._next_due = self._next_prune = self._clock.now()
        await self._work()

    def take(self, catalog: Catalog, stored: list[Schedule]) -> None:
        """Switch to another catalog, whose schedules and triggers are stored already."""
        self._catalog = catalog
        self._schedules = {schedule.workflow: schedule for schedule in stored}
        self._next_slots.clear()
        for schedule in self._schedules.values():
            self._advance(schedule.workflow, schedule.last_slot)
        self._next_prune = self._clock.now()  # the retention settings may have changed
        self._arm()

    def stop(self) -> None:
        """Cancel the timer, so that nothing more fires. Stopping twice is safe."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    @property
    def next_due(self) -> int | None:
        """When the next run or wait is due, as far as is known; None if none is."""
        return self._next_due

    def wake_by(self, moment: int) -> None:
        """Fire the timer at this moment, or earlier."""
        if self._next_due is None or moment < self._next_due:
            self._next_due = moment
            self._arm()

    def triggers_are_due(self, due: dict[str, int]) -> None:
        """Replace the due times of the triggers."""
        self._triggers.due = due
        self._arm()

    def something_ended(self) -> None:
        """Schedule the retention for a run that ended."""
        shortest = min((age for age in self.keep.values() if age is not None), default=SIGNALS_KEPT)
        moment = self._clock.now() + max(shortest, PRUNE_PAUSE_MS)
        if self._next_prune is None or moment < self._next_prune:
            self._next_prune = moment
            self._arm()

    def slots(self) -> list[tuple[Schedule, int | None]]:
        """The schedules of the catalog, each with its next slot, unless it is paused."""
        return [(schedule, self._next_slots.get(name)) for name, schedule in self._schedules.items()]

    async def prune_now(self) -> None:
        """Delete all runs that are past their retention time."""
        while True:
            again_at = await self._store.prune_runs(self.keep, PRUNE_BATCH)
            if again_at is None or again_at > self._clock.now():
                return

    # Commands

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"schedules": self._list, "pause_schedule": self._pause}

    async def _list(self, _: Nothing) -> dict[str, Any]:
        """The schedules with their next slots."""
        return {"schedules": [schedule.as_json(next_at) for schedule, next_at in self.slots()]}

    async def _pause(self, request: PauseSchedule) -> dict[str, Any]:
        """Pause a schedule, or resume it with the next slot from now."""
        workflow = request.workflow
        if self._catalog is not None:
            check_schedule(self._catalog, workflow)
        await self._store.pause_schedule(workflow, request.paused, self._clock.now())
        self._schedules = {schedule.workflow: schedule for schedule in await self._store.list_schedules()}
        self._advance(workflow, self._clock.now())
        self._arm()
        return {}

    async def read_again(self) -> None:
        """Read the schedules and triggers again, because another server changed one."""
        self._schedules = {schedule.workflow: schedule for schedule in await self._store.list_schedules()}
        for schedule in self._schedules.values():
            self._advance(schedule.workflow, schedule.last_slot)
        self._arm()

    # The timer

    def next_moment(self) -> int | None:
        """When something is due next, in milliseconds since 1970."""
        moments = [moment for moment in (self.next_work(), self._next_prune) if moment is not None]
        return min(moments, default=None)

    def next_work(self) -> int | None:
        """When the next run, wait, slot or evaluation is due, or None: the retention can wait."""
        moments = [*self._next_slots.values()]
        if self.fires:
            moments += (moment for name, moment in self._triggers.due.items() if name in self._triggers.catalog.triggers)
        if self._next_due is not None:
            moments.append(self._next_due)
        return min(moments, default=None)

    def _arm(self, least: float = 0.0) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (moment := self.next_moment()) is not None:
            seconds = (moment - self._clock.now()) / 1000
            self._timer = self._loop.call_later(min(max(seconds, least), LONGEST_SLEEP), self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        failed = False
        try:
            now = self._clock.now()
            failed = await self._start_due(now)
            if self._next_due is not None and self._next_due <= now:
                self._next_due = None
                await self._store.wake_due_runs()
                due = await self._store.get_next_due()
                if due is not None and (self._next_due is None or due < self._next_due):
                    self._next_due = due
            if self._next_prune is not None and self._next_prune <= now:
                await self._prune()
        except Exception as error:  # after any error, later slots must still fire
            self._say("the scheduler", error)
            self._next_due = self._clock.now()
            failed = True
        finally:
            self._arm(PAUSE_AFTER_TROUBLE if failed else 0.0)

    async def _start_due(self, now: int) -> bool:
        """Start what schedules and triggers start now; returns whether any of it failed."""
        failed = False
        for workflow in [name for name, slot in self._next_slots.items() if slot <= now]:
            failed = await self._guarded(self._tick(workflow), f"the schedule of {workflow}") or failed
        if self.fires:
            failed = await self._guarded(self._triggers.evaluate_due(), "the evaluation of triggers") or failed
        return failed

    async def _guarded(self, work: Awaitable[None], what: str) -> bool:
        """Do one part of the work and return whether it failed. An error must not stop the other parts."""
        try:
            await work
        except Exception as error:
            self._say(what, error)
            return True
        self._events.unexpected.over(what)
        return False

    def _say(self, what: str, error: Exception) -> None:
        if isinstance(error, TakoError):
            self._events.trouble(f"{what} will be retried: {error.message}")
        else:
            self._events.unexpected.raised(what, error)

    async def _prune(self) -> None:
        again_at = await self._store.prune_runs(self.keep, PRUNE_BATCH)
        now = self._clock.now()
        if again_at is None:
            self._next_prune = None
        elif again_at <= now:
            self._next_prune = now + 50  # small batches with pauses, so that other transactions are not delayed
        else:
            self._next_prune = max(again_at, now + PRUNE_PAUSE_MS)

    # Schedules

    async def _tick(self, workflow: str) -> None:
        schedule = self._schedules.get(workflow)
        spec = self._catalog.workflows.get(workflow) if self._catalog is not None else None
        if schedule is None or spec is None or schedule.paused:
            self._next_slots.pop(workflow, None)
            return
        from tako_lite.cron import due_slots  # time zones and cronsim: many projects have no schedules

        now = self._clock.now()
        cron, zone = cron_of(schedule.cron), schedule.timezone
        expression = Expression(schedule.cron, schedule.timezone)
        due = due_slots(cron, zone, schedule.last_slot, now, spec.options.catch_up, GRACE_MS)
        self._count_missed(schedule, due, now - GRACE_MS)
        for slot in due.fire:
            run = make_run(spec, "null", EnqueueRequest(at=slot), self.router, now)
            self.before_enqueue(run)
            if not await self._store.fire_schedule(workflow, slot, [run], expression) and self._store.membership is not None:
                await self.read_again()  # another server took it, or paused or changed the schedule
                return
            self._note(workflow, slot, fired_at=slot)
        if due.last > max([schedule.last_slot, *due.fire]):
            await self._store.fire_schedule(workflow, due.last, [], expression)
            self._note(workflow, due.last)
        self._advance(workflow, max(due.last, schedule.last_slot))

    def _count_missed(self, schedule: Schedule, due: Due, in_time: int) -> None:
        """Count the slots before `in_time`: those that are run now, and whether others are passed over."""
        from tako_lite.cron import next_slot

        if late := sum(slot < in_time for slot in due.fire):
            self.missed[schedule.workflow, "yes"] += late
        first = next_slot(cron_of(schedule.cron), schedule.timezone, schedule.last_slot)
        if first is not None and first < in_time and first not in due.fire:
            self.missed[schedule.workflow, "no"] += 1

    def _note(self, workflow: str, last_slot: int, fired_at: int | None = None) -> None:
        old = self._schedules[workflow]
        fired = old.fired_at if fired_at is None else fired_at
        self._schedules[workflow] = old._replace(last_slot=last_slot, fired_at=fired)

    def _advance(self, workflow: str, after: int) -> None:
        schedule = self._schedules.get(workflow)
        self._next_slots.pop(workflow, None)
        if schedule is not None and not schedule.paused and self.fires:
            from tako_lite.cron import next_slot

            slot = next_slot(cron_of(schedule.cron), schedule.timezone, after)
            if slot is not None:
                self._next_slots[workflow] = slot
