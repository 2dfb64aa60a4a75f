"""The engine of a replay: it has the stored steps of a run and makes no others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tako_lite.protocol.worker import PushedRun
from tako_lite.worker.executor import Executor
from tako_lite.worker.gate import GatedRun

if TYPE_CHECKING:
    from tako_lite.protocol.items import Item
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
    def new_run(self, pushed: PushedRun, steps: Sequence[Any]) -> GatedRun:
        return ReplayRun(self._link, pushed, steps)


class ReplayRun(GatedRun):
    """An engine that has stored steps and makes no others: its gate never opens."""

    inline_sleep = -1.0

    def __init__(self, link: Link, pushed: PushedRun, steps: Sequence[Any]) -> None:
        super().__init__(link, pushed, steps)
        self.asked: dict[str, str] = {}
        """The kinds of the steps that the handler asked for, by name."""
        self.frontier: list[str] = []

    async def reach(self, name: str, kind: str) -> None:
        self.asked[name] = kind
        stored = self._stored.get(name)
        if stored is not None and (stored.state == "succeeded" or kind == "child"):
            return
        self.begin(name, again=name.startswith("signal:"))
        self.frontier.append(name)
        await self.wait_at(name)

    def set_progress(self, fraction: float, note: str | None) -> None: ...

    def report_begun(self) -> None: ...
