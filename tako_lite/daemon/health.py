"""Looks after busy workers and whatever is broken, and sleeps while there is none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tako_lite.catalog import Stamp, stamps
from tako_lite.daemon.dispatcher import Dispatcher, Post
from tako_lite.daemon.events import Events

LOOK_EVERY: Final = 1.0
USED_CPU: Final = 0.05
"""Seconds of processor time that tell a long call from a frozen process."""


class Health:
    """Kills busy workers that are silent and do nothing; tries broken groups again when their files change."""

    def __init__(self, dispatcher: Dispatcher, events: Events, workflows: Path) -> None:
        self.workflows = workflows
        self._dispatcher = dispatcher
        self._events = events
        self._stamps: dict[Path, Stamp] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_look = 0.0
        self._loop = asyncio.get_running_loop()
        self.on_look: Callable[[], bool] = lambda: False
        """Looks after something else, and says whether it is to be looked after again."""

    def wake(self) -> None:
        """There may be something to look after."""
        if self._timer is None:
            self._last_look = self._loop.time()
            self._timer = self._loop.call_later(LOOK_EVERY, self._look)

    def stop(self) -> None:
        """Look no more; twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        stall = max(now - self._last_look - LOOK_EVERY, 0.0)
        self._last_look = now
        wrong = self.on_look()
        busy = [post for post in self._dispatcher.posts.values() if post.running]
        for post in busy:
            post.last_heard += stall  # while we were stalled ourselves, nobody could be heard
            self._judge(post, now)
        broken = [group for group in self._dispatcher.groups.values() if group.failures]
        if broken:
            seen = dict(stamps(self.workflows))
            if self._stamps is not None and seen != self._stamps:
                for group in broken:
                    group.retry_now()
            self._stamps = seen
        else:
            self._stamps = None
        if busy or broken or wrong:
            self._timer = self._loop.call_later(LOOK_EVERY, self._look)

    def _judge(self, post: Post, now: float) -> None:
        """Kill a busy worker that was silent for too long and used no processor meanwhile; warn of one that did."""
        child, limit = post.worker.child, post.worker.group.settings.heartbeat_timeout
        silent = now - post.last_heard
        if child is None or silent < limit / 2:
            return
        if post.cpu_mark is None:
            post.cpu_mark = child.cpu_seconds
        elif silent >= limit:
            if child.cpu_seconds - post.cpu_mark > USED_CPU:
                self._events.slow(post, silent)
                post.last_heard, post.cpu_mark = now, None
            else:
                self._dispatcher.blame(post, next(iter(post.running)), "silent")
