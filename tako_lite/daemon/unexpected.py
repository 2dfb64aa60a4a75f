"""Unexpected errors: each is counted and logged, and only the call that raised it fails.

Code of the daemon that no caller awaits (a timer, a reader, a task, a callback) either works within `guarded`, and schedules
its next round before that, or leaves its errors to the event loop, which reports them to `from_loop`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from tako_lite.daemon.log_format import UNEXPECTED
from tako_lite.names import printable

logger = logging.getLogger("tako_lite")

FIRST_PAUSE: Final = 1.0
"""Seconds after which a persistent error is logged again; each pause is twice as long as the last."""
LONGEST_PAUSE: Final = 3600.0
MOST_KINDS: Final = 200
"""The maximum number of errors that are remembered."""


@dataclass(slots=True)
class _Error:
    """One error: how often it occurred since it was logged, and when it will be logged again."""

    kind: tuple[str, str, int]
    again_at: float
    pause: float = FIRST_PAUSE
    total: int = 1
    unsaid: int = 0


class Unexpected:
    """Counts unexpected errors. Each is logged with its traceback once, then at doubling intervals, and when it is over."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._now = now
        self._errors: dict[str, _Error] = {}

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Report an error that this block raises, and suppress it; `what` is a noun, such as `the check of the queue file`."""
        try:
            yield
        except Exception as error:
            self.raised(what, error)
        else:
            self.over(what)

    def contained(self, what: str, function: Callable[..., None]) -> Callable[..., None]:
        """The same function, guarded."""

        def contained(*arguments: Any) -> None:
            try:
                function(*arguments)
            except Exception as error:
                self.raised(what, error)

        return contained

    def raised(self, what: str, error: BaseException, *, traced: bool = True) -> None:
        """Count an error, and log it, with its traceback if `traced`, unless the same one was logged recently."""
        self.count += 1
        now, kind = self._now(), _kind(error)
        known = self._errors.get(what)
        if known is None or known.kind != kind:
            self._forget_some()
            self._errors[what] = _Error(kind, now + FIRST_PAUSE)
            _log(logging.ERROR, f"{what} failed: {_named(error)}", error if traced else None)
            return
        known.total += 1
        known.unsaid += 1
        if now >= known.again_at:
            _log(logging.ERROR, f"{what} failed {known.unsaid} more times: {_named(error)}", None)
            known.unsaid = 0
            known.pause = min(known.pause * 2, LONGEST_PAUSE)
            known.again_at = now + known.pause

    def over(self, what: str) -> None:
        """Log that something works again, if it had failed."""
        if self._errors and (known := self._errors.pop(what, None)) is not None:
            times = "1 error" if known.total == 1 else f"{known.total} errors"
            _log(logging.INFO, f"{what} works again, after {times}", None)

    def from_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report an error that a callback, a protocol or a task left to the event loop."""
        error = context.get("exception")
        if error is None:
            error = RuntimeError(context["message"])
        if "socket" in context:  # no descriptors are left to accept a client: the loop tries again in a second
            self.raised("accepting a client", error, traced=False)
            return
        origin = context.get("task") or context.get("future") or context.get("handle") or context.get("protocol")
        self.raised(_origin(origin) or context["message"], error)

    def _forget_some(self) -> None:
        while len(self._errors) >= MOST_KINDS:
            del self._errors[next(iter(self._errors))]


def _kind(error: BaseException) -> tuple[str, str, int]:
    """What identifies an error: its type and the place that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__, str(error), 0
    return type(error).__name__, trace.tb_frame.f_code.co_filename, trace.tb_lineno


def _origin(origin: object) -> str:
    """The name of the code behind a handle or a task; its repr would differ each time."""
    if isinstance(origin, asyncio.Handle):
        callback = getattr(origin, "_callback", None)
        return f"the callback {getattr(callback, '__qualname__', type(callback).__name__)}"
    if isinstance(origin, asyncio.Task):
        return f"the task {getattr(origin.get_coro(), '__qualname__', 'of a worker group')}"
    return ""


def _named(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}")


def _log(level: int, message: str, error: BaseException | None) -> None:
    with suppress(Exception):  # a failing log handler must not stop the daemon
        logger.log(level, "%s", message, exc_info=error, extra={"event": UNEXPECTED})
