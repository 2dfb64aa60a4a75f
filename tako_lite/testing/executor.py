"""The executor of production, with points at which its worker can die, steps that a test replaces, and virtual time."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

from tako_lite.protocol.items import RunParked, RunSucceeded
from tako_lite.protocol.worker import PushedRun
from tako_lite.testing.caller import CallerThreads
from tako_lite.testing.step import LocalBlockingStep, LocalCheckedBlockingStep, LocalCheckedStep, LocalStep
from tako_lite.worker.executor import Executor, make_task
from tako_lite.worker.gate import CheckedRun
from tako_lite.worker.link import Link
from tako_lite.worker.loader import Loader
from tako_lite.worker.report import Report
from tako_lite.worker.run import ActiveRun, current_run

if TYPE_CHECKING:
    from tako_lite.blocking import BlockingStep
    from tako_lite.engine import StepKind
    from tako_lite.protocol.worker import StoredStep
    from tako_lite.step import Step
    from tako_lite.testing.script import Script

TURNS: Final = 10
"""Turns of the loop for which a handler with several tasks must do nothing but wait before it parks."""
CLOSES: Final = 5
"""How often the coroutine of a dead worker is closed: each `await` in its `finally` blocks takes one."""


class LocalExecutor(Executor):
    """Executes runs on the loop of the test until its worker dies. Then no line of their code is executed any more."""

    def __init__(
        self,
        link: Link,
        loader: Loader,
        group: str,
        slots: int,
        base: contextvars.Context,
        script: Script,
        kill: Callable[[], None],
        on_end: Callable[[str], None] = lambda run_id: None,
    ) -> None:
        super().__init__(link, loader, group, slots, on_end, base)
        self.script = script
        self.kill = kill
        self.is_dead = False
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        script.executors.append(self)
        if script.caller is not None:
            self._threads = CallerThreads(slots, script.caller)
            self._loop.set_default_executor(self._threads)
        self._loop.set_task_factory(cast("Any", _make_task))

    def new_run(self, pushed: PushedRun, steps: Sequence[Any]) -> ActiveRun:
        kind = LocalCheckedRun if pushed.extra is not None and pushed.extra.changed == "hold" else LocalRun
        return kind(self._link, pushed, steps, self)

    def new_step(self, run: ActiveRun) -> Step:
        return LocalCheckedStep(run) if isinstance(run, LocalCheckedRun) else LocalStep(cast("LocalRun", run))

    def new_blocking_step(self, run: ActiveRun) -> BlockingStep:
        kind = LocalCheckedBlockingStep if run.is_gated else LocalBlockingStep
        return kind(cast("LocalRun", run), self._loop)

    def die(self) -> None:
        """Freeze every task of a run where it is."""
        self.is_dead = True

    async def dispose(self) -> None:
        """End the frozen tasks, and the threads that wait for them. What their `finally` blocks do happens now."""
        while left := [task for task in self.tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        self.end_threads()

    def _execute(self, run: ActiveRun) -> Coroutine[Any, Any, None]:
        return Mortal(super()._execute(run), self)

    def start(self, pushed: PushedRun) -> None:
        super().start(pushed)
        task = self.runs[pushed.run_id].task
        if task is not None:
            self.tasks.add(task)

    async def _outcome(self, run: ActiveRun) -> Report:
        local = cast("LocalRun", run)
        await local.pass_point("start")
        report = await super()._outcome(run)
        end = report[0]
        self.script.check_awaited(run)
        if isinstance(end, RunParked):
            await local.pass_point(f"park:{','.join(end.waits)}")
        elif isinstance(end, RunSucceeded):
            await local.pass_point("end")
        return report


class LocalRun(ActiveRun):
    """The engine behind the steps of one attempt, by the clock of the test."""

    inline_sleep = 0.0

    def __init__(self, link: Link, pushed: PushedRun, steps: Sequence[Any], executor: LocalExecutor) -> None:
        super().__init__(link, pushed, steps)
        self.executor = executor
        self.script = executor.script
        self._turns = 0

    def now(self) -> int:
        return self.script.clock.now()

    def begin(self, name: str, *, again: bool = False) -> StoredStep | None:
        stored = super().begin(name, again=again)
        order = self.script.begun.setdefault(self.run_id, {})
        order.setdefault(name, len(order))
        return stored

    def park_after(self) -> float:
        """At once, if the handler has no other task; a few turns of the loop, if each waits; else as long as in production."""
        busy = sum(not task.done() for task in self.tasks)
        alone = 0 if self.task is not None else 1  # the step of a plain handler is a task
        self._turns = 1 if busy <= alone else TURNS if busy <= len(self.waits) else 0
        return 0.0 if self._turns else super().park_after()

    def _park_now(self) -> None:
        self._turns -= 1
        if self._turns > 0:
            self._park = cast("asyncio.TimerHandle", self._loop.call_soon(self._park_now))
        else:
            super()._park_now()

    async def pass_point(self, point: str) -> None:
        """Note a point of the attempt, and die there if the test says so."""
        if not self.workflow_name.startswith("@") and self.script.dies_at(self, point):
            self.executor.kill()
            await self.never()

    def note_raised(self, error: BaseException) -> None:
        super().note_raised(error)
        self.script.errors[self.run_id] = error

    async def never(self) -> None:
        """Wait until the attempt is left."""
        await self._loop.create_future()

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        if (stub := self.script.stub_of_child(self, name, workflow)) is not None:
            state, text = await stub.as_child(payload)
            kind: StepKind = "child"
            value, error = (text, None) if state == "succeeded" else (None, text)
            return await self.save(name, kind, state, value, error, 1, self.now())
        await self.pass_point(f"before:{name}")
        return await super().invoke(name, workflow, payload, options)

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        await self.pass_point(f"before:{name}")
        stored = await super().enqueue(name, workflow, payload, options)
        await self.pass_point(f"stored:{name}")
        return stored

    async def send_signal(self, event: str, payload: str) -> None:
        await self.pass_point(f"before:signal:{event}")
        await super().send_signal(event, payload)
        await self.pass_point(f"after:signal:{event}")


class LocalCheckedRun(LocalRun, CheckedRun):
    """The same for a run that began with other code, and is held if it does not reach its stored steps."""


class Mortal(Coroutine[Any, Any, Any]):
    """A coroutine that stops where it is once its worker is dead. Cancelling its task then closes it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], executor: LocalExecutor) -> None:
        self._coroutine = coroutine
        self._executor = executor

    def send(self, value: Any) -> Any:
        if not self._executor.is_dead:
            return self._coroutine.send(value)
        never = asyncio.get_running_loop().create_future()
        never._asyncio_future_blocking = True  # as a future is awaited
        return never

    def throw(self, *error: Any) -> Any:
        if not self._executor.is_dead:
            return self._coroutine.throw(*error)
        self.close()
        raise error[0]

    def close(self) -> None:
        for _ in range(CLOSES):
            with suppress(Exception, asyncio.CancelledError):
                self._coroutine.close()
                return

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    @property
    def cr_await(self) -> Any:
        """What the coroutine awaits; `worker.run` compares it."""
        return getattr(self._coroutine, "cr_await", None)


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task; one that a handler starts dies with the worker of its run."""
    run = current_run.get()
    if not isinstance(run, LocalRun):
        return make_task(loop, coroutine, **options)
    task = make_task(loop, Mortal(coroutine, run.executor), **options)
    run.executor.tasks.add(task)
    return task
