"""Warns when a handler blocks the event loop of its worker: which run, at which line, for how long."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from tako_lite.worker.run import ActiveRun, current_run


class StallWatch:
    """Probes the loop at each heartbeat, from the guard's thread, and warns once each time that it is blocked."""

    def __init__(self, root: Path, runs: Mapping[str, ActiveRun]) -> None:
        self._root = f"{root}/"
        self._runs = runs
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked_at: float | None = None
        self._warned = False

    def probe(self) -> None:
        """Ask the loop for a sign of life, or warn that it has not answered the last probe."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer)
        elif not self._warned:
            self._warned = True
            # In a thread of its own: handlers may have replaced sys.stderr by something that fails or blocks.
            seconds, context = time.monotonic() - self._asked_at, contextvars.copy_context()
            threading.Thread(target=context.run, args=(self._warn, seconds), daemon=True).start()

    def _answer(self) -> None:
        self._asked_at = None
        self._warned = False

    def _warn(self, seconds: float) -> None:
        current_run.set(self._run())  # so that the line is tagged with the run
        place = _place(sys._current_frames().get(self._thread), self._root)
        hint = "put blocking code into a plain function, for step.run or as the handler itself"
        sys.stderr.write(f"warning: the event loop of this worker has been blocked for {seconds:.1f} s{place}; {hint}\n")

    def _run(self) -> ActiveRun | None:
        task = asyncio.current_task(self._loop)
        return next((run for run in list(self._runs.values()) if run.task is task or task in run.tasks), None)


def _place(frame: FrameType | None, root: str) -> str:
    """The innermost line of the user's code, which is in a file below the root."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(root):
            return f" at {frame.f_code.co_filename.removeprefix(root)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""
