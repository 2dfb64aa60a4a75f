"""Chooses the event loop for the handlers, and hides it from imports."""

from __future__ import annotations

import asyncio
import warnings
from asyncio import events
from collections.abc import Iterator
from contextlib import contextmanager


def offer_loop() -> asyncio.AbstractEventLoop:
    """Make a loop, and have `asyncio.get_event_loop()` in files that are imported return it."""
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    return loop


def choose_loop(offered: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """The loop for the handlers, after the imports: the current one of this thread, which may be another by now.

    A file may have closed the loop that was offered, set its own, or installed a policy (uvloop).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop = _current() or (offered if not _has_policy() else asyncio.new_event_loop())
        if loop.is_closed():
            loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    if offered is not loop and not offered.is_closed():
        offered.close()
    return loop


def _current() -> asyncio.AbstractEventLoop | None:
    try:
        loop = asyncio.get_event_loop()
    except RuntimeError:  # `asyncio.run` leaves none
        return None
    return None if loop.is_closed() or loop.is_running() else loop


def _has_policy() -> bool:
    """Whether a policy was installed that is not asyncio's own."""
    policy = vars(events).get("_event_loop_policy")
    return policy is not None and not type(policy).__module__.startswith("asyncio.")


@contextmanager
def paused(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within a callback of a loop: make it look as if no loop ran in this thread, for the time of the block."""
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(loop)
        asyncio.set_event_loop(loop)
