"""The orderly end of a worker: ends tasks and threads that are left, then runs exit handlers as any program does."""

from __future__ import annotations

import asyncio
import atexit
import gc
import inspect
import io
import os
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

SHARE: Final = 0.5
"""The share of `drain_timeout` for tasks and threads; exit handlers get the rest."""
TRACKERS_TAKE: Final = 1.0
"""Seconds for the processes that remove what multiprocessing left behind: they wait for other users of it."""


def wind_down(
    loop: asyncio.AbstractEventLoop,
    drain_timeout: float,
    end_threads: Callable[[], None],
    teardown: Sequence[Callable[[], object]],
) -> None:
    """End tasks and threads that are left, within a share of `drain_timeout`, and run the exit handlers.

    The functions of `teardown` come first, the last one before the others, within the same share. `end_threads` lets the idle
    threads of the worker's own pool end. The order is Python's: threads that are not daemonic are joined before exit handlers
    run. The interpreter is not finalized, and the loop stays open for exit handlers that close their connections with it. What
    finalizing would do for the outside is done here: open files are flushed, and shared memory that is left is removed.
    """
    give_up = time.monotonic() + drain_timeout * SHARE
    for left, function in zip(range(len(teardown), 0, -1), reversed(teardown), strict=True):
        _tear_down(function, loop, max(give_up - time.monotonic(), 0.0) / left)
    _do(lambda: loop.run_until_complete(_end_tasks(give_up)))
    _do(end_threads)
    _in_thread(_finish_threads, max(give_up - time.monotonic(), 0.0))
    _do(atexit._run_exitfuncs)
    _do(_write_files)
    _in_thread(_end_trackers, TRACKERS_TAKE)


def _in_thread(function: Callable[[], object], seconds: float) -> None:
    """Call a function in a thread, and wait at most this many seconds for it."""
    thread = threading.Thread(target=_do, args=(function,), name="tako-exit", daemon=True)
    thread.start()
    thread.join(seconds)


def _tear_down(function: Callable[[], object], loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Call a hook: a coroutine function on the loop, a plain one in a thread, since only that can be left."""
    if inspect.iscoroutinefunction(function):
        called = asyncio.wait_for(function(), seconds)
        _do(lambda: loop.run_until_complete(called))
    else:
        _in_thread(function, seconds)


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
    if not _has_open_files():  # nearly always; walking all objects would copy the memory that is shared with the fork server
        return
    gc.unfreeze()
    known = gc.get_objects()
    for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        for file in [thing for thing in known if issubclass(type(thing), kind)]:  # isinstance would call a proxy
            with suppress(OSError, ValueError):  # closed, or the reader is gone
                file.flush()


def _has_open_files() -> bool:
    """Whether a regular file is open, which may have unwritten data."""
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208
        with suppress(OSError):  # the descriptor of the listing itself
            if stat.S_ISREG(os.fstat(int(entry)).st_mode):
                return True
    return False


def _end_trackers() -> None:
    """Let the resource trackers of multiprocessing, and of packages derived from it, remove what is left and end."""
    for name, module in list(sys.modules.items()):
        tracker: Any = getattr(module, "_resource_tracker", None) if name.endswith("resource_tracker") else None
        if getattr(tracker, "_fd", None) is not None:
            _do(tracker._stop)


def _do(function: Callable[[], object]) -> None:
    """Call user code; what it raises is printed, and stops nothing."""
    try:
        function()
    except BaseException:
        with suppress(Exception):
            traceback.print_exc(file=sys.stderr)
