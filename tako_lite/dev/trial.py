"""Imports the modules of a group in a worker that takes no runs, to learn whether they import, and which files they use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from tako_lite.config import GroupSettings
from tako_lite.daemon.link import WorkerLink
from tako_lite.daemon.spawner import Spawner
from tako_lite.daemon.worker_session import stamps_of
from tako_lite.errors import TakoError
from tako_lite.processes.child import Child
from tako_lite.protocol.worker import FromWorker, StopFrame
from tako_lite.stamps import FileStamp

LAST_OUTPUT: Final = 4096
"""Bytes of a trial's output that are kept, for the report of one that ends without a word."""


class Imported(NamedTuple):
    """The error of an import, or None, and the stamps of the project's files that were imported."""

    error: str | None
    files: dict[str, FileStamp]


async def try_import(spawner: Spawner, settings: GroupSettings, modules: Sequence[str]) -> Imported:
    """Import modules in a new worker with the settings of a group, which ends at once."""
    trial = _Trial()
    try:
        child = await spawner.try_fork(settings, list(modules), trial.died)
    except (TakoError, OSError) as error:
        return Imported(str(error), {})
    try:
        return await trial.run(child, settings.startup_timeout)
    finally:
        child.kill()
        await trial.ended.wait()
        await child.reap()
        trial.close()


class _Trial:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Imported] = self._loop.create_future()
        self._link = WorkerLink(self._on_frame, self._on_lost, lambda error: self._on_lost(str(error)))
        self._output = -1
        self._said = b""

    async def run(self, child: Child, limit: float) -> Imported:
        """What the worker reports once it has imported everything."""
        self._output = child.output
        self._loop.add_reader(child.output, self._on_output)
        await self._loop.create_connection(lambda: self._link, sock=child.link)
        try:
            outcome = await asyncio.wait_for(self._outcome, limit)
        except TimeoutError:
            return Imported(f"was not ready within startup_timeout = {limit:g} s", {})
        self._link.send(StopFrame(t="stop"))
        return outcome

    def died(self, child: Child) -> None:
        self.ended.set()
        self._on_lost(None)

    def close(self) -> None:
        self._link.close()
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)

    def _on_frame(self, frame: FromWorker) -> None:
        if frame["t"] == "ready":
            self._settle(Imported(None, stamps_of(frame["files"])))
        elif frame["t"] == "broken":
            self._settle(Imported(str(frame["error"]), {}))

    def _on_lost(self, reason: str | None) -> None:
        last = self._said.decode(errors="backslashreplace").strip().rpartition("\n")[2]
        self._settle(Imported(reason or f"a worker ended before it was ready; its last output: {last or 'none'}", {}))

    def _settle(self, outcome: Imported) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _on_output(self) -> None:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._output)
        self._said = (self._said + data)[-LAST_OUTPUT:]
