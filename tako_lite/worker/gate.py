"""A run that does nothing new until it has reached every step that it has stored.

Other code may ask for the stored steps under other names, and would execute their bodies again. So a step that is not stored
waits at a gate, which opens once all stored steps were asked for. If the handler does nothing but wait before that, as for
parking, the run is held for a person.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from tako_lite.blocking import BlockingStep
from tako_lite.errors import Held, Unwind
from tako_lite.protocol.worker import PushedRun, StoredStep
from tako_lite.reached import not_reached
from tako_lite.step import Caller, Duration, Step
from tako_lite.worker.run import ActiveRun

if TYPE_CHECKING:
    from tako_lite.backoff import Backoff
    from tako_lite.typed import Reader
    from tako_lite.worker.link import Link


class GatedRun(ActiveRun, ABC):
    """An engine that learns of each step before it begins."""

    is_gated = True

    @abstractmethod
    async def reach(self, name: str, kind: str) -> None:
        """The handler asks for a step: return once it may begin."""

    async def wait_at(self, name: str) -> None:
        """Wait at the gate for as long as the handler may come to other steps: once it only waits, the run ends."""
        future: asyncio.Future[StoredStep] = self._loop.create_future()
        self.waits[name] = future
        self._maybe_park()
        try:
            await future
        finally:
            del self.waits[name]


class CheckedRun(GatedRun):
    """The engine of a run that began with other code, and must not do anything new before its stored steps are reached."""

    def __init__(self, link: Link, pushed: PushedRun, steps: Sequence[Any]) -> None:
        super().__init__(link, pushed, steps)
        self._missing = set(self.succeeded_before())
        self._at_gate: list[str] = []

    async def reach(self, name: str, kind: str) -> None:
        if self._missing and not self.has_value(name):
            self._at_gate.append(name)
            await self.wait_at(name)

    def begin(self, name: str, *, again: bool = False) -> StoredStep | None:
        stored = super().begin(name, again=again)
        if self._missing:
            self._missing.discard(name)
            if not self._missing:
                self._open()
        return stored

    def reason_to_park(self) -> Unwind:
        if not self._missing:
            return super().reason_to_park()
        known = dict(self.states_before())
        stopped_at = [name for name in self._at_gate if name not in known]
        return Held(not_reached(self.succeeded_before(), self.begun, stopped_at), stopped_at)

    def _open(self) -> None:
        for future in self.waits.values():
            if not future.done():
                future.set_result(_OPEN)


_OPEN: Final = StoredStep("open", None, 0)


class GatedStep(Step):
    """The steps of an `async def` handler whose engine has a gate."""

    def __init__(self, engine: GatedRun) -> None:
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
        await self._run.reach(name, "run")
        return await super().run_with(caller, name, body, retries, backoff, timeout, reader)

    async def sleep(self, name: str, duration: Duration, /) -> None:
        await self._run.reach(name, "sleep")
        await super().sleep(name, duration)

    async def sleep_until(self, name: str, when: Any, /) -> None:
        await self._run.reach(name, "sleep")
        await super().sleep_until(name, when)

    async def wait_as(self, name: str, event: str, timeout: Duration | None) -> Any:
        await self._run.reach(name, "signal")
        return await super().wait_as(name, event, timeout)

    async def invoke(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> Any:
        await self._run.reach(name, "child")
        return await super().invoke(name, workflow, payload, **options)

    async def enqueue(self, name: str, workflow: Any, payload: Any = None, **options: Any) -> str:
        await self._run.reach(name, "enqueue")
        return await super().enqueue(name, workflow, payload, **options)

    async def signal(self, event: str, payload: Any = True) -> None:
        await self._run.reach(f"signal:{event}", "run")
        await super().signal(event, payload)


class GatedBlockingStep(BlockingStep):
    """The steps of a plain `def` handler whose engine has a gate."""

    def __init__(self, engine: GatedRun, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine, loop)
        self._step = GatedStep(engine)
