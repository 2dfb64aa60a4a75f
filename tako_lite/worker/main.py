"""The life of a worker process, from the fork to its last run."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import socket
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any, Final

from tako_lite import client
from tako_lite.linux import dump_no_core, keep_memory_private, kill_session
from tako_lite.secrets import Mask, give
from tako_lite.worker.executor import Executor
from tako_lite.worker.guard import Guard
from tako_lite.worker.link import Link
from tako_lite.worker.loader import CannotImport, Loader
from tako_lite.worker.output import tag_output
from tako_lite.worker.stall import StallWatch

COLLECT_AFTER: Final = 5_000
"""Containers made since the last collection. What a run leaves mostly frees itself; Python counts to 700."""


def main(task: dict[str, Any], link: int, guard: int, secrets: int | None = None) -> None:
    """Run until the daemon says stop. `task`: group, root, package, modules, slots, beat."""
    mask = give(task["group"], {} if secrets is None else _receive(secrets))
    worker, selector = os.getpid(), selectors.DefaultSelector()
    os.register_at_fork(after_in_child=partial(_let_go, (link, guard), selector))
    with asyncio.Runner(loop_factory=partial(asyncio.SelectorEventLoop, selector)) as runner:
        try:
            runner.run(_Worker(task, link, guard, mask).run())
        except BaseException:
            # sys.exit in a task of a handler. The loop's end would cancel its neighbours, and that would be charged to them.
            if os.getpid() == worker:
                traceback.print_exc()
            else:
                sys.stderr.write("a process that a handler forked went on with the handler, and was ended: let it end itself\n")
            os._exit(1)


def _let_go(sockets: tuple[int, ...], selector: selectors.BaseSelector) -> None:
    """In a process that a handler forked: it can neither speak nor listen for the worker, and ends if it gets into its loop."""
    if selector.get_map() is None:
        return  # its parent had let go before: the numbers may be those of other files by now
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in sockets:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    selector.close()


def _receive(descriptor: int) -> dict[str, str]:
    """The values of the group's secrets, which come once; the descriptor is closed before any code of the user's runs."""
    dump_no_core()
    keep_memory_private()
    with open(descriptor, "rb") as stream:
        values: dict[str, str] = json.load(stream)
    return values


class _Worker:
    def __init__(self, task: dict[str, Any], link: int, guard: int, mask: Mask) -> None:
        self._task = task
        self._mask = mask
        self._link_descriptor = link
        self._guard_descriptor = guard
        self._executor: Executor | None = None
        self._stalls: StallWatch | None = None

    async def run(self) -> None:
        self._over = asyncio.Event()
        self._guard = Guard(self._guard_descriptor, self._task["beat"], self._is_busy, self._on_beat)
        self._guard.start()
        output = tag_output(self._mask)
        self._link = Link(self._on_frame, self._on_lost)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._link, sock=socket.socket(fileno=self._link_descriptor))
        loader = Loader(Path(self._task["root"]), Path(self._task["package"]))
        try:
            workflows = loader.load(self._task["modules"])
        except CannotImport as error:
            self._link.say({"t": "broken", "error": error.message})
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        self._executor = Executor(self._link, loader, self._task["slots"], output.finish)
        self._stalls = StallWatch(Path(self._task["root"]), self._executor.runs)
        client.use_link(self._link.command, loop)
        self._link.say({"t": "ready", "pid": os.getpid(), "workflows": workflows, "files": loader.files()})
        await self._over.wait()
        self._link.flush()

    def _is_busy(self) -> bool:
        return self._executor is None or bool(self._executor.runs)

    def _on_beat(self) -> None:
        if self._stalls is not None:
            self._stalls.look()

    def _on_frame(self, frame: dict[str, Any]) -> None:
        executor = self._executor
        kind = frame["t"]
        if kind == "stop" and executor is None:
            self._over.set()
        elif executor is None:
            return
        elif kind == "run":
            for pushed in frame["runs"]:
                executor.start(pushed)
            self._guard.busy()
        elif kind == "answers":
            for sequence, answer in frame["answers"]:
                self._link.answer(sequence, answer)
        elif kind == "resolved":
            executor.resolved(frame["id"], frame["name"], frame["state"], frame["text"])
        elif kind == "steps":
            executor.add_steps(frame["id"], frame["steps"])
        elif kind == "cancel":
            executor.cancel(frame["id"])
        elif kind == "stop":
            executor.drain(self._over.set)

    def _on_lost(self) -> None:
        """The daemon is gone, or it has given this worker up."""
        kill_session(os.getpid())
        os._exit(1)
