"""The orderly end of a worker: what was left under way is ended, then exit handlers run as at the end of any program."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final

SHARE: Final = 0.5
"""The part of `drain_timeout` that is left to tasks and threads, so that exit handlers have the rest."""


def wind_down(loop: asyncio.AbstractEventLoop, drain_timeout: float, end_threads: Callable[[], None]) -> None:
    """End tasks and threads that are left, for a part of `drain_timeout` at most, and run the exit handlers.

    `end_threads` has the idle threads of the worker's own pool end.
    The order is Python's own: threads that are no daemons are waited for before exit handlers run. The interpreter itself is
    not finalized, and the loop stays open, for exit handlers that close their connections with it.
    """
    give_up = time.monotonic() + drain_timeout * SHARE
    _do(lambda: loop.run_until_complete(_end_tasks(give_up)))
    _do(end_threads)
    waiting = threading.Thread(target=_finish_threads, name="tako-exit", daemon=True)
    waiting.start()
    waiting.join(max(give_up - time.monotonic(), 0.0))
    _do(atexit._run_exitfuncs)


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


def _do(function: Callable[[], object]) -> None:
    """Call something of the user's; what it raises is printed, and stops nothing."""
    try:
        function()
    except BaseException:
        with suppress(Exception):
            traceback.print_exc(file=sys.stderr)
