"""`Step` and `BlockingStep` whose bodies a test can replace, observe, and make fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tako_lite.backoff import Backoff
from tako_lite.blocking import BlockingStep
from tako_lite.step import Caller, Duration, Step
from tako_lite.testing.effects import in_step
from tako_lite.typed import Reader
from tako_lite.worker.gate import GatedStep

if TYPE_CHECKING:
    from tako_lite.testing.executor import LocalRun

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""The function of a step, and its arguments."""
_AWAITED = ("run", "sleep", "sleep_until", "wait_for", "invoke", "enqueue", "signal")


class Steady(Backoff):
    """A backoff without jitter, so that a test knows when the next try is due."""

    __slots__ = ()

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        return super().delay(failures, lambda: 0.5)


class LocalStep(Step):
    """`Step` that reports the points at which a worker can die."""

    def __init__(self, engine: LocalRun) -> None:
        super().__init__(engine)
        self._attempt = engine
        self.calls: dict[str, Call] = {}
        for name in _AWAITED:
            setattr(self, name, self._noted(name, getattr(self, name)))

    def _noted(self, method: str, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A method whose coroutines the script knows, so that one that is never awaited is reported."""

        def call(name: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
            if method == "run" and arguments:
                self.calls[name] = arguments[0], arguments[1:]
            coroutine = function(name, *arguments, **options)
            self._attempt.script.note_call(self._attempt, name, coroutine)
            return coroutine

        return call

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
        run, script, has_run = self._attempt, self._attempt.script, False

        async def scripted(body: Callable[[], Any]) -> Any:
            nonlocal has_run
            has_run = True
            await run.pass_point(f"before:{name}")
            token = in_step.set(True)
            try:
                value = await script.call(run, name, self.calls.get(name), lambda: caller(body))
            finally:
                in_step.reset(token)
            await run.pass_point(f"after:{name}")
            return value

        steady = Steady(backoff.base, backoff.max)
        value = await super().run_with(scripted, name, body, retries, steady, timeout, reader)
        if has_run:
            await run.pass_point(f"stored:{name}")
        return value


class LocalBlockingStep(BlockingStep):
    """The same for plain `def` handlers."""

    step_type: type[LocalStep] = LocalStep

    def __init__(self, engine: LocalRun, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine, loop)
        self._step = self._local = self.step_type(engine)

    def run(self, name: str, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        self._local.calls[name] = fn, args
        return super().run(name, fn, *args, **options)


class LocalCheckedStep(LocalStep, GatedStep):
    """The steps of an `async def` handler that began with other code."""


class LocalCheckedBlockingStep(LocalBlockingStep):
    """The steps of a plain `def` handler that began with other code."""

    step_type = LocalCheckedStep
