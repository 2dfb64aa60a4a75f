"""`serve --idle-exit`: ends the daemon when nothing has run, become due or connected for a while.

The service manager holds the listening socket and starts the daemon again for the next client. No client may be lost in
between: the daemon first stops accepting, lets the event loop deliver the clients that it has accepted, and checks once more.
Clients that connect later wait in the backlog of the socket, which outlives the daemon.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, Protocol

from tako_lite.clock import Clock
from tako_lite.daemon.commands import Commands
from tako_lite.daemon.control import Control
from tako_lite.daemon.dashboard import Dashboard
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.ending import Ending
from tako_lite.daemon.fallbacks import Fallbacks
from tako_lite.daemon.scheduler import Scheduler
from tako_lite.store.base import Store
from tako_lite.units import duration_text

NEXT_DUE: Final = "next-due"
"""The file in the state folder with the time, in milliseconds, at which the daemon must run again."""
SOON: Final = 10.0
"""The daemon stays if something becomes due within so many seconds, or within its idle time: a start costs more."""
CHECKS: Final = 10
"""How often the daemon checks within the time after which it ends."""
SHORTEST, LONGEST = 0.02, 60.0
"""Seconds between two checks."""
TURNS: Final = 3
"""Turns of the event loop after which every client that was accepted is known."""


class IdleHost(Protocol):
    """The members of the daemon that show whether it is idle."""

    clock: Clock
    commands: Commands
    control: Control
    dashboard: Dashboard
    dispatcher: Dispatcher
    ending: Ending
    fallbacks: Fallbacks
    scheduler: Scheduler
    store: Store


class IdleExit:
    """Requests the end of a daemon that has been idle for so many seconds."""

    def __init__(self, host: IdleHost, seconds: float) -> None:
        self._host = host
        self._seconds = seconds
        self._pause = min(max(seconds / CHECKS, SHORTEST), LONGEST)

    async def watch(self) -> None:
        """Check from time to time, and request the end once the daemon was idle for long enough."""
        host, seen, since = self._host, self._activity(), time.monotonic()
        while True:
            await asyncio.sleep(self._pause)
            now = self._activity()
            if now != seen or self._is_busy():
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= self._seconds and await self.is_left_alone():
                host.ending.wakes_up_later = True
                host.ending.request(f"idle for {duration_text(self._seconds)}")
                return

    async def is_left_alone(self) -> bool:
        """Stop accepting clients; resume if one came in the meantime. Returns whether none did."""
        before = self._activity()
        self._host.control.pause()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if self._activity() == before and not self._is_busy():
            return True
        await self._host.control.resume()
        return False

    def _activity(self) -> tuple[int, int, int]:
        """Numbers that grow when something happens."""
        control = self._host.control
        return control.accepted, sum(control.requests.values()), self._host.dispatcher.arrivals

    def _is_busy(self) -> bool:
        host = self._host
        due = host.scheduler.next_work()
        return (
            host.dispatcher.is_busy
            or host.control.is_asked
            or bool(host.dashboard.pids)
            or host.commands.bulk.is_working
            or host.fallbacks.is_waiting
            or (due is not None and due - host.clock.now() <= 1000 * min(SOON, self._seconds))
        )


async def write_next_due(host: IdleHost, state_dir: Path) -> None:
    """Write when the daemon must run again; no file if nothing will become due. Raises StoreError and OSError."""
    ready, suspects = await host.store.list_groups_with_work()
    waiting = [name for name in ready | suspects if not host.dispatcher.groups[name].paused]
    moments = [host.clock.now()] if waiting else []
    moments += (moment for moment in (host.scheduler.next_work(), await host.store.get_next_due()) if moment is not None)
    if moments:
        (state_dir / NEXT_DUE).write_text(f"{min(moments)}\n")


def forget_next_due(state_dir: Path) -> None:
    """Remove the file: the daemon runs."""
    (state_dir / NEXT_DUE).unlink(missing_ok=True)
