"""`Step`: the durable parts of a handler. The queue stores each step by name, so a later attempt skips finished steps."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypedDict, TypeVar, TypeVarTuple, cast, overload

from tako_lite import units
from tako_lite.backoff import Backoff
from tako_lite.body import AS_ANNOTATED, check_call, failure_text, is_async, ran_before, reader_of
from tako_lite.clock import milliseconds
from tako_lite.engine import Engine, Stored, call_for_future, message_of
from tako_lite.errors import BadInput, Bailed, ChildFailed, Failed, HookFailed, NotJson, RetryLater, StepError, TooLarge, Unwind
from tako_lite.handle import WorkflowHandle
from tako_lite.hooks import RunInfo, StepInfo, step_hooks
from tako_lite.middleware import call_through
from tako_lite.names import check_event
from tako_lite.typed import Reader
from tako_lite.typed.functions import result_reader
from tako_lite.values import read_stored, returned_as, stored_form, value_text

if TYPE_CHECKING:
    from typing import Unpack

    from tako_lite.enqueue_options import EnqueueOptions
    from tako_lite.handle_types import TakesNothing, TakesPayload, TakesPayloadAndStep

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Duration = float | timedelta | str
Caller = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls the body of a step: on the loop, in a thread, or in the thread of a blocking handler."""

STEP_BACKOFF: Final = Backoff()


class StepOptions(TypedDict, total=False):
    """The options of `Step.run`, except `returns`."""

    retries: int
    backoff: Backoff
    timeout: Duration | None


class Log(logging.LoggerAdapter[logging.Logger]):
    """The log of a run: `step.log("text")`, or with a level: `step.log.warning("text")`."""

    def __call__(self, message: object, *args: object, extra: Mapping[str, object] | None = None) -> None:
        self.info(message, *args, extra=extra)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


class StepBase:
    """The base of both kinds of step: the facts of the run, and the methods that end a handler by raising."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._engine.run_id

    @property
    def workflow_name(self) -> str:
        """The name of the workflow."""
        return self._engine.workflow_name

    @property
    def attempt(self) -> int:
        """The number of this attempt of the run, from 1."""
        return self._engine.attempt

    @property
    def tenant(self) -> str | None:
        """The tenant of the run, or None."""
        return self._engine.tenant

    @property
    def env(self) -> dict[str, str]:
        """The environment for programs that the run starts: the worker's, overridden by `env` in the table of its tenant."""
        return {**os.environ, **self._engine.tenant_env}

    @property
    def log(self) -> Log:
        """The log of this run."""
        return Log(logging.getLogger(f"tako_lite.run.{self.workflow_name}"), {})

    def bail(self, reason: str) -> NoReturn:
        """End the run `cancelled`."""
        self._leave(Bailed(reason))

    def fail(self, error: str | BaseException) -> NoReturn:
        """End the run `dead`, even if retries are left."""
        self._leave(Failed(error))

    def retry(self, after: Duration = 0) -> NoReturn:
        """Run the handler again after a delay; this attempt does not count."""
        self._leave(RetryLater(units.duration(after)))

    def progress(self, fraction: float, note: str | None = None) -> None:
        """Report the progress of the run, from 0 to 1, for `status` and `show`."""
        if not 0 <= fraction <= 1:
            raise BadInput(f"progress is a number from 0 to 1, not {fraction}")
        self._engine.set_progress(float(fraction), None if note is None else note[:500])

    def _leave(self, reason: Unwind) -> NoReturn:
        self._engine.unwind(reason)
        raise reason


class Step(StepBase):
    """The durable parts of an `async def` handler."""

    @overload
    async def run(
        self, name: str, fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, **options: Unpack[StepOptions]
    ) -> T: ...
    @overload
    async def run(self, name: str, fn: Callable[[Unpack[Ts]], T], *args: *Ts, **options: Unpack[StepOptions]) -> T: ...
    @overload
    async def run(
        self, name: str, fn: Callable[..., Any], *args: Any, returns: type[T], **options: Unpack[StepOptions]
    ) -> T: ...
    @overload
    async def run(self, name: str, fn: Callable[..., Any], *args: Any, returns: Any, **options: Unpack[StepOptions]) -> Any: ...
    async def run(  # type: ignore[misc]  # mypy takes `*Ts` for arguments that `*args: Any` lacks
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
        """Call `fn(*args)` and store its value; later attempts return the stored value without a call.

        The value is stored as JSON, as a payload is, and every attempt returns what was stored: as the type that `returns` or
        the return annotation of `fn` names, else as plain JSON (a tuple is a list). A plain function runs in a thread; nothing
        can stop it, so its `timeout` only takes effect when it returns. With `retries`, a body that fails runs again after
        `backoff`. Raises StepError for a name that this attempt used before, for an `fn` that is not callable, and for a stored
        value that does not fit its type; NotJson and TooLarge for a value that cannot be stored.
        """
        if unknown or not callable(fn):
            check_call(name, fn, unknown)
        reader = result_reader(fn) if returns is AS_ANNOTATED else returned_as(returns, name)
        caller = on_loop if is_async(fn) else _in_thread
        body: Callable[[], Any] = fn if not args else (lambda: fn(*args))
        return await self.run_with(caller, name, body, retries, backoff, timeout, reader)

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
        """The core of `run`: `caller` calls the body in the right thread, `reader` converts its stored value."""
        engine = self._engine
        stored = engine.begin(name)
        tries = 0
        if stored is not None:
            if stored.state == "succeeded":
                return read_stored(reader, _value(stored), name)
            if ran_before(stored.text):
                self.log.warning("step %r ran before, but its value could not be stored: it runs again now", name)
            tries = stored.tries
        limit = None if timeout is None else units.duration(timeout)
        if engine.info is not None:
            caller, limit = _hooked(caller, limit, engine, engine.info, name, tries), None
        while True:
            tries += 1
            started_at = engine.now()
            engine.enter()
            has_run = False
            try:
                value = await (caller(body) if limit is None else _limited(caller, body, limit, name))
                has_run = True
                text, kept = stored_form(value, name)
                saved = await engine.save(name, "run", "succeeded", text, None, tries, started_at)
                if saved.text != text:
                    kept = _value(saved)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                if has_run and isinstance(error, NotJson | TooLarge):
                    message = f"step {name!r} ran, but its value cannot be stored: {error.message}"
                    error = type(error)(message, hint=error.hint)
                described = failure_text(type(error).__name__, message_of(error)[:2000], has_run=has_run)
                engine.note_failure(name, described, tries, started_at)
                used = (tries - 1) % (retries + 1) + 1
                if not isinstance(error, Exception):  # if it left a task, it would end the worker
                    error = RuntimeError(f"step {name!r} raised {error!r}")
                if used > retries or isinstance(error, BadInput | StepError):
                    raise error
            else:
                return kept if reader is None else read_stored(reader, kept, name)
            finally:
                engine.leave()
            await self._pause(name, backoff.delay(used, random.random))

    async def _pause(self, name: str, seconds: float) -> None:
        """Wait between two tries of a step."""
        if seconds <= self._engine.inline_sleep:
            await self._sleep_inline(seconds)
        else:
            await self._engine.wait(name, "retry", None, self._engine.now() + round(seconds * 1000))

    async def _sleep_inline(self, seconds: float) -> None:
        self._engine.enter()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._engine.leave()

    async def sleep(self, name: str, duration: Duration, /) -> None:
        """Sleep for a duration. The run holds no slot while it sleeps."""
        await self._sleep(name, units.duration(duration))

    async def sleep_until(self, name: str, when: datetime | str | float, /) -> None:
        """Sleep until a time: an aware datetime, ISO-8601 text with a zone, or seconds since 1970."""
        moment = milliseconds(when)
        await self._sleep(name, (moment - self._engine.now()) / 1000, moment)

    async def _sleep(self, name: str, seconds: float, moment: int | None = None) -> None:
        stored = self._engine.begin(name)
        if stored is not None and stored.state == "succeeded":
            return
        if seconds > self._engine.inline_sleep:
            wake_at = self._engine.now() + round(seconds * 1000) if moment is None else moment
            await self._engine.wait(name, "sleep", None, wake_at)
            return
        started_at = self._engine.now()
        await self._sleep_inline(max(seconds, 0))
        self._engine.enter()
        try:
            await self._engine.save(name, "sleep", "succeeded", "null", None, 1, started_at)
        finally:
            self._engine.leave()

    @overload
    async def wait_for(
        self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: type[T]
    ) -> T | None: ...
    @overload
    async def wait_for(
        self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: Any = None
    ) -> Any: ...
    async def wait_for(
        self, event: str, timeout: Duration | None = None, name: str | None = None, *, returns: Any = None
    ) -> Any:
        """The payload of a signal that was sent already or is sent later; None after `timeout`.

        Every call is a step of its own: the first one for an event in an attempt is named `wait_for:EVENT`, the n-th one
        `wait_for:EVENT#n`, unless `name` is given. A signal never changes, so each of them returns the same payload, as the
        type `returns`, else as JSON.
        """
        check_event(event)
        name = self._engine.name_wait(event) if name is None else name
        reader = None if returns is None else reader_of(None, returns, name)
        value = await self.wait_as(name, event, timeout)
        return None if value is None else read_stored(reader, value, name)

    async def wait_as(self, name: str, event: str, timeout: Duration | None) -> Any:
        """The core of `wait_for`, as the step `name`."""
        stored = self._engine.begin(name)
        if stored is None or stored.state != "succeeded":
            wake_at = None if timeout is None else self._engine.now() + round(units.duration(timeout) * 1000)
            return _value(await self._engine.wait(name, "signal", event, wake_at))
        await asyncio.sleep(0)  # a loop over finished waits must not block the other runs of the worker
        return _value(stored)

    @overload
    async def invoke(
        self,
        name: str,
        workflow: str | WorkflowHandle[Any, Any],
        payload: Any = None,
        *,
        returns: type[T],
        **options: Unpack[EnqueueOptions],
    ) -> T: ...
    @overload
    async def invoke(
        self,
        name: str,
        workflow: str | WorkflowHandle[Any, Any],
        payload: Any = None,
        *,
        returns: Any,
        **options: Unpack[EnqueueOptions],
    ) -> Any: ...
    @overload
    async def invoke(self, name: str, workflow: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> Any: ...
    @overload
    async def invoke(
        self, name: str, workflow: TakesNothing[Awaitable[T]], payload: None = None, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    async def invoke(
        self, name: str, workflow: TakesPayload[A, Awaitable[T]], payload: A, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    async def invoke(
        self, name: str, workflow: TakesPayloadAndStep[A, Awaitable[T]], payload: A, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    async def invoke(
        self, name: str, workflow: TakesNothing[T], payload: None = None, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    @overload
    async def invoke(self, name: str, workflow: TakesPayload[A, T], payload: A, **options: Unpack[EnqueueOptions]) -> T: ...
    @overload
    async def invoke(
        self, name: str, workflow: TakesPayloadAndStep[A, T], payload: A, **options: Unpack[EnqueueOptions]
    ) -> T: ...
    async def invoke(
        self,
        name: str,
        workflow: Any,
        payload: Any = None,
        *,
        returns: Any = AS_ANNOTATED,
        **options: Any,
    ) -> Any:
        """Run another workflow in its own group and return its result. This run holds no slot while it waits.

        The result has the type `returns`, or the one that the handler of a handle is annotated with, else it is JSON. Raises
        ChildFailed if the child ends `dead` or `cancelled`. The options are those of `enqueue`.
        """
        reader = reader_of(workflow, returns, name)
        stored = self._engine.begin(name)
        if stored is None:
            text = _payload_text(workflow, payload)
            stored = await self._engine.invoke(name, _name_of(workflow), text, options)
        if stored.state == "succeeded":
            return read_stored(reader, _value(stored), name)
        error = json.loads(stored.text or "{}")
        raise ChildFailed(
            f"{_name_of(workflow)} ended {error.get('state')}: {error.get('message')}",
            child_id=str(error.get("child_id")),
            state=str(error.get("state")),
            reason=error.get("reason"),
        )

    @overload
    async def enqueue(self, name: str, workflow: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> str: ...
    @overload
    async def enqueue(
        self, name: str, workflow: TakesNothing[object], payload: None = None, **options: Unpack[EnqueueOptions]
    ) -> str: ...
    @overload
    async def enqueue(
        self, name: str, workflow: TakesPayload[A, object], payload: A, **options: Unpack[EnqueueOptions]
    ) -> str: ...
    @overload
    async def enqueue(
        self, name: str, workflow: TakesPayloadAndStep[A, object], payload: A, **options: Unpack[EnqueueOptions]
    ) -> str: ...
    async def enqueue(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> str:
        """Start another run, exactly once for this run, and return its id without waiting for its end."""
        stored = self._engine.begin(name)
        if stored is None:
            self._engine.enter()
            try:
                text = _payload_text(workflow, payload)
                stored = await self._engine.enqueue(name, _name_of(workflow), text, options)
            finally:
                self._engine.leave()
        return str(_value(stored))

    async def signal(self, event: str, payload: Any = True) -> None:
        """Send a signal. Only the first signal of a name is stored."""
        name = f"signal:{check_event(event)}"
        stored = self._engine.begin(name, again=True)
        if stored is not None and stored.state == "succeeded":
            await asyncio.sleep(0)  # as in `wait_as`
            return
        self._engine.enter()
        try:
            started_at = self._engine.now()
            await self._engine.send_signal(event, value_text(payload, "payload"))
            await self._engine.save(name, "run", "succeeded", "null", None, 1, started_at)
        finally:
            self._engine.leave()


def on_loop(body: Callable[[], Any]) -> Awaitable[Any]:
    """Call a coroutine function on the loop of the worker."""
    return cast("Awaitable[Any]", body())


def _hooked(caller: Caller, limit: float | None, engine: Engine, run: RunInfo, name: str, tries: int) -> Caller:
    """Calls bodies as `caller` does, within `limit`, with the step hooks around each call; `tries` were made before."""
    attempts = itertools.count(tries + 1)

    async def call(body: Callable[[], Any]) -> Any:
        values: list[Any] = []

        async def core() -> Any:
            # In the context of the hooks, in which they may have made a span the current one.
            within: Callable[[], Any] = partial(contextvars.copy_context().run, body)
            values.append(await (caller(within) if limit is None else _limited(caller, within, limit, name)))
            return values[0]

        try:
            return await call_through(step_hooks, StepInfo(run, name, next(attempts)), core, engine.unwind)
        except HookFailed:
            if not values:
                raise
            return values[0]  # it is stored first: the body must not run again

    return call


async def _in_thread(body: Callable[[], Any]) -> Any:
    """Call a plain function in a thread. A function cannot be stopped, so a cancelled caller waits until it returns."""
    context = contextvars.copy_context()
    call = asyncio.get_running_loop().run_in_executor(None, context.run, call_for_future, body)
    try:
        value = await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        call.exception()  # retrieve the error, so that asyncio does not log it
        raise
    return await value if inspect.isawaitable(value) else value


async def _limited(caller: Caller, body: Callable[[], Any], seconds: float, name: str) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await caller(body)
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"step {name!r} took longer than {seconds:g} s") from None
        raise


def _value(stored: Stored) -> Any:
    return None if stored.text is None else json.loads(stored.text)


def _payload_text(workflow: str | WorkflowHandle[Any, Any], payload: Any) -> str:
    return value_text(payload, "payload") if isinstance(workflow, str) else workflow.payload_text(payload)


def _name_of(workflow: str | WorkflowHandle[Any, Any]) -> str:
    return workflow if isinstance(workflow, str) else workflow.name
