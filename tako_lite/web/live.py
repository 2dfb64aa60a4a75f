"""What only the daemon knows, asked at most once a second however many pages are open."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

import anyio.from_thread

from tako_lite.client.asynchronous import AsyncClient
from tako_lite.errors import DaemonUnreachable

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]

FRESH: Final = 1.0
"""Seconds for which an answer is used again."""
PATIENCE: Final = 0.5
"""Seconds that a page waits for a daemon that is starting or stopping."""
ANSWERS_WITHIN: Final = 3.0
"""Seconds that a page waits for an answer at most: a daemon that is stopped by a signal never answers."""
SILENT: Final = 30.0
"""Seconds for which the last status is shown while the daemon does not answer."""
MOST_KEPT: Final = 200
"""Answers that are kept at most."""
_UNSTEADY: Final = frozenset({"uptime_s", "oldest_wait_s", "rss_bytes", "cpu_s", "started_at", "file_bytes"})
"""Facts of `status` that change without anything having happened; a page shows them as of its last change."""


class Live:
    """Asks the daemon, or the files while none runs, and keeps each answer for a second."""

    def __init__(self, project: Path) -> None:
        self.client = AsyncClient(project, patience=PATIENCE)
        self.asked = 0
        """How often the daemon was asked."""
        self._kept: dict[str, tuple[float, asyncio.Future[Document]]] = {}
        self._last: tuple[float, Document | None] = (0.0, None)

    async def ask(self, command: str, arguments: Document) -> Document:
        """The answer to a command that reads. Raises the error of the daemon."""
        key = json.dumps([command, arguments], sort_keys=True)
        at, answer = self._kept.get(key, (0.0, None))
        now = time.monotonic()
        if answer is None or (answer.done() and (now - at > FRESH or answer.cancelled())):
            self._forget(now)
            self.asked += 1
            answer = asyncio.ensure_future(self.client.call(command, **arguments))
            self._kept[key] = now, answer
        try:
            return await asyncio.wait_for(asyncio.shield(answer), ANSWERS_WITHIN)
        except TimeoutError:
            raise DaemonUnreachable("the daemon does not answer", hint="tako-lite doctor") from None

    def ask_from_thread(self, command: str, arguments: Document) -> Document:
        """The same from the thread that makes a page."""
        return anyio.from_thread.run(self.ask, command, arguments)

    async def status(self) -> Document | None:
        """The answer to `status`. While a daemon starts or stops and does not answer, the last one: pages stay as they are.

        None if there is no such answer, or only one that is old.
        """
        try:
            known = await self.ask("status", {})
        except DaemonUnreachable:
            at, last = self._last
            return last if time.monotonic() - at < SILENT else None
        self._last = time.monotonic(), known
        return known

    def forget(self) -> None:
        """Ask again for everything: a visitor has changed something."""
        self._kept.clear()

    def _forget(self, now: float) -> None:
        stale = [key for key, (at, answer) in self._kept.items() if now - at > FRESH and answer.done()]
        for key in stale:
            _, answer = self._kept.pop(key)
            if not answer.cancelled():
                answer.exception()  # retrieved, so that asyncio does not report it
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]


def digest(status: Document | None) -> str:
    """A short text that changes when something happens to groups or workers."""
    steady = json.dumps(_steady(status), sort_keys=True)
    return hashlib.blake2b(steady.encode(), digest_size=8).hexdigest()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(inner) for key, inner in value.items() if key not in _UNSTEADY}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value
