"""Checks busy workers and broken groups every second, and sleeps while there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tako_lite.catalog import stamps
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.events import Events
from tako_lite.daemon.worker_session import WorkerSession
from tako_lite.processes.group import Group
from tako_lite.stamps import FileStamp

TICK: Final = 1.0
USED_CPU: Final = 0.05
"""Seconds of processor time above which a silent worker counts as computing, not as frozen."""


class Health:
    """Kills busy workers that are silent and use no processor; retries broken groups when their files change."""

    def __init__(self, dispatcher: Dispatcher, events: Events, workflows: Path) -> None:
        self.workflows = workflows
        self._dispatcher = dispatcher
        self._events = events
        self._stamps: dict[Path, FileStamp] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_tick = 0.0
        self._is_woken = False
        self._loop = asyncio.get_running_loop()
        self._guarded = events.unexpected.guarded
        self.on_tick: Callable[[], bool] = lambda: False
        """Another check to make at each tick; returns whether it needs the next tick."""

    def wake(self) -> None:
        """Start to tick, because there may be something to check."""
        self._is_woken = True
        if self._timer is None:
            self._last_tick = self._loop.time()
            self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Stop to tick; twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """Make all checks. An error in one of them stops neither the others nor the next tick."""
        self._timer = self._loop.call_later(TICK, self._tick)
        self._is_woken = False
        now = self._loop.time()
        stall = max(now - self._last_tick - TICK, 0.0)
        self._last_tick = now
        is_wrong = True
        with self._guarded("the check of the socket, the locks and the queue file"):
            is_wrong = self.on_tick()
        busy = [session for session in self._dispatcher.sessions.values() if session.assignments]
        for session in busy:
            with self._guarded(f"the health check of worker {session.worker.pid}"):
                session.last_heard += stall  # while the daemon itself was stalled, it could hear nothing
                self._check_worker(session, now)
        broken = [group for group in self._dispatcher.groups.values() if group.failures]
        with self._guarded("the watch of the workflow folder"):
            self._retry_at_change(broken)
        if not (busy or broken or is_wrong or self._is_woken):
            self._timer.cancel()
            self._timer = None

    def _retry_at_change(self, broken: list[Group]) -> None:
        """Retry broken groups once a file in the workflow folder has changed."""
        if not broken:
            self._stamps = None
            return
        seen, before = dict(stamps(self.workflows)), self._stamps
        self._stamps = seen
        if before is not None and seen != before:
            for group in broken:
                group.retry_now()

    def _check_worker(self, session: WorkerSession, now: float) -> None:
        """Kill a busy worker that was silent for heartbeat_timeout and used no processor; warn about one that used some.

        A worker whose processor time is unknown gets twice the time.
        """
        child, limit = session.worker.child, session.worker.group.settings.heartbeat_timeout
        silent = now - session.last_heard
        if child is None or silent < limit / 2:
            return
        used = child.cpu_seconds
        if used is None and silent < 2 * limit:
            return
        if session.cpu_mark is None and used is not None:
            session.cpu_mark = used
        elif silent >= limit:
            if used is not None and session.cpu_mark is not None and used - session.cpu_mark > USED_CPU:
                session.last_heard, session.cpu_mark = now, None
                self._events.slow(session, silent)
            else:
                session.kill_for(next(iter(session.assignments)), "silent")
