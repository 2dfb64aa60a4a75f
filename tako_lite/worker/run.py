"""One attempt of a run in its worker: the engine behind its `Step`, and what parks or unwinds it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from typing import Any, Final

from tako_lite import tracing
from tako_lite.engine import MAX_NAME, StepKind, StepState, WaitKind
from tako_lite.enqueue_options import OPTIONS, read_options
from tako_lite.errors import Cancelled, Drained, Parked, StepError, Superseded, TimedOut, Unwind
from tako_lite.hooks import RunInfo
from tako_lite.named_tuples import new_tuple
from tako_lite.protocol.items import (
    AddWait,
    EnqueueChild,
    HandlerBegun,
    InvokeChild,
    Progress,
    SaveStep,
)
from tako_lite.protocol.worker import (
    NO_EXTRA,
    InFlight,
    PriorStep,
    PushedRun,
    StoredStep,
)
from tako_lite.secrets import masked
from tako_lite.worker.link import Link

PARK_AFTER: Final = 0.05
"""Seconds for which a handler must do nothing but wait before its run is parked."""
INLINE_SLEEP: Final = 1.0
"""Seconds up to which a sleep keeps its slot."""
CANCEL_AFTER: Final = 0.02
"""Seconds after which a handler that has not moved since it was to be left is cancelled."""
CANCEL_AGAIN_AFTER: Final = 5.0
"""Seconds after which its `finally` blocks are cancelled."""

_UNSOUND: Final = re.compile("[\x00\ud800-\udfff]")
current_run: ContextVar[ActiveRun | None] = ContextVar("current_run", default=None)


class ActiveRun:
    """Carries the steps of one attempt over the link, and knows what is in flight."""

    def __init__(self, link: Link, pushed: PushedRun, steps: Sequence[Any]) -> None:
        """`steps` are the lists of all `PriorStep`s, those too that came ahead of the run."""
        (
            self.run_id, self.workflow_name, self.module, self.token, self.attempt, self.timeout, self.payload, _, extra,
        ) = pushed  # fmt: skip
        self.tenant, self.tenant_env, self.is_rated, self.facts, self.changed = extra or NO_EXTRA
        self.task: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.unwinding: Unwind | None = None
        self.waits: dict[str, asyncio.Future[StoredStep]] = {}
        self._link = link
        self.prior = steps
        self._stored = {prior.name: prior.stored for prior in (PriorStep(*step) for step in steps)} if steps else {}
        self._early: dict[str, StoredStep] = {}
        self._begun: dict[str, float] = {}
        self._waited: dict[str, int] = {}
        self._active = 0
        self._draining = False
        self._park: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    # The engine of `Step`

    inline_sleep: float = INLINE_SLEEP

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def begin(self, name: str, *, again: bool = False) -> StoredStep | None:
        self.check()
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or _UNSOUND.search(name):
            raise StepError(f"a step's name is text of 1 to {MAX_NAME} characters, not {ascii(name)[:80]}")
        if name in self._begun and not again:
            raise StepError(
                f"the step {name!r} ran before in this attempt", hint='put what differs into the name: f"resize-{i}"'
            )
        self._begun[name] = time.time()
        return self._stored.get(name)

    def in_flight(self) -> list[InFlight]:
        """The steps that have begun and have no value yet, without waits. Another thread may call this."""
        begun = list(self._begun.items())
        return [
            InFlight(self.run_id, name, round(since * 1000))
            for name, since in begun
            if name not in self._stored and name not in self.waits
        ]

    def name_wait(self, event: str) -> str:
        count = self._waited[event] = self._waited.get(event, 0) + 1
        return f"wait_for:{event}" if count == 1 else f"wait_for:{event}#{count}"

    def enter(self) -> None:
        self._active += 1
        if self._park is not None:
            self._park.cancel()
            self._park = None

    def leave(self) -> None:
        self._active -= 1
        self._maybe_park()

    async def save(
        self, name: str, kind: StepKind, state: StepState, value: str | None, error: str | None, tries: int, started_at: int
    ) -> StoredStep:
        link, size = self._link, len(value or "") + len(error or "")
        fields = ("step", link.next_sequence(), self.run_id, self.token, name, kind, state, value, error, tries, started_at)
        answer = await link.ask(new_tuple(SaveStep, fields), size)
        stored = self._take(name, answer)
        self.check()
        return stored

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None:
        if self.unwinding is None:
            sequence = self._link.next_sequence()
            asked = self._link.ask(
                SaveStep("step", sequence, self.run_id, self.token, name, "run", "failed", None, error, tries, started_at)
            )
            asked.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def wait(self, name: str, kind: WaitKind, key: str | None, wake_at: int | None) -> StoredStep:
        item = AddWait("wait", self._link.next_sequence(), self.run_id, self.token, name, kind, key, wake_at)
        return await self._wait(name, self._link.ask(item))

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        options = read_options(options, OPTIONS)
        if tracing.is_loaded():
            with tracing.sending(workflow) as trace:
                options = _traced(options, trace)
        item = InvokeChild("invoke", self._link.next_sequence(), self.run_id, self.token, name, workflow, payload, options)
        return await self._wait(name, self._link.ask(item, len(payload)))

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        options = read_options(options, OPTIONS)
        if tracing.is_loaded():
            with tracing.sending(workflow) as trace:
                options = _traced(options, trace)
        item = EnqueueChild("enqueue", self._link.next_sequence(), self.run_id, self.token, name, workflow, payload, options)
        stored = self._take(name, await self._link.ask(item, len(payload)))
        self.check()
        return stored

    async def send_signal(self, event: str, payload: str) -> None:
        await self._link.command("signal", {"event": event, "payload": json.loads(payload)})

    def set_progress(self, fraction: float, note: str | None) -> None:
        text = None if note is None else _UNSOUND.sub("�", masked(note))
        item = Progress("progress", self.run_id, self.token, fraction, text)
        self._loop.call_soon_threadsafe(self._link.send, item)

    def unwind(self, reason: Unwind) -> None:
        if self.unwinding is None:
            self.unwinding = reason

    def report_begun(self) -> None:
        """Report at once that the handler has begun: the rate of its workflow counts from this report."""
        self._link.send(HandlerBegun("begun", self.run_id, self.token))
        self._link.flush()

    # Steps that were stored before this attempt

    def states_before(self) -> list[tuple[str, str]]:
        """The names and states of the steps that were stored before this attempt."""
        return [(step[0], step[1]) for step in self.prior]

    def succeeded_before(self) -> list[str]:
        """The names of those with a value."""
        return [name for name, state in self.states_before() if state == "succeeded"]

    def unknown_steps(self) -> list[str]:
        """The steps that this attempt asked for and that were not stored before."""
        known = dict(self.states_before())
        return [name for name in self._begun if name not in known]

    @property
    def begun(self) -> Collection[str]:
        """The steps that this attempt asked for."""
        return self._begun

    def has_value(self, name: str) -> bool:
        """Whether a step has a value by now."""
        stored = self._stored.get(name)
        return stored is not None and stored.state == "succeeded"

    # Frames from the daemon

    def resolved(self, name: str, stored: StoredStep) -> None:
        """A wait is over."""
        future = self.waits.get(name)
        if future is None:
            self._early[name] = stored  # its registration is still being answered
        elif not future.done():
            future.set_result(stored)

    def cancel(self) -> None:
        """Leave the handler, because the run is cancelled."""
        self._leave(Cancelled())

    def time_out(self) -> None:
        """Leave the handler, because the attempt took longer than its timeout."""
        self._leave(TimedOut())

    def drain(self) -> None:
        """Leave the handler at its next step; steps in flight may finish and be stored."""
        self._draining = True
        if self.waits and not self._active:
            self._leave(Drained(), cancels=False)

    # Parking and unwinding

    def check(self) -> None:
        """Raise the reason to leave the handler, if there is one."""
        if self.unwinding is not None:
            raise self.unwinding
        if self._draining:
            self.unwinding = Drained()
            raise self.unwinding

    def _take(self, name: str, answer: Any) -> StoredStep:
        if answer is None:
            self.unwind(Superseded())
            raise Superseded
        stored: StoredStep = new_tuple(StoredStep, answer)
        self._stored[name] = stored
        return stored

    async def _wait(self, name: str, asked: asyncio.Future[Any]) -> StoredStep:
        self.enter()
        try:
            answer = await asked
            self.check()
        finally:
            self._active -= 1
        if answer != "waiting":
            self._maybe_park()
            return self._take(name, answer)
        if name in self._early:
            self._maybe_park()
            return self._early.pop(name)
        future: asyncio.Future[StoredStep] = self._loop.create_future()
        self.waits[name] = future
        self._maybe_park()
        try:
            stored = await future
        finally:
            del self.waits[name]
        if stored.state != "gone":
            self._stored[name] = stored
        self._maybe_park()
        return stored

    def _maybe_park(self) -> None:
        if self._active or not self.waits or self.unwinding is not None:
            return
        if self._draining:
            self._leave(Drained(), cancels=False)
        elif self._park is None:
            self._park = self._loop.call_later(self.park_after(), self._park_now)

    def park_after(self) -> float:
        """For how many seconds nothing but waits must be in flight before the run parks."""
        return PARK_AFTER

    def _park_now(self) -> None:
        self._park = None
        if not self._active and self.waits and not any(future.done() for future in self.waits.values()):
            self.parked_on = list(self.waits)
            self._leave(self.reason_to_park())
        else:
            self._maybe_park()

    def reason_to_park(self) -> Unwind:
        """Why a handler is left that only waits."""
        return Parked()

    parked_on: list[str] = []  # noqa: RUF012 -- replaced, never changed
    info: RunInfo | None = None
    """The run for hooks."""
    raised: BaseException | None = None
    """What the handler raised, for hooks."""

    is_gated = False
    """Whether it is a `gate.GatedRun`."""

    def note_raised(self, error: BaseException) -> None:
        """Keep what the handler raised, if hooks will see it."""
        if self.info is not None:
            self.raised = error

    def _leave(self, reason: Unwind, *, cancels: bool = True) -> None:
        if self.unwinding is not None:
            return
        self.unwinding = reason
        for future in self.waits.values():
            if not future.done():
                future.set_exception(reason)
                future.exception()  # retrieved here, since the task that waited may be gone
        if cancels and self.task is not None:
            self._loop.call_later(CANCEL_AFTER, self._cancel_if_stuck, _await_point(self.task))
            self._loop.call_later(CANCEL_AGAIN_AFTER, self._cancel_if_stuck, None)

    def _cancel_if_stuck(self, place: object) -> None:
        """Cancel a handler that still awaits the same. If it has moved, it is ending, and its `finally` may take a while."""
        if self.task is not None and (place is None or _await_point(self.task) is place):
            self.task.cancel()

    def task_done(self, task: asyncio.Task[Any]) -> None:
        """Forget a task of the handler that ended; while unwinding, retrieve its exception, so that asyncio logs none."""
        self.tasks.discard(task)
        if self.unwinding is not None and not task.cancelled():
            task.exception()

    def is_idle(self) -> bool:
        """Whether the handler left nothing behind for `close` to end."""
        return not (self.tasks or self.waits or self._active or self._park)

    async def close(self) -> None:
        """After the handler: cancel the tasks that it left behind, and wait for steps in threads."""
        if self._park is not None:
            self._park.cancel()
        for task in self.tasks:
            if not task.done():
                task.cancel()
        for future in self.waits.values():
            future.cancel()
        while self._active and (left := [task for task in self.tasks if not task.done()]):
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)


def _traced(options: dict[str, Any], trace: str | None) -> dict[str, Any]:
    """The options of a child with the trace of this attempt, unless they have another."""
    return options if trace is None or "trace" in options else {**options, "trace": trace}


def _await_point(task: asyncio.Task[None]) -> object:
    """What a task awaits at the bottom of its coroutines: another object after each move."""
    place: object = task.get_coro()
    while (inner := getattr(place, "cr_await", None)) is not None:
        place = inner
    return place
