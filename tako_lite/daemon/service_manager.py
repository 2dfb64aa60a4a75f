"""What the daemon tells the service manager: the protocol of sd_notify(3), without a library.

Without `NOTIFY_SOCKET` in the environment, nothing is sent. The watchdog wakes the daemon up only if the unit asks for it
(`WatchdogSec=`). The variables are removed from the environment, so that no worker inherits them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable, MutableMapping
from contextlib import suppress

from tako_lite.processes.group import Group
from tako_lite.units import counted

_GRACE = 30.0
"""Seconds that the end of the daemon may take beyond the longest `drain_timeout`."""


class ServiceManager:
    """Sends the state of the daemon to the service manager that started it, if there is one."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        place = environment.pop("NOTIFY_SOCKET", "")
        pause = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", str(os.getpid()))
        self._watchdog = int(pause) / 2_000_000 if pause.isdecimal() and watched == str(os.getpid()) else 0.0
        self._address = f"\0{place[1:]}" if place.startswith("@") else place
        self._socket: socket.socket | None = None
        self._status = ""
        self._timer: asyncio.TimerHandle | None = None
        if place.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def ready(self, groups: Iterable[Group]) -> None:
        """The daemon serves, or has finished to reload."""
        self._status = _summary(groups)
        self._send("READY=1", f"STATUS={self._status}")
        if self._timer is None and self._watchdog and self._socket is not None:
            self._ping()

    def reloading(self) -> None:
        """The daemon begins to reload; `ready` ends this."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def changed(self, groups: Iterable[Group]) -> None:
        """The state of a group may have changed."""
        if self._socket is not None and (status := _summary(groups)) != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def stopping(self, groups: Iterable[Group]) -> None:
        """The daemon drains its workers: it needs as long as the longest `drain_timeout`, whatever the unit says."""
        longest = max((group.settings.drain_timeout for group in groups), default=0.0) + _GRACE
        self._send("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={round(longest * 1_000_000)}")

    def failed(self, why: str) -> None:
        """The daemon ends because of an error."""
        self._send(f"STATUS=failed: {' '.join(why.split())}")

    def close(self) -> None:
        """Send nothing more; twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ping(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._watchdog, self._ping)
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with suppress(OSError):  # a service manager that is gone or busy must not disturb the daemon
                self._socket.sendto("\n".join(lines).encode(errors="replace"), socket.MSG_DONTWAIT, self._address)


def _summary(groups: Iterable[Group]) -> str:
    """`3 groups, 2 workers; unhealthy: email`, the line that `systemctl status` shows."""
    found = list(groups)
    workers = sum(len(group.workers) for group in found)
    text = f"{counted(len(found), 'group')}, {counted(workers, 'worker')}"
    failing = sorted(group.name for group in found if group.failures and not group.paused)
    return f"{text}; cannot start: {', '.join(failing)}" if failing else text
