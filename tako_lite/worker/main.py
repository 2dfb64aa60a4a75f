"""The life of a worker process, from the fork to its end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import socket
import traceback
from pathlib import Path
from typing import Final

from tako_lite import client, engine
from tako_lite.hooks import attempt_hooks, step_hooks, teardown_hooks
from tako_lite.linux import dump_no_core, keep_memory_private, kill_session
from tako_lite.protocol.forkserver import WorkerTask
from tako_lite.protocol.worker import (
    BrokenFrame,
    FilesFrame,
    HooksFrame,
    InFlight,
    ReadyFrame,
    ToWorker,
)
from tako_lite.secrets import install
from tako_lite.worker.ending import wind_down
from tako_lite.worker.executor import Executor
from tako_lite.worker.forked import Connections, end_fork, is_fork
from tako_lite.worker.guard import Guard
from tako_lite.worker.link import Link
from tako_lite.worker.loader import CannotImport, Loader
from tako_lite.worker.loop import choose_loop, offer_loop
from tako_lite.worker.output import Output
from tako_lite.worker.rehearsal import rehearse
from tako_lite.worker.setup import find_function, set_up
from tako_lite.worker.stall import StallWatch

__all__ = ["main", "rehearse"]  # what a fork server calls

COLLECT_AFTER: Final = 5_000
"""New containers between two collections. Runs rarely leave cycles, so this is more than Python's 700."""


def main(task: WorkerTask, link: int, guard: int, secrets: int | None = None) -> None:
    """Run until the daemon sends `stop`."""
    engine.withheld = task["withheld"]
    output = Output(install(task["group"], {} if secrets is None else _receive(secrets)))
    output.install()
    connections = Connections(link, guard)
    worker = _Worker(task, link, guard, output)
    connections.loop = offer_loop()
    connections.loop = worker.load(connections.loop)
    if is_fork():
        end_fork(worker.failed_import)
    loop = connections.loop = choose_loop(connections.loop)
    try:
        loop.run_until_complete(worker.run())
    except BaseException as error:
        if is_fork():
            end_fork(error)
        # sys.exit in a task of a handler: ending the loop would cancel the other runs, and charge them.
        traceback.print_exc()
        output.finish_all()
        os._exit(1)
    client.use_link(None)  # the link is closed: what exit handlers enqueue goes over the control socket
    wind_down(loop, task["drain"], worker.end_threads, teardown_hooks)
    output.finish_all()


def _receive(descriptor: int) -> dict[str, str]:
    """Read the values of the group's secrets; the descriptor is closed before any user code runs."""
    dump_no_core()
    keep_memory_private()
    with open(descriptor, "rb") as stream:
        values: dict[str, str] = json.load(stream)
    return values


class _Worker:
    def __init__(self, task: WorkerTask, link: int, guard: int, output: Output) -> None:
        self.failed_import: BaseException | None = None
        self._task = task
        self._output = output
        self._link_descriptor = link
        self._executor: Executor | None = None
        self._stalls: StallWatch | None = None
        self._guard = Guard(guard, task["beat"], self._is_busy, self._on_beat, self._in_flight)
        self._guard.start()
        self._loader = Loader(Path(task["root"]), Path(task["package"]))
        self._workflows: list[str] = []
        self._trouble: str | None = None
        self._has_hooks = False

    def load(self, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """Call the group's `setup`, then import its modules, before a loop runs, as any program does.

        Returns the loop that is current after `setup`, which gets it from the caller.
        """
        try:
            if (entry := self._task["setup"]) is not None:
                loop = set_up(entry, self._loader, loop)
            if (entry := self._task["teardown"]) is not None:
                teardown_hooks.insert(0, find_function("teardown", entry, self._loader))  # called last
            self._workflows = self._loader.load(self._task["modules"])
        except CannotImport as error:
            self._trouble, self.failed_import = error.message, error.__cause__
        return loop

    async def run(self) -> None:
        """Connect to the daemon, and take runs until it sends `stop`."""
        self._over = asyncio.Event()
        self._link = Link(self._on_frame, self._on_lost)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._link, sock=socket.socket(fileno=self._link_descriptor))
        if self._trouble is not None:
            self._link.say(BrokenFrame(t="broken", error=self._trouble))
            await self._link.sent()
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        base = contextvars.copy_context()
        self._executor = Executor(self._link, self._loader, self._task["group"], self._task["slots"], self._on_end, base)
        self._stalls = StallWatch(Path(self._task["root"]), self._executor.runs)
        client.use_link(self._link.command, loop)
        self._report_hooks()
        ready = ReadyFrame(t="ready", pid=os.getpid(), workflows=self._workflows, files=self._loader.new_files())
        self._link.say(ready)
        await self._over.wait()
        self._link.flush()
        await self._link.sent()

    def end_threads(self) -> None:
        """Let the threads of the worker end."""
        if self._executor is not None:
            self._executor.end_threads()

    def _on_end(self, run_id: str) -> None:
        self._output.finish(run_id)
        if files := self._loader.new_files():  # a handler may have imported some
            self._link.say(FilesFrame(t="files", files=files))
            self._report_hooks()

    def _report_hooks(self) -> None:
        """Ask for the facts of runs, once hooks are registered."""
        if not self._has_hooks and (attempt_hooks or step_hooks):
            self._has_hooks = True
            self._link.say(HooksFrame(t="hooks"))

    def _is_busy(self) -> bool:
        return self._executor is None or bool(self._executor.runs)

    def _in_flight(self) -> list[InFlight]:
        runs = [] if self._executor is None else list(self._executor.runs.values())
        return [step for run in runs for step in run.in_flight()]

    def _on_beat(self) -> None:
        if self._stalls is not None:
            self._stalls.probe()

    def _on_frame(self, frame: ToWorker) -> None:
        executor = self._executor
        if executor is None:
            if frame["t"] == "stop":
                self._over.set()
        elif frame["t"] == "stop":
            executor.drain(self._over.set)
        else:
            executor.receive(frame)
            if frame["t"] == "run":
                self._guard.busy()

    def _on_lost(self) -> None:
        """End at once: the daemon is gone or has closed the link."""
        kill_session(os.getpid())
        os._exit(1)
