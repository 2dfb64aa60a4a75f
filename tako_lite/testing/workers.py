"""Workers in the process of the test: what stands for a child process, its link, and its output."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from tako_lite.config import GroupSettings
from tako_lite.daemon.spawner import Spawner
from tako_lite.daemon.worker_session import WorkerSession
from tako_lite.hooks import attempt_hooks, step_hooks
from tako_lite.processes.child import Child, Exit
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker
from tako_lite.protocol.worker import HooksFrame, ReadyFrame, ToWorker
from tako_lite.testing.executor import LocalExecutor
from tako_lite.testing.names import ENTRY, SETUP
from tako_lite.worker.link import Link
from tako_lite.worker.setup import find_function

if TYPE_CHECKING:
    from tako_lite.daemon.logs import Capture
    from tako_lite.testing.script import Script
    from tako_lite.worker.loader import Loader


class Pipe(asyncio.Transport):
    """One end of a socketpair in memory: what is written arrives at the other end in a later turn of the loop."""

    def __init__(self, peer: asyncio.Protocol, base: contextvars.Context) -> None:
        super().__init__()
        self._peer = peer
        self._base = base
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        # In the context of neither end: a task that the receiver starts must not belong to the run that was sending.
        self._loop.call_soon(self._peer.data_received, bytes(data), context=self._base)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def get_write_buffer_size(self) -> int:
        return 0


class NoCapture:
    """What stands for the pipe of a worker's output: the test's own streams have it, see `output`."""

    def finish(self) -> None: ...

    def last_lines(self) -> list[str]:
        return []

    def runs_ended(self, runs: list[str]) -> None: ...


class LocalChild:
    """What stands for a worker's process. Killing it leaves its runs where they are: none of their code is executed again."""

    cpu_seconds = None
    resident_bytes = None

    def __init__(self, on_death: Callable[[Child], None], base: contextvars.Context) -> None:
        self.pid = os.getpid()
        self._base = base
        self.has_ended = False
        self.executor: LocalExecutor | None = None
        self.link: Link | None = None
        self._code: int | None = None
        self._on_death = on_death

    def kill(self) -> None:
        """End at once, as by SIGKILL."""
        self._end(-signal.SIGKILL)

    def finish(self) -> None:
        """End in order, after the last run."""
        self._end(0)

    def _end(self, code: int) -> None:
        if self.has_ended:
            return
        self.has_ended, self._code = True, code
        if self.link is not None:
            self.link.disconnect()
        if self.executor is not None:
            self.executor.die()
        # Not in the context of the run that dies here: what the daemon does about it would belong to that run.
        asyncio.get_running_loop().call_soon(self._on_death, cast("Child", self), context=self._base)

    async def reap(self) -> Exit:
        """How it ended."""
        return Exit(self._code)

    async def ask(self, question: bytes, timeout: float) -> bytes | None:
        """Nothing: the steps under way are asked of the executor."""
        return None


class LocalSpawner(Spawner):
    """The owner of all groups, whose workers are executors on the loop of the daemon."""

    loader: Loader
    script: Script
    base: contextvars.Context

    async def spawn(self, worker: Worker, on_death: Callable[[Child], None]) -> Child:
        settings = worker.group.settings
        await self._set_up(settings)
        child = LocalChild(on_death, self.base)
        worker.child = cast("Child", child)
        session = WorkerSession(worker, cast("Capture", NoCapture()), self._outcomes, self._events, self._on_ready)
        self._dispatcher.sessions[worker] = session
        link = child.link = Link(lambda frame: _receive(child, frame), lambda: None)
        link.connection_made(Pipe(session.protocol, self.base))
        session.protocol.connection_made(Pipe(link, self.base))
        child.executor = LocalExecutor(link, self.loader, settings.name, worker.slots, self.base, self.script, child.kill)
        self._meter.worker_started(settings.name, worker.cause)
        if attempt_hooks or step_hooks:
            link.say(HooksFrame(t="hooks"))
        link.say(ReadyFrame(t="ready", pid=child.pid, workflows=[], files={}))
        return worker.child

    async def warm_up(self, settings: GroupSettings) -> None:
        """There is no fork server."""

    async def wait_first_start(self, group: Group, timeout: float) -> None:
        """Workers start when the test lets runs start."""

    async def _set_up(self, settings: GroupSettings) -> None:
        """Call the `setup` of a group before its first worker."""
        entry = settings.env.get(SETUP) if settings.setup == ENTRY else settings.setup
        if entry is None or entry in self.script.set_up:
            return
        self.script.set_up.add(entry)
        returned = find_function("setup", entry, self.loader)()
        if inspect.isawaitable(returned):
            await returned


def _receive(child: LocalChild, frame: ToWorker) -> None:
    if child.executor is None or child.has_ended:
        return
    if frame["t"] == "stop":
        child.executor.drain(child.finish)
    else:
        child.executor.receive(frame)
