"""One attempt of a run in its worker: the engine behind its `Step`, and what parks or unwinds it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, NamedTuple

from tako_lite.engine import MAX_NAME
from tako_lite.enqueue_options import OPTIONS, read_options
from tako_lite.errors import Cancelled, Drained, Parked, StepError, Superseded, TimedOut, Unwind
from tako_lite.secrets import masked
from tako_lite.worker.link import Link

PARK_AFTER: Final = 0.05
"""Seconds that all step calls in flight must have been waits."""
NUDGE_AFTER: Final = 0.02
"""Seconds after which a handler that did not notice is cancelled where it is."""
LAST_NUDGE_AFTER: Final = 5.0
"""Seconds that its `finally` blocks have to wait for something."""

_UNSOUND: Final = re.compile("[\x00\ud800-\udfff]")
Kind = Literal["run", "sleep", "signal", "child", "retry"]
NO_ENV: Final[Mapping[str, str]] = {}
current_run: ContextVar[ActiveRun | None] = ContextVar("current_run", default=None)


class StoredStep(NamedTuple):
    """What a step has stored: its value's JSON text, or for a failed one its error's."""

    state: str
    text: str | None
    tries: int


class ActiveRun:
    """Carries the steps of one attempt over the link, and knows what is in flight."""

    def __init__(
        self,
        link: Link,
        run_id: str,
        workflow_name: str,
        token: int,
        attempt: int,
        payload: str,
        stored: list[tuple[str, str, str | None, int]],
        tenant: str | None = None,
        tenant_env: Mapping[str, str] = NO_ENV,
        is_rated: bool = False,
    ) -> None:
        self.run_id = run_id
        self.workflow_name = workflow_name
        self.token = token
        self.attempt = attempt
        self.payload = payload
        self.tenant = tenant
        self.tenant_env = tenant_env
        self.is_rated = is_rated
        self.task: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.unwinding: Unwind | None = None
        self.waits: dict[str, asyncio.Future[StoredStep]] = {}
        self._link = link
        self._stored = {step[0]: StoredStep(*step[1:]) for step in stored} if stored else {}
        self._early: dict[str, StoredStep] = {}
        self._names: set[str] = set()
        self._waited: dict[str, int] = {}
        self._active = 0
        self._draining = False
        self._park: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    # The engine of `Step`

    def begin(self, name: str, *, again: bool = False) -> StoredStep | None:
        self.check()
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or _UNSOUND.search(name):
            raise StepError(f"a step's name is text of 1 to {MAX_NAME} characters, not {ascii(name)[:80]}")
        if name in self._names and not again:
            raise StepError(
                f"the step {name!r} ran before in this attempt", hint='put what differs into the name: f"resize-{i}"'
            )
        self._names.add(name)
        return self._stored.get(name)

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
        self, name: str, kind: Kind, state: str, value: str | None, error: str | None, tries: int, started_at: int
    ) -> StoredStep:
        size = len(value or "") + len(error or "")
        answer = await self._link.ask(
            "step", self.run_id, self.token, name, kind, state, value, error, tries, started_at, size=size
        )
        stored = self._take(name, answer)
        self.check()
        return stored

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None:
        if self.unwinding is None:
            asked = self._link.ask("step", self.run_id, self.token, name, "run", "failed", None, error, tries, started_at)
            asked.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def wait(self, name: str, kind: Kind, key: str | None, wake_at: int | None) -> StoredStep:
        return await self._wait(name, self._link.ask("wait", self.run_id, self.token, name, kind, key, wake_at))

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        item = ("invoke", self.run_id, self.token, name, workflow, payload, read_options(options, OPTIONS))
        return await self._wait(name, self._link.ask(*item, size=len(payload)))

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> StoredStep:
        item = ("enqueue", self.run_id, self.token, name, workflow, payload, read_options(options, OPTIONS))
        stored = self._take(name, await self._link.ask(*item, size=len(payload)))
        self.check()
        return stored

    async def send_signal(self, event: str, payload: str) -> None:
        await self._link.command("signal", {"event": event, "payload": json.loads(payload)})

    def set_progress(self, fraction: float, note: str | None) -> None:
        item = ["progress", self.run_id, self.token, fraction, None if note is None else _UNSOUND.sub("�", masked(note))]
        self._loop.call_soon_threadsafe(self._link.send, item)

    def unwind(self, reason: Unwind) -> None:
        if self.unwinding is None:
            self.unwinding = reason

    def begin_handler(self) -> None:
        """The handler's first line comes next; a rate waits for this report, so it does not wait for the end of the turn."""
        if self.is_rated:
            self._link.send(["begun", self.run_id, self.token])
            self._link.flush()

    # What the daemon says

    def resolved(self, name: str, stored: StoredStep) -> None:
        """A wait is over."""
        future = self.waits.get(name)
        if future is None:
            self._early[name] = stored  # its registration is still being answered
        elif not future.done():
            future.set_result(stored)

    def cancel(self) -> None:
        """Somebody cancelled the run: leave the handler where it is."""
        self._leave(Cancelled())

    def time_out(self) -> None:
        """The attempt took too long."""
        self._leave(TimedOut())

    def drain(self) -> None:
        """Stop at the next step; steps in flight may finish and be stored."""
        self._draining = True
        if self.waits and not self._active:
            self._leave(Drained(), nudge=False)

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
        stored = StoredStep(*answer)
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
            self._leave(Drained(), nudge=False)
        elif self._park is None:
            self._park = self._loop.call_later(PARK_AFTER, self._park_now)

    def _park_now(self) -> None:
        self._park = None
        if not self._active and self.waits and not any(future.done() for future in self.waits.values()):
            self.parked_on = list(self.waits)
            self._leave(Parked())
        else:
            self._maybe_park()

    parked_on: list[str] = []  # noqa: RUF012 -- replaced, never changed

    def _leave(self, reason: Unwind, *, nudge: bool = True) -> None:
        if self.unwinding is not None:
            return
        self.unwinding = reason
        for future in self.waits.values():
            if not future.done():
                future.set_exception(reason)
                future.exception()  # whoever waited may be gone
        if nudge and self.task is not None:
            self._loop.call_later(NUDGE_AFTER, self._nudge, _place(self.task))
            self._loop.call_later(LAST_NUDGE_AFTER, self._nudge, None)

    def _nudge(self, place: object) -> None:
        """Cancel a handler that still is where it was. One that is elsewhere noticed, and its `finally` may take a while."""
        if self.task is not None and (place is None or _place(self.task) is place):
            self.task.cancel()

    def forget(self, task: asyncio.Task[Any]) -> None:
        """A task of the handler ended; what it raised while the handler was left is nobody's."""
        self.tasks.discard(task)
        if self.unwinding is not None and not task.cancelled():
            task.exception()

    def is_still(self) -> bool:
        """Whether the handler left nothing behind that `close` would have to end."""
        return not (self.tasks or self.waits or self._active or self._park)

    async def close(self) -> None:
        """The handler is left: tasks that it forgot are cancelled, and steps in threads are waited for."""
        if self._park is not None:
            self._park.cancel()
        for task in self.tasks:
            if not task.done():
                task.cancel()
        for future in self.waits.values():
            future.cancel()
        while self._active and (left := [task for task in self.tasks if not task.done()]):
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)


def _place(task: asyncio.Task[None]) -> object:
    """What a task awaits, at the bottom of its coroutines: another object whenever it has gone on."""
    place: object = task.get_coro()
    while (inner := getattr(place, "cr_await", None)) is not None:
        place = inner
    return place
