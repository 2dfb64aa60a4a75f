"""The scheduler of production without a timer: time passes when the test says so."""

from __future__ import annotations

from typing import Final

from tako_lite.cron import Due
from tako_lite.daemon.scheduler import Scheduler
from tako_lite.records import Schedule

DAY: Final = 86_400_000


class SteppedScheduler(Scheduler):
    """Has no timer: the test calls `work`."""

    is_firing = False
    """Whether schedules and triggers start runs now."""
    _expires: int | None = None
    """When the retention has something to delete, while it has deleted something within the last day."""

    def _arm(self, least: float = 0.0) -> None:
        """Nothing: time passes when the test says so."""

    async def work(self) -> None:
        """Do what is due now."""
        await self._work()

    def next_moment(self) -> int | None:
        if self.is_firing:
            return super().next_moment()
        moments = [moment for moment in (self._next_due, self._next_prune) if moment is not None]
        return min(moments, default=None)

    async def _start_due(self, now: int) -> bool:
        return await super()._start_due(now) if self.is_firing else False

    async def _prune(self) -> None:
        """Delete what is past its time, and again a day later at the earliest: virtual days are short."""
        await super()._prune()
        self._expires = self._next_prune
        if self._next_prune is not None and self._next_prune > (now := self._clock.now()) + 50:
            self._next_prune = max(self._next_prune, now + DAY)

    async def prune_late(self) -> None:
        """Delete what has been past its time for less than a day."""
        if self._expires is not None and self._expires <= self._clock.now():
            await self._prune()

    def _count_missed(self, schedule: Schedule, due: Due, in_time: int) -> None:
        """Nothing: no metrics are read."""

    def skip_missed(self) -> None:
        """Let the slots go by that passed while schedules did not fire."""
        for workflow in self._schedules:
            self._note(workflow, max(self._schedules[workflow].last_slot, self._clock.now()))
            self._advance(workflow, self._clock.now())
