"""Executes runs: as many at a time as the worker has slots, each to one outcome that is reported once."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import Any, Final, cast

from tako_lite.blocking import BlockingStep
from tako_lite.engine import call_for_future, message_of, sanitized
from tako_lite.errors import (
    BadInput,
    Bailed,
    Cancelled,
    Drained,
    Failed,
    Parked,
    RetryLater,
    StepError,
    Superseded,
    TakoError,
    TimedOut,
    Unwind,
)
from tako_lite.secrets import masked
from tako_lite.step import Step
from tako_lite.values import value_text
from tako_lite.wire import decode_value
from tako_lite.worker.forked import end_fork, is_fork
from tako_lite.worker.link import Link
from tako_lite.worker.loader import CannotImport, Handler, Loader
from tako_lite.worker.loop import paused
from tako_lite.worker.run import ActiveRun, StoredStep, current_run
from tako_lite.worker.threads import RunThreads

MAX_TRACEBACK: Final = 16_384
MAX_MESSAGE: Final = 4_096

Report = tuple[list[Any], int]
"""An item for the daemon, and how many characters of values it carries."""


class Executor:
    """The runs of this worker. The daemon never pushes more than there are slots."""

    def __init__(
        self, link: Link, loader: Loader, slots: int, on_end: Callable[[str], None], base: contextvars.Context
    ) -> None:
        """`base` is the context that the imports left: each run has a copy of it."""
        self.runs: dict[str, ActiveRun] = {}
        self._link = link
        self._loader = loader
        self._on_end = on_end
        self._base = base
        self._shares_decimals = _holds_decimals(base)
        self._threads = RunThreads(slots)
        self._loop = asyncio.get_running_loop()
        self._steps: dict[str, list[Any]] = {}
        self._draining = False
        self._on_empty: Callable[[], None] | None = None
        self._loop.set_task_factory(cast("Any", _adopt))
        self._loop.set_default_executor(self._threads)

    def add_steps(self, run_id: str, steps: list[Any]) -> None:
        """Stored steps of a run that is about to come: too much for its own frame."""
        self._steps.setdefault(run_id, []).extend(steps)

    def start(self, pushed: list[Any]) -> None:
        """Take a run on: id, workflow, module, token, attempt, timeout in seconds or null, payload text, stored steps.

        One for a tenant, or of a workflow with a rate, has besides: the tenant's name or null, its environment, and whether the
        start is to be reported.
        """
        run_id, workflow, module, token, attempt, timeout, payload, steps, *tenant = pushed
        if not self._loader.knows(workflow):
            self._import(workflow, module)
        stored = self._steps.pop(run_id, []) + steps if self._steps else steps
        run = ActiveRun(self._link, run_id, workflow, token, attempt, payload, stored, *tenant)
        self.runs[run_id] = run
        if self._draining:
            run.drain()
        # Not by `_adopt`: it is nobody's child.
        run.task = asyncio.Task(self._execute(run, module, timeout), loop=self._loop, context=self._base.copy())

    def resolved(self, run_id: str, name: str, state: str, text: str | None) -> None:
        """A wait of a run is over."""
        if run_id in self.runs:
            self.runs[run_id].resolved(name, StoredStep(state, text, 1))

    def cancel(self, run_id: str) -> None:
        """Somebody cancelled a run."""
        if run_id in self.runs:
            self.runs[run_id].cancel()

    def drain(self, on_empty: Callable[[], None]) -> None:
        """Ask every handler to stop at its next step; call back when none is left."""
        self._draining = True
        self._on_empty = on_empty
        for run in self.runs.values():
            run.drain()
        if not self.runs:
            on_empty()

    def _import(self, workflow: str, module: str) -> None:
        """Import the module of a run that routing sent here, as one at the start is: in the base context, and with no loop.

        An error of it is met again, and reported, when the run asks for its handler.
        """
        with paused(self._loop), suppress(CannotImport):
            self._base.run(self._loader.handler, workflow, module)
        if is_fork():
            end_fork()
        self._shares_decimals = _holds_decimals(self._base)

    def end_threads(self) -> None:
        """No run is left: threads end when they have nothing to do."""
        self._threads.shutdown(wait=False)

    async def _execute(self, run: ActiveRun, module: str, timeout: float | None) -> None:
        current_run.set(run)
        if self._shares_decimals:
            _own_decimals()
        timer = None if timeout is None else self._loop.call_later(timeout, run.time_out)
        item, size = await self._outcome(run, module)
        if is_fork():
            end_fork()
        run.task = None  # its context holds the run: without the cycle both are free at once
        if not run.is_still():
            await run.close()
        if timer is not None:
            timer.cancel()
        self._on_end(run.run_id)
        del self.runs[run.run_id]
        if item:
            self._link.send(item, size)
        if not self.runs:
            self._link.flush()  # nothing else is to come along
            if self._on_empty is not None:
                self._on_empty()

    async def _outcome(self, run: ActiveRun, module: str) -> Report:
        try:
            run.check()  # a cancel or a stop may have come in the same frame
            handler = self._loader.handler(run.workflow_name, module)
            payload: Any = decode_value(run.payload)
            if handler.read_payload is not None:
                payload = _checked(handler.read_payload, payload)
            if handler.is_async:
                run.begin_handler()
                value = await handler.function(*(payload, Step(run))[: handler.parameters])
            else:
                value = await self._in_thread(run, handler, payload)
            if run.unwinding is not None:
                return _unwound(run, run.unwinding)
            text = "null" if value is None else value_text(value, "the result")
            return [handler.end, run.run_id, run.token, text], len(text)
        except BaseException as error:
            if is_fork():
                end_fork(error)
            unwinding = run.unwinding or _find_unwind(error)
            if unwinding is not None:
                return _unwound(run, unwinding)
            return _failed(run, error)

    async def _in_thread(self, run: ActiveRun, handler: Handler, payload: Any) -> Any:
        task, run.task = run.task, None  # its thread cannot be cancelled, and must not be left behind
        step = Step(run) if handler.hides_async else BlockingStep(run, self._loop)
        arguments = (payload, step)[: handler.parameters]

        def call() -> Any:
            if run.is_rated:
                self._loop.call_soon_threadsafe(run.begin_handler)
            return handler.function(*arguments)

        submitted = self._threads.submit_handler(partial(contextvars.copy_context().run, call_for_future, call))
        value = await asyncio.wrap_future(submitted, loop=self._loop)
        if not inspect.iscoroutine(value):
            return value
        if not handler.hides_async:
            value.close()
            raise _hidden_coroutine(run.workflow_name, value)
        if run.unwinding is not None:  # a cancel or a time-out came meanwhile
            value.close()
            return None
        run.task = task
        return await value


def _hidden_coroutine(workflow: str, coroutine: CoroutineType[Any, Any, Any]) -> StepError:
    """The error for a `def` handler that returned a coroutine: it got the blocking Step of a `def`."""
    return StepError(
        f"the handler of {workflow} is a plain function that returned a coroutine, of {coroutine.__qualname__}",
        hint="write `async def`; a decorator above one needs functools.wraps, or to be `async def` itself",
    )


def _holds_decimals(context: contextvars.Context) -> bool:
    """Whether a file that was imported has used or set the context of decimal numbers."""
    return any(variable.name == "decimal_context" for variable in context)


def _own_decimals() -> None:
    """Give a run a copy of that context: it is one object, which all runs would change."""
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        decimal.setcontext(decimal.getcontext().copy())


class _PayloadRefused(BadInput):
    """The payload does not fit the handler's type."""

    type = "bad_payload"


def _checked(read_payload: Callable[[Any], Any], payload: Any) -> Any:
    """The payload as the handler's type."""
    try:
        return read_payload(payload)
    except BadInput as error:
        raise _PayloadRefused(error.message, hint=error.hint) from None


def _adopt(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task; one that a handler starts belongs to its run and ends with it."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    run = current_run.get()
    if run is not None:
        run.tasks.add(task)
        task.add_done_callback(run.forget)
    return task


def _unwound(run: ActiveRun, reason: Unwind) -> Report:
    head = [run.run_id, run.token]
    match reason:
        case Parked():
            return ["parked", *head, run.parked_on], 0
        case Drained():
            return ["given", *head], 0
        case Superseded():
            return ["dropped", *head], 0
        case Cancelled():
            return ["cancelled", *head], 0
        case TimedOut():
            failure = {"type": "Timeout", "message": "the attempt took longer than its timeout", "reason": "timeout"}
            return ["fail", *head, failure, True], 0
        case Bailed():
            return ["bail", *head, sanitized(str(reason.reason))[:MAX_MESSAGE]], 0
        case RetryLater():
            return ["later", *head, reason.after], 0
        case Failed():
            error = reason.error
            failure = (
                _describe(error) if isinstance(error, BaseException) else {"type": "Failed", "message": sanitized(str(error))}
            )
            return ["fail", *head, {**failure, "message": failure["message"][:MAX_MESSAGE], "reason": "failed"}, False], 0
    return ["given", *head], 0


def _failed(run: ActiveRun, error: BaseException) -> Report:
    """What went wrong, and whether another attempt could go better."""
    failure = _describe(error)
    retryable = not isinstance(error, BadInput | StepError)
    if isinstance(error, _PayloadRefused):
        failure = {"type": "BadPayload", "message": sanitized(error.message), "reason": "bad_payload"}
    elif isinstance(error, CannotImport):
        return ["broken", run.run_id, run.token, error.message], 0
    elif isinstance(error, TakoError):
        if not retryable:
            failure["reason"] = error.type
        if hint := getattr(error, "hint", None):  # a class of somebody else's may never have called our `__init__`
            failure["message"] += f" ({sanitized(str(hint))})"
    return ["fail", run.run_id, run.token, failure, retryable], len(failure.get("traceback") or "")


def _find_unwind(error: BaseException) -> Unwind | None:
    """The Unwind that an error is, or that an exception group holds."""
    if isinstance(error, Unwind):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if found := _find_unwind(inner):
                return found
    return None


def _describe(error: BaseException) -> dict[str, Any]:
    message = message_of(error)
    try:
        text = masked("".join(traceback.format_exception(error, limit=-30)))  # before it is cut
    except BaseException:  # what a `__str__` of the user's raises ends the run, and no worker
        text = "(its traceback cannot be read)"
    if len(text) > MAX_TRACEBACK:
        text = text[: MAX_TRACEBACK // 2] + "\n…\n" + text[-MAX_TRACEBACK // 2 :]
    message = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"
    return {"type": type(error).__name__, "message": message, "traceback": sanitized(text)}
