"""The orderly end of a worker: what was left under way is ended, then exit handlers run as at the end of any program."""

from __future__ import annotations

import asyncio
import atexit
import gc
import io
import os
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

SHARE: Final = 0.5
"""The part of `drain_timeout` that is left to tasks and threads, so that exit handlers have the rest."""
TRACKERS_TAKE: Final = 1.0
"""Seconds for the processes that remove what multiprocessing left: they wait for whoever else still uses it."""


def wind_down(loop: asyncio.AbstractEventLoop, drain_timeout: float, end_threads: Callable[[], None]) -> None:
    """End tasks and threads that are left, for a part of `drain_timeout` at most, and run the exit handlers.

    `end_threads` has the idle threads of the worker's own pool end.
    The order is Python's own: threads that are no daemons are waited for before exit handlers run. The interpreter itself is
    not finalized, and the loop stays open, for exit handlers that close their connections with it. What finalizing would do
    for the outside is done here: files that are still open are written out, and shared memory that nobody removed is removed.
    """
    give_up = time.monotonic() + drain_timeout * SHARE
    _do(lambda: loop.run_until_complete(_end_tasks(give_up)))
    _do(end_threads)
    _in_thread(_finish_threads, max(give_up - time.monotonic(), 0.0))
    _do(atexit._run_exitfuncs)
    _do(_write_files)
    _in_thread(_end_trackers, TRACKERS_TAKE)


def _in_thread(function: Callable[[], None], seconds: float) -> None:
    """Wait for a function, but only so long."""
    thread = threading.Thread(target=_do, args=(function,), name="tako-exit", daemon=True)
    thread.start()
    thread.join(seconds)


async def _end_tasks(give_up: float) -> None:
    """As `asyncio.run` ends: cancel what is left, and close asynchronous generators."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=max(give_up - time.monotonic(), 0.0))
    with suppress(TimeoutError):
        await asyncio.wait_for(loop.shutdown_asyncgens(), max(give_up - time.monotonic(), 0.01))


def _finish_threads() -> None:
    """What `threading` does at the end: executors finish what they have, and threads that are no daemons are waited for."""
    for finish in reversed(getattr(threading, "_threading_atexits", ())):
        _do(finish)
    ours = (threading.main_thread(), threading.current_thread())
    while left := [thread for thread in threading.enumerate() if thread not in ours and not thread.daemon]:
        left[0].join()


def _write_files() -> None:
    """Flush the files that are still open, texts before the bytes below them."""
    if not _has_open_files():  # as almost always; to look at all objects copies the memory that the fork server shares
        return
    gc.unfreeze()
    known = gc.get_objects()
    for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        for file in [thing for thing in known if issubclass(type(thing), kind)]:  # isinstance would ask a proxy what it is
            with suppress(OSError, ValueError):  # closed, or nobody reads it any more
                file.flush()


def _has_open_files() -> bool:
    """Whether a descriptor is one of a file, which somebody may have written to."""
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208
        with suppress(OSError):  # the one of the list itself
            if stat.S_ISREG(os.fstat(int(entry)).st_mode):
                return True
    return False


def _end_trackers() -> None:
    """Have multiprocessing's resource trackers, and those of packages derived from it, remove what is left, and end."""
    for name, module in list(sys.modules.items()):
        tracker: Any = getattr(module, "_resource_tracker", None) if name.endswith("resource_tracker") else None
        if getattr(tracker, "_fd", None) is not None:
            _do(tracker._stop)


def _do(function: Callable[[], object]) -> None:
    """Call something of the user's; what it raises is printed, and stops nothing."""
    try:
        function()
    except BaseException:
        with suppress(Exception):
            traceback.print_exc(file=sys.stderr)
