"""`BlockingStep`: the steps of a plain `def` handler."""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from tako_lite.backoff import Backoff
from tako_lite.body import AS_ANNOTATED, check_call, is_async, reader_of
from tako_lite.engine import Engine, call_for_future
from tako_lite.errors import StepError
from tako_lite.handle import WorkflowHandle
from tako_lite.step import STEP_BACKOFF, Caller, Duration, Step, StepBase, StepOptions, on_loop

if TYPE_CHECKING:
    from typing import Unpack

    from tako_lite.enqueue_options import EnqueueOptions
    from tako_lite.handle_types import TakesNothing, TakesPayload, TakesPayloadAndStep

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BlockingStep(StepBase):
    """The steps of a plain `def` handler, which runs in a thread of its own: every method blocks until it is done."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine)
        self._loop = loop
        self._step = Step(engine)
        self._process = os.getpid()

    @overload
    def run(self, name: str, fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, **options: Unpack[StepOptions]) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[[Unpack[Ts]], T], *args: *Ts, **options: Unpack[StepOptions]) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[..., Any], *args: Any, returns: type[T], **options: Unpack[StepOptions]) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[..., Any], *args: Any, returns: Any, **options: Unpack[StepOptions]) -> Any: ...
    def run(  # type: ignore[misc]  # mypy takes `*Ts` for arguments that `*args: Any` lacks
        self,
        name: str,
        fn: Any,
        *args: Any,
        retries: int = 0,
        backoff: Backoff = STEP_BACKOFF,
        timeout: Duration | None = None,
        returns: Any = AS_ANNOTATED,
        **unknown: Any,
    ) -> Any:
        """As `Step.run`. A plain `fn` is called in the handler's own thread, a coroutine function on the worker's loop."""
        check_call(name, fn, unknown)
        reader = reader_of(fn, returns, name)
        body: Callable[[], Any] = lambda: fn(*args)  # noqa: E731
        runs_on_loop = is_async(fn)
        return self._wait(
            lambda here: self._step.run_with(on_loop if runs_on_loop else here, name, body, retries, backoff, timeout, reader)
        )

    def sleep(self, name: str, duration: Duration, /) -> None:
        """As `Step.sleep`."""
        self._wait(lambda _: self._step.sleep(name, duration))

    def sleep_until(self, name: str, when: datetime | str | float, /) -> None:
        """As `Step.sleep_until`."""
        self._wait(lambda _: self._step.sleep_until(name, when))

    @overload
    def wait_for(
        self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: type[T]
    ) -> T | None: ...
    @overload
    def wait_for(self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: Any = None) -> Any: ...
    def wait_for(self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: Any = None) -> Any:
        """As `Step.wait_for`."""
        return self._wait(lambda _: self._step.wait_for(event, timeout, name, returns=returns))

    @overload
    def invoke(
        self,
        name: str,
        workflow: str | WorkflowHandle[Any, Any],
        payload: Any = None,
        *,
        returns: type[T],
        **options: Unpack[EnqueueOptions],
    ) -> T: ...
    @overload
    def invoke(
        self,
        name: str,
        workflow: str | WorkflowHandle[Any, Any],
        payload: Any = None,
        *,
        returns: Any,
        **options: Unpack[EnqueueOptions],
    ) -> Any: ...
    @overload
    def invoke(self, name: str, workflow: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> Any: ...
    @overload
    def invoke(
        self, name: str, workflow: TakesNothing[Awaitable[T]], payload: None = None, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    def invoke(
        self, name: str, workflow: TakesPayload[A, Awaitable[T]], payload: A, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    def invoke(
        self, name: str, workflow: TakesPayloadAndStep[A, Awaitable[T]], payload: A, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    def invoke(self, name: str, workflow: TakesNothing[T], payload: None = None, **options: Unpack[EnqueueOptions]) -> T: ...
    @overload
    def invoke(self, name: str, workflow: TakesPayload[A, T], payload: A, **options: Unpack[EnqueueOptions]) -> T: ...
    @overload
    def invoke(self, name: str, workflow: TakesPayloadAndStep[A, T], payload: A, **options: Unpack[EnqueueOptions]) -> T: ...
    def invoke(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> Any:
        """As `Step.invoke`."""
        return self._wait(lambda _: self._step.invoke(name, workflow, payload, **options))

    @overload
    def enqueue(self, name: str, workflow: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> str: ...
    @overload
    def enqueue(
        self, name: str, workflow: TakesNothing[object], payload: None = None, **options: Unpack[EnqueueOptions]
    ) -> str: ...
    @overload
    def enqueue(self, name: str, workflow: TakesPayload[A, object], payload: A, **options: Unpack[EnqueueOptions]) -> str: ...
    @overload
    def enqueue(
        self, name: str, workflow: TakesPayloadAndStep[A, object], payload: A, **options: Unpack[EnqueueOptions]
    ) -> str: ...
    def enqueue(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> str:
        """As `Step.enqueue`."""
        return str(self._wait(lambda _: self._step.enqueue(name, workflow, payload, **options)))

    def signal(self, event: str, payload: Any = True) -> None:
        """As `Step.signal`."""
        self._wait(lambda _: self._step.signal(event, payload))

    def _wait(self, start: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop, and until it ends run in this thread the bodies that it sends."""
        if os.getpid() != self._process:
            raise StepError("a step was called in a forked process", hint="the handler itself has to call its steps")
        handed: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()

        async def here(body: Callable[[], Any]) -> Any:
            future = self._loop.create_future()
            handed.put((body, future))
            value = await future
            return await value if inspect.isawaitable(value) else value

        outcome = asyncio.run_coroutine_threadsafe(start(here), self._loop)
        outcome.add_done_callback(lambda _: handed.put(None))
        while (job := handed.get()) is not None:
            self._do(*job)
        return outcome.result()

    def _do(self, body: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        try:
            value = call_for_future(body)
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
