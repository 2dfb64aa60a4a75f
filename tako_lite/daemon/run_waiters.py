"""Futures for callers that wait for the end of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class RunWaiters:
    """Futures by run; a cancelled future is forgotten."""

    def __init__(self) -> None:
        self._futures: dict[str, set[asyncio.Future[None]]] = {}

    def add(self, run_id: str) -> asyncio.Future[None]:
        """A future that is done when the run ends."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures = self._futures.setdefault(run_id, set())
        futures.add(future)

        def forget(_: asyncio.Future[None]) -> None:
            futures.discard(future)
            if not futures and self._futures.get(run_id) is futures:
                del self._futures[run_id]

        future.add_done_callback(forget)
        return future

    @property
    def waiting(self) -> list[str]:
        """The runs that somebody waits for."""
        return list(self._futures)

    def resolve(self, ended: Iterable[str]) -> None:
        """Resolve the futures of runs that have ended."""
        if not self._futures:
            return
        for run_id in ended:
            for future in tuple(self._futures.get(run_id, ())):
                if not future.done():
                    future.set_result(None)
