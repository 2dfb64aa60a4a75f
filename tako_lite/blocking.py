"""`BlockingStep`: the steps of a plain `def` handler."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, cast

from tako_lite.backoff import Backoff
from tako_lite.engine import Engine, carried
from tako_lite.errors import StepError
from tako_lite.step import STEP_BACKOFF, Caller, Duration, Facts, Step
from tako_lite.workflow import Workflow

P = ParamSpec("P")
T = TypeVar("T")


class BlockingStep(Facts):
    """The same for a plain `def` handler, which has a thread of its own: every method blocks until it is done."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine)
        self._loop = loop
        self._step = Step(engine)
        self._process = os.getpid()

    def run(
        self,
        name: str,
        fn: Callable[P, T],
        *args: Any,
        retries: int = 0,
        backoff: Backoff = STEP_BACKOFF,
        timeout: Duration | None = None,
    ) -> T:
        """As `Step.run`; `fn` is called in the handler's own thread."""
        body: Callable[[], Any] = lambda: fn(*args)  # type: ignore[call-arg]  # noqa: E731
        return cast("T", self._wait(lambda here: self._step.run_with(here, name, body, retries, backoff, timeout)))

    def sleep(self, name: str, duration_: Duration, /) -> None:
        """As `Step.sleep`."""
        self._wait(lambda _: self._step.sleep(name, duration_))

    def sleep_until(self, name: str, when: datetime | str | float, /) -> None:
        """As `Step.sleep_until`."""
        self._wait(lambda _: self._step.sleep_until(name, when))

    def wait_for(self, event: str, timeout: Duration | None = None) -> Any:
        """As `Step.wait_for`."""
        return self._wait(lambda _: self._step.wait_for(event, timeout))

    def invoke(self, name: str, workflow: str | Workflow[Any, Any], payload: Any = None, **options: Any) -> Any:
        """As `Step.invoke`."""
        return self._wait(lambda _: self._step.invoke(name, workflow, payload, **options))

    def enqueue(self, name: str, workflow: str | Workflow[Any, Any], payload: Any = None, **options: Any) -> str:
        """As `Step.enqueue`."""
        return str(self._wait(lambda _: self._step.enqueue(name, workflow, payload, **options)))

    def signal(self, event: str, payload: Any = True) -> None:
        """As `Step.signal`."""
        self._wait(lambda _: self._step.signal(event, payload))

    def _wait(self, start: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop, and meanwhile in this thread the bodies that it hands over."""
        if os.getpid() != self._process:
            raise StepError("a step was called in a forked process", hint="the handler itself has to call its steps")
        handed: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()

        async def here(body: Callable[[], Any]) -> Any:
            future = self._loop.create_future()
            handed.put((body, future))
            return await future

        outcome = asyncio.run_coroutine_threadsafe(start(here), self._loop)
        outcome.add_done_callback(lambda _: handed.put(None))
        while (job := handed.get()) is not None:
            self._do(*job)
        return outcome.result()

    def _do(self, body: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        try:
            value = carried(body)
        except BaseException as error:
            self._loop.call_soon_threadsafe(_settle, future, None, error)
        else:
            self._loop.call_soon_threadsafe(_settle, future, value, None)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
