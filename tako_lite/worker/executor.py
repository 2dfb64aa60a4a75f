"""Executes runs, as many at a time as the worker has slots, and reports the end of each attempt once."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import Any, Final, cast

from tako_lite.blocking import BlockingStep
from tako_lite.engine import call_for_future
from tako_lite.errors import (
    BadInput,
    StepError,
)
from tako_lite.named_tuples import new_tuple
from tako_lite.protocol.items import (
    EvaluationEnded,
    RunSucceeded,
)
from tako_lite.protocol.worker import (
    PushedRun,
    StoredStep,
    ToWorker,
    read_run,
)
from tako_lite.step import Step
from tako_lite.values import value_text
from tako_lite.wire import decode_value
from tako_lite.worker.forked import end_fork, is_fork
from tako_lite.worker.hooked import HookedAttempts
from tako_lite.worker.link import Link
from tako_lite.worker.loader import CannotImport, Handler, Loader
from tako_lite.worker.loop import paused
from tako_lite.worker.report import Report, failed, find_unwind, refuse_payload, unwound
from tako_lite.worker.run import ActiveRun, current_run
from tako_lite.worker.threads import RunThreads
from tako_lite.worker.unreached import compare

FIRST_LINE: Final = 0.01
"""Seconds that a thread is given to execute the first line of a handler, before the handler is reported as begun."""


class Executor:
    """The runs of this worker. The daemon never pushes more than there are slots."""

    def __init__(
        self,
        link: Link,
        loader: Loader,
        group: str,
        slots: int,
        on_end: Callable[[str], None],
        base: contextvars.Context,
    ) -> None:
        """`base` is the context after the imports: each run gets a copy of it."""
        self.runs: dict[str, ActiveRun] = {}
        self._link = link
        self._loader = loader
        self._on_end = on_end
        self._base = base
        self._shares_decimals = _holds_decimals(base)
        self._hooked = HookedAttempts(group, loader, self._outcome)
        self._threads = RunThreads(slots)
        self._loop = asyncio.get_running_loop()
        self._steps: dict[str, list[Any]] = {}
        """The lists of the `PriorStep`s that came ahead of their run."""
        self._draining = False
        self._on_empty: Callable[[], None] | None = None
        self._loop.set_task_factory(cast("Any", make_task))
        self._loop.set_default_executor(self._threads)

    def add_steps(self, run_id: str, steps: Sequence[Any]) -> None:
        """Keep stored steps for a run that is about to come."""
        self._steps.setdefault(run_id, []).extend(steps)

    def start(self, pushed: PushedRun) -> None:
        """Start a run."""
        if not self._loader.knows(pushed.workflow):
            self._import(pushed.workflow, pushed.module)
        steps = [*self._steps.pop(pushed.run_id, ()), *pushed.steps] if self._steps else pushed.steps
        run = self.runs[pushed.run_id] = self.new_run(pushed, steps)
        if self._draining:
            run.drain()
        # Not made by `make_task`: it belongs to no other run.
        run.task = asyncio.Task(self._execute(run), loop=self._loop, context=self._base.copy())

    def new_run(self, pushed: PushedRun, steps: Sequence[Any]) -> ActiveRun:
        """The engine of a run that was pushed; `steps` are the lists of its `PriorStep`s."""
        if pushed.extra is not None and pushed.extra.changed == "hold":
            from tako_lite.worker.gate import CheckedRun  # rarely needed

            return CheckedRun(self._link, pushed, steps)
        return ActiveRun(self._link, pushed, steps)

    def new_step(self, run: ActiveRun) -> Step:
        """The step of an `async def` handler."""
        if run.is_gated:
            from tako_lite.worker.gate import GatedRun, GatedStep

            return GatedStep(cast("GatedRun", run))
        return Step(run)

    def new_blocking_step(self, run: ActiveRun) -> BlockingStep:
        """The step of a plain `def` handler."""
        if run.is_gated:
            from tako_lite.worker.gate import GatedBlockingStep, GatedRun

            return GatedBlockingStep(cast("GatedRun", run), self._loop)
        return BlockingStep(run, self._loop)

    def receive(self, frame: ToWorker) -> None:
        """Act on a frame of the daemon, other than `stop`."""
        if frame["t"] == "run":
            for row in frame["runs"]:
                self.start(read_run(row))
        elif frame["t"] == "answers":
            for sequence, outcome in frame["answers"]:
                self._link.answer(sequence, outcome)
        elif frame["t"] == "resolved":
            self.resolved(frame["id"], frame["name"], frame["state"], frame["text"])
        elif frame["t"] == "steps":
            self.add_steps(frame["id"], frame["steps"])
        elif frame["t"] == "cancel":
            self.cancel(frame["id"])

    def resolved(self, run_id: str, name: str, state: str, text: str | None) -> None:
        """End a wait of a run."""
        if run_id in self.runs:
            self.runs[run_id].resolved(name, StoredStep(state, text, 1))

    def cancel(self, run_id: str) -> None:
        """Cancel a run."""
        if run_id in self.runs:
            self.runs[run_id].cancel()

    def drain(self, on_empty: Callable[[], None]) -> None:
        """Leave every handler at its next step, and call back once none is left."""
        self._draining = True
        self._on_empty = on_empty
        for run in self.runs.values():
            run.drain()
        if not self.runs:
            on_empty()

    def _import(self, workflow: str, module: str) -> None:
        """Import the module of a run that routing sent to this group: in the base context and without a loop, as at the start.

        If it fails, it fails again, and is reported, when the run asks for its handler.
        """
        with paused(self._loop), suppress(CannotImport):
            self._base.run(self._loader.handler, workflow, module)
        if is_fork():
            end_fork()
        self._shares_decimals = _holds_decimals(self._base)

    def end_threads(self) -> None:
        """Let threads end once they are idle, because no run is left."""
        self._threads.shutdown(wait=False)

    async def _execute(self, run: ActiveRun) -> None:
        current_run.set(run)
        if self._shares_decimals:
            _own_decimals()
        timer = None if run.timeout is None else self._loop.call_later(run.timeout, run.time_out)
        item, size = await (self._outcome(run) if run.facts is None else self._hooked.outcome(run))
        if is_fork():
            end_fork()
        run.task = None  # breaks a cycle, since its context holds the run: both are freed at once
        if not run.is_idle():
            await run.close()
        if timer is not None:
            timer.cancel()
        self._on_end(run.run_id)
        del self.runs[run.run_id]
        if run.prior and (compared := compare(run, item)) is not None:
            if compared.kind == "held":
                item = compared
            else:
                self._link.send(compared)
        self._link.send(item, size)
        if not self.runs:
            self._link.flush()  # nothing else will be sent in this turn
            if self._on_empty is not None:
                self._on_empty()

    async def _outcome(self, run: ActiveRun) -> Report:
        try:
            run.check()  # a cancel or a stop may have come in the same frame
            handler = self._loader.handler(run.workflow_name, run.module)
            payload: Any = decode_value(run.payload)
            if handler.read_payload is not None:
                payload = _checked(handler.read_payload, payload)
            if handler.is_async:
                if run.is_rated:
                    self._loop.call_soon(self._report_begun, run)  # in the next turn: the handler is at its first `await` then
                value = await handler.function(*(payload, self.new_step(run))[: handler.parameters])
            else:
                value = await self._in_thread(run, handler, payload)
            if run.unwinding is not None:
                return unwound(run, run.unwinding, self._loader.root)
            text = "null" if value is None else value_text(value, "the result")
            if handler.is_evaluation:
                return EvaluationEnded("found", run.run_id, run.token, text), len(text)
            return new_tuple(RunSucceeded, ("ok", run.run_id, run.token, text)), len(text)
        except BaseException as error:
            if is_fork():
                end_fork(error)
            unwinding = run.unwinding or find_unwind(error)
            run.note_raised(unwinding or error)
            if unwinding is not None:
                return unwound(run, unwinding, self._loader.root)
            return failed(run, error, self._loader.root)

    def _report_begun(self, run: ActiveRun) -> None:
        """Report that a handler has executed its first line, unless its end was reported already."""
        if self.runs.get(run.run_id) is run:
            run.report_begun()

    async def _in_thread(self, run: ActiveRun, handler: Handler, payload: Any) -> Any:
        task, run.task = run.task, None  # a thread cannot be cancelled, and must not be left behind
        step = self.new_step(run) if handler.hides_async else self.new_blocking_step(run)
        arguments = (payload, step)[: handler.parameters]

        def call() -> Any:
            if run.is_rated:
                self._loop.call_soon_threadsafe(self._loop.call_later, FIRST_LINE, self._report_begun, run)
            return handler.function(*arguments)

        submitted = self._threads.submit_handler(partial(contextvars.copy_context().run, call_for_future, call))
        value = await asyncio.wrap_future(submitted, loop=self._loop)
        if not inspect.iscoroutine(value):
            return value
        if not handler.hides_async:
            value.close()
            raise _hidden_coroutine(run.workflow_name, value)
        if run.unwinding is not None:  # a cancel or a timeout came meanwhile
            value.close()
            return None
        run.task = task
        return await value


def _hidden_coroutine(workflow: str, coroutine: CoroutineType[Any, Any, Any]) -> StepError:
    """The error for a `def` handler that returned a coroutine, which got the blocking Step of a `def`."""
    return StepError(
        f"the handler of {workflow} is a plain function that returned a coroutine, of {coroutine.__qualname__}",
        hint="write `async def`; a decorator above one needs functools.wraps, or to be `async def` itself",
    )


def _holds_decimals(context: contextvars.Context) -> bool:
    """Whether an imported file has used or set the decimal context."""
    return any(variable.name == "decimal_context" for variable in context)


def _own_decimals() -> None:
    """Give a run a decimal context of its own: the one of the imports is a single object that all runs would change."""
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        decimal.setcontext(decimal.getcontext().copy())


def _checked(read_payload: Callable[[Any], Any], payload: Any) -> Any:
    """The payload as the handler's type."""
    try:
        return read_payload(payload)
    except BadInput as error:
        raise refuse_payload(error) from None


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task; a task that a handler starts belongs to its run and ends with it."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    run = current_run.get()
    if run is not None:
        run.tasks.add(task)
        task.add_done_callback(run.task_done)
    return task
