"""Applies fallbacks to queued runs while their group is unavailable: paused, unable to start, or served by no live server.

A run that is enqueued to an unavailable group gets its fallback at that moment. The runs that were queued before, and those
that become due later, get it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tako_lite.clock import Clock
from tako_lite.daemon.events import Events
from tako_lite.errors import TakoError
from tako_lite.processes.group import Group
from tako_lite.routing import no_worker
from tako_lite.store.base import Store

LONGEST_SLEEP: Final = 60.0
"""Seconds; bounds the delay after the machine was suspended or the clock was set."""
PAUSE_AFTER_TROUBLE: Final = 1.0
CHECK_INTERVAL: Final = 0.5
"""Seconds between two searches for runs that have waited for too long."""


class Fallbacks:
    """Applies the fallbacks of runs in unavailable groups, and ends runs that have waited for longer than wait_timeout."""

    def __init__(self, store: Store, clock: Clock, events: Events, trouble_of: Callable[[str], str | None]) -> None:
        self._store = store
        self._trouble_of = trouble_of
        self._clock = clock
        self._events = events
        self._lost: dict[str, Group] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._checked_at: dict[str, float] = {}
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    def waits_in(self, group: Group) -> None:
        """A run for an unavailable group is about to be stored: arm the group's wait_timeout, if it has one."""
        if group.settings.wait_timeout is not None and group.name not in self._timers:
            self._loop.call_soon(self.reevaluate, group)

    def reevaluate(self, group: Group) -> None:
        """Apply fallbacks because a group became unavailable or available, or an unavailable one got due runs."""
        if self._stopped or (group.name not in self._lost and self._trouble_of(group.name) is None):
            return
        name = group.name
        self._lost[name] = group
        if (task := self._tasks.get(name)) is not None and not task.done():
            self._again.add(name)
            return
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        self._tasks[name] = self._loop.create_task(self._work(group))

    @property
    def is_waiting(self) -> bool:
        """Whether a run waits for an unavailable group, and ends if that takes too long."""
        return bool(self._timers)

    def stop(self) -> None:
        """Apply no more fallbacks; twice is harmless."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()

    async def _work(self, group: Group) -> None:
        name = group.name
        try:
            while True:
                self._again.discard(name)
                pause = await self._apply(group)
                if name not in self._again:
                    break
        except Exception as error:  # of any kind: runs that waited for too long must still end
            if isinstance(error, TakoError):
                self._events.trouble(f"cannot apply the fallbacks of group {name}: {error.message}")
            else:
                self._events.unexpected.raised(f"the fallbacks of group {name}", error)
            pause = PAUSE_AFTER_TROUBLE
        if pause is not None and not self._stopped:
            self._timers[name] = self._loop.call_later(min(pause, LONGEST_SLEEP), self.reevaluate, group)

    async def _apply(self, group: Group) -> float | None:
        """Apply what applies now; returns the seconds until the next run times out, or None."""
        if (trouble := self._trouble_of(group.name)) is None:
            await self._store.mark_group_available(group.name)
            if self._trouble_of(group.name) is None:
                self._lost.pop(group.name, None)
            return None
        wait = group.settings.wait_timeout
        since = self._loop.time() - self._checked_at.get(group.name, -CHECK_INTERVAL)
        if wait is not None and since < CHECK_INTERVAL:  # the search reads the whole queue of the group
            await self._store.mark_group_unavailable(group.name, no_worker(trouble), None)
            return CHECK_INTERVAL - since
        self._checked_at[group.name] = self._loop.time()
        timeout = None if wait is None else round(wait * 1000)
        next_at = await self._store.mark_group_unavailable(group.name, no_worker(trouble), timeout)
        return None if next_at is None else max((next_at - self._clock.now()) / 1000, 0.0)
