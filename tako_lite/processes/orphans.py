"""Collects the orphans that the daemon inherits, as their subreaper or as the first process of a container.

A worker is a child of its fork server, so the daemon inherits what outlives its own parent, such as the second child of a
double fork. It must not collect the children that other code waits for: fork servers, workers whose fork server is gone, and
`others`. The interpreters that `catalog` runs are collected too: it reads their output, and does not need their exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from tako_lite.linux import ON_LINUX, children, dead_child
from tako_lite.processes.child import WorkerRecords
from tako_lite.processes.forkserver import ForkServers

AT_ONCE: Final = 500
"""Dead children that one turn of the loop collects."""


class Orphans:
    """Collects children on SIGCHLD, and never polls."""

    def __init__(self, records: WorkerRecords, servers: ForkServers, others: Callable[[], set[int]]) -> None:
        self._records = records
        self._servers = servers
        self._others = others
        self._loop = asyncio.get_running_loop()
        self._before: Any = None
        self._scheduled = False

    def start(self) -> None:
        """Collect the children that are dead, and from now on each child that dies."""
        if ON_LINUX and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGCHLD, self._on_signal)
            self._collect()

    def stop(self) -> None:
        """Stop collecting; twice is harmless."""
        if self._before is not None:
            signal.signal(signal.SIGCHLD, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._scheduled = False
        kept = self._records.live | self._servers.poll() | self._others()
        for _ in range(AT_ONCE):
            pid = dead_child()
            if pid is None:
                return
            if pid in kept:  # the kernel would name this one again and again
                break
            _wait_for(pid)
        else:
            self._on_signal(signal.SIGCHLD, None)
            return
        for pid in children():
            if pid not in kept:
                _wait_for(pid)


def _wait_for(pid: int) -> None:
    """Collect a child if it is dead."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
