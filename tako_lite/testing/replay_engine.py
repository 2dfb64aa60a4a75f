"""The engine of a replay: it has the stored steps of a run and makes no others."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tako_lite.blocking import BlockingStep
from tako_lite.protocol.worker import PushedRun, StoredStep
from tako_lite.step import Caller, Duration, Step
from tako_lite.worker.executor import Executor
from tako_lite.worker.run import ActiveRun

if TYPE_CHECKING:
    from tako_lite.backoff import Backoff
    from tako_lite.engine import StepKind, StepState, WaitKind
    from tako_lite.protocol.items import Item
    from tako_lite.typed import Reader
    from tako_lite.worker.link import Link


class NoLink:
    """Takes the end of the attempt, and sends nothing."""

    def __init__(self, end: asyncio.Future[Item]) -> None:
        self.end = end
        self.next_sequence = itertools.count(1).__next__

    def send(self, item: Item, size: int = 0) -> None:
        if item.kind != "missed" and not self.end.done():
            self.end.set_result(item)

    def flush(self) -> None: ...


class ReplayExecutor(Executor):
    def new_run(self, pushed: PushedRun, steps: Sequence[Any]) -> ActiveRun:
        return ReplayRun(self._link, pushed, steps)

    def new_step(self, run: ActiveRun) -> Step:
        return _ReplayStep(cast("ReplayRun", run))

    def new_blocking_step(self, run: ActiveRun) -> BlockingStep:
        return _ReplayBlockingStep(cast("ReplayRun", run), self._loop)


class ReplayRun(ActiveRun):
    """An engine that has stored steps and makes no others."""

    inline_sleep = -1.0

    def __init__(self, link: Link, pushed: PushedRun, steps: Sequence[Any]) -> None:
        super().__init__(link, pushed, steps)
        self.asked: dict[str, str] = {}
        """The kinds of the steps that the handler asked for, by name."""
        self.frontier: list[str] = []

    def ask(self, name: str, kind: str) -> bool:
        """Note that the handler asks for a step; whether it has a stored value."""
        self.asked[name] = kind
        stored = self._stored.get(name)
        return stored is not None and (stored.state == "succeeded" or kind == "child")

    async def stop_at(self, name: str) -> StoredStep:
        """Wait for ever: the run parks once all of its calls do."""
        self.frontier.append(name)
        future: asyncio.Future[StoredStep] = self._loop.create_future()
        self.waits[name] = future
        self._maybe_park()
        try:
            return await future
        finally:
            del self.waits[name]

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def save(
        self, name: str, kind: StepKind, state: StepState, value: str | None, error: str | None, tries: int, started_at: int
    ) -> StoredStep:
        return await self.stop_at(name)

    async def wait(self, name: str, kind: WaitKind, key: str | None, wake_at: int | None) -> StoredStep:
        return await self.stop_at(name)

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        return await self.stop_at(name)

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        self._active -= 1  # it counts as a wait
        try:
            return await self.stop_at(name)
        finally:
            self._active += 1

    async def send_signal(self, event: str, payload: str) -> None:
        self._active -= 1
        try:
            await self.stop_at(f"signal:{event}")
        finally:
            self._active += 1

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None: ...

    def set_progress(self, fraction: float, note: str | None) -> None: ...

    def begin_handler(self) -> None: ...


class _ReplayStep(Step):
    def __init__(self, engine: ReplayRun) -> None:
        super().__init__(engine)
        self._run = engine

    async def run_with(
        self,
        caller: Caller,
        name: str,
        body: Callable[[], Any],
        retries: int,
        backoff: Backoff,
        timeout: Duration | None,
        reader: Reader | None = None,
    ) -> Any:
        if not self._run.ask(name, "run"):
            self._run.begin(name)
            await self._run.stop_at(name)
        return await super().run_with(caller, name, body, retries, backoff, timeout, reader)

    async def sleep(self, name: str, duration: Duration, /) -> None:
        self._run.ask(name, "sleep")
        await super().sleep(name, duration)

    async def sleep_until(self, name: str, when: Any, /) -> None:
        self._run.ask(name, "sleep")
        await super().sleep_until(name, when)

    async def wait_as(self, name: str, event: str, timeout: Duration | None) -> Any:
        self._run.ask(name, "signal")
        return await super().wait_as(name, event, timeout)

    async def invoke(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> Any:
        self._run.ask(name, "child")
        return await super().invoke(name, workflow, payload, **options)

    async def enqueue(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> str:
        self._run.ask(name, "enqueue")
        return await super().enqueue(name, workflow, payload, **options)

    async def signal(self, event: str, payload: Any = True) -> None:
        self._run.ask(f"signal:{event}", "run")
        await super().signal(event, payload)


class _ReplayBlockingStep(BlockingStep):
    def __init__(self, engine: ReplayRun, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine, loop)
        self._step = _ReplayStep(engine)
