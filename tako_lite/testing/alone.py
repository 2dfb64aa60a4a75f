"""Calls a handler alone: no queue, no daemon, no worker. Its steps are executed at once, and its waits end at once."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from tako_lite.blocking import BlockingStep
from tako_lite.engine import StepKind, StepState, WaitKind
from tako_lite.errors import StepError, Unwind
from tako_lite.protocol.worker import StoredStep
from tako_lite.step import Step
from tako_lite.testing.clock import VirtualClock
from tako_lite.testing.step import Steady
from tako_lite.testing.thread import LoopThread
from tako_lite.typed import converter
from tako_lite.typed.functions import NOTHING, payload_annotation
from tako_lite.values import payload_text, value_text
from tako_lite.wire import decode_value

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle
    from tako_lite.hooks import RunInfo

R = TypeVar("R")
RUN_ID: Final = "00000000-0000-7000-8000-000000000000"


class AloneEngine:
    """The engine behind the steps of a handler that is called alone. Sleeps move the clock."""

    inline_sleep = -1.0
    info: RunInfo | None = None

    def __init__(
        self,
        workflow: str,
        clock: VirtualClock,
        attempt: int,
        tenant: str | None,
        signals: Mapping[str, Any],
        children: Mapping[str, Any],
        steps: Mapping[str, Any],
    ) -> None:
        self.run_id = RUN_ID
        self.workflow_name = workflow
        self.attempt = attempt
        self.tenant = tenant
        self.tenant_env: Mapping[str, str] = {}
        self.unwinding: Unwind | None = None
        self._clock = clock
        self._signals = signals
        self._children = children
        self._stored = {name: StoredStep("succeeded", value_text(value, name), 1) for name, value in steps.items()}
        self._begun: set[str] = set()
        self._waited: dict[str, int] = {}

    def now(self) -> int:
        return self._clock.now()

    def begin(self, name: str, *, again: bool = False) -> StoredStep | None:
        if self.unwinding is not None:
            raise self.unwinding
        if name in self._begun and not again:
            raise StepError(
                f"the step {name!r} ran before in this attempt", hint='put what differs into the name: f"resize-{i}"'
            )
        self._begun.add(name)
        return self._stored.get(name)

    def name_wait(self, event: str) -> str:
        count = self._waited[event] = self._waited.get(event, 0) + 1
        return f"wait_for:{event}" if count == 1 else f"wait_for:{event}#{count}"

    def enter(self) -> None: ...

    def leave(self) -> None: ...

    async def save(
        self, name: str, kind: StepKind, state: StepState, value: str | None, error: str | None, tries: int, started_at: int
    ) -> StoredStep:
        stored = self._stored[name] = StoredStep(state, value if state == "succeeded" else error, tries)
        return stored

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None: ...

    async def wait(self, name: str, kind: WaitKind, key: str | None, wake_at: int | None) -> StoredStep:
        if kind == "signal" and key is not None and key in self._signals:
            return StoredStep("succeeded", value_text(self._signals[key], "payload"), 1)
        if wake_at is None:
            raise StepError(f"the handler waits for the signal {key!r}", hint=f"pass it: signals={{{key!r}: …}}")
        self._clock.move(wake_at)
        return StoredStep("succeeded", "null", 1)

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        for key in (name, workflow):
            if key in self._children:
                value = self._children[key]
                if isinstance(value, BaseException):
                    about = {"state": "dead", "message": str(value), "child_id": None, "reason": None}
                    return StoredStep("failed", json.dumps(about), 1)
                return StoredStep("succeeded", value_text(value, "the result"), 1)
        raise StepError(f"the handler invokes {workflow}", hint=f"pass its result: children={{{workflow!r}: …}}")

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        return await self.save(name, "run", "succeeded", json.dumps(RUN_ID), None, 1, self.now())

    async def send_signal(self, event: str, payload: str) -> None: ...

    def set_progress(self, fraction: float, note: str | None) -> None: ...

    def unwind(self, reason: Unwind) -> None:
        self.unwinding = self.unwinding or reason


class _AloneStep(Step):
    async def run_with(self, caller: Any, name: str, body: Any, retries: int, backoff: Any, *rest: Any) -> Any:
        return await super().run_with(caller, name, body, retries, Steady(backoff.base, backoff.max), *rest)


def call_alone(handle: WorkflowHandle[..., Any], payload: Any, engine: AloneEngine, limit: float) -> Any:
    """The result of a handler, as it returned it. Raises what it raises, and the `Unwind` of `bail`, `fail` and `retry`."""
    function = handle.function
    value = _read(function, payload)
    count = len([each for each in inspect.signature(function).parameters.values() if each.default is each.empty])
    thread = LoopThread()

    async def execute() -> Any:
        step: Any = _AloneStep(engine)
        if not inspect.iscoroutinefunction(function):
            loop = asyncio.get_running_loop()
            step = BlockingStep(engine, loop)
            return await asyncio.to_thread(function, *(value, step)[:count])
        return await function(*(value, step)[:count])

    try:
        return thread.call(_unwinding(execute), limit, lambda: f"the handler of {handle.name} did not return")
    finally:
        thread.stop()


async def _unwinding(execute: Callable[[], Any]) -> Any:
    """Raise the reason of an `Unwind`, which would end the thread of the loop, as an error of the caller."""
    try:
        return await execute()
    except Unwind as reason:
        raise Left(reason) from reason


class Left(Exception):
    """The handler was left by `step.bail`, `step.fail` or `step.retry`; `reason` has which, and why."""

    def __init__(self, reason: Unwind) -> None:
        super().__init__(f"{type(reason).__name__}: {reason}")
        self.reason = reason


def _read(function: Callable[..., Any], payload: Any) -> Any:
    """The payload as the handler gets it: made JSON, and read again as its type."""
    annotation = payload_annotation(function)
    if annotation is NOTHING or annotation is Any:
        return decode_value(value_text(payload, "payload"))
    text = payload_text(payload, annotation, "payload")
    return cast("Any", converter(annotation, "payload"))(decode_value(text))
