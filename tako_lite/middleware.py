"""Calls functions around another one, each of which calls the next; they observe it, and cannot change how it ends."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

from tako_lite.errors import HookFailed, Unwind

T = TypeVar("T")
Hook = Callable[[T, Callable[[], Awaitable[Any]]], object]


async def call_through(
    hooks: Sequence[Hook[T]], about: T, core: Callable[[], Awaitable[Any]], on_failure: Callable[[HookFailed], None]
) -> Any:
    """Call the first hook, which calls the next by its argument `proceed`, and the last hook the core; returns its value.

    An error of the core is raised even if a hook has caught or replaced it. An error that a hook raises by itself is raised as
    HookFailed, after `on_failure` was called with it.
    """
    if not hooks:
        return await core()
    layer = _Layer(hooks, about, core, on_failure)
    return await layer.run()


class _Layer:
    """One hook around the others."""

    def __init__(
        self, hooks: Sequence[Hook[T]], about: T, core: Callable[[], Awaitable[Any]], on_failure: Callable[[HookFailed], None]
    ) -> None:
        self._hook: Hook[Any] = hooks[0]
        self._about = about
        self._next: Callable[[], Awaitable[Any]] = lambda: call_through(hooks[1:], about, core, on_failure)
        self._on_failure = on_failure
        self._progress: Literal["not begun", "begun", "over"] = "not begun"
        self._value: Any = None
        self._error: BaseException | None = None

    async def run(self) -> Any:
        raised: BaseException | None = None
        try:
            returned = self._hook(self._about, self._proceed)
            if inspect.isawaitable(returned):
                await returned
        except BaseException as caught:
            raised = caught
        try:
            return self._after(raised)
        finally:
            del raised  # its traceback holds this frame

    async def _proceed(self) -> Any:
        if self._progress != "not begun":
            raise RuntimeError("proceed() was awaited twice")
        self._progress = "begun"
        try:
            self._value = await self._next()
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._progress = "over"
        return self._value

    def _after(self, raised: BaseException | None) -> Any:
        """The value of the core, or its error, or that of the hook."""
        error, self._error = self._error, None
        try:
            if error is not None:
                if raised is not None and not _carries(raised, error):
                    traceback.print_exception(raised, file=sys.stderr)
                raise error
            if isinstance(raised, Unwind | CancelledError):
                raise raised
            if raised is not None:
                raise self._failure(f"{type(raised).__name__}: {_text(raised)}", raised) from raised
            if self._progress != "over":
                raise self._failure("it returned before it had awaited proceed()", None)
            return self._value
        finally:
            del error, raised

    def _failure(self, what: str, error: BaseException | None) -> HookFailed:
        failure = HookFailed(f"hook {_name(self._hook)} at {_place(self._hook, error)}: {what}", error)
        self._on_failure(failure)
        return failure


def _carries(raised: BaseException, error: BaseException) -> bool:
    """Whether this is the error of the core: itself, in a group, or a cancellation that follows from it."""
    if raised is error or isinstance(raised, Unwind | CancelledError):
        return True
    return isinstance(raised, BaseExceptionGroup) and any(_carries(inner, error) for inner in raised.exceptions)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "(its text cannot be read)"


def _name(hook: object) -> str:
    return getattr(hook, "__name__", type(hook).__name__)


def _place(hook: Any, error: BaseException | None) -> str:
    """The line of a hook where an error was raised, else its first line."""
    code = getattr(inspect.unwrap(hook), "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code is not None else (getattr(hook, "__module__", "?"), 0)
    for frame in traceback.extract_tb(error.__traceback__) if error is not None else ():
        if frame.filename == file:
            line = frame.lineno or line
    return f"{file.removeprefix(f'{os.getcwd()}/')}:{line}"  # noqa: PTH109
