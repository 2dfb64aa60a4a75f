"""Serves the dashboard: uvicorn without its ten wake-ups a second, which ends by itself when no page has asked for a while."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from types import FrameType
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS: Final = 64
KEEP_ALIVE: Final = 75
"""Seconds for which a browser may keep a connection open: pages ask every five seconds at most."""
REQUEST_TIMEOUT: Final = 10.0
"""Seconds in which a request has to be complete."""
GRACE: Final = 2
"""Seconds that requests under way get at the end."""


class BoundedProtocol(H11Protocol):
    """A connection that is closed if its client does not send a whole request in time: there are only so many connections."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class QuietServer(uvicorn.Server):
    """A server that wakes up only when something happens; with `idle_exit` it ends so many seconds after the last request."""

    def __init__(self, app: ASGIApp, idle_exit: float | None = None) -> None:
        self._app = app
        self._idle_exit = idle_exit
        self._last = time.monotonic()
        config = uvicorn.Config(
            self._noting,
            interface="asgi3",
            http=BoundedProtocol,
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_level="warning",
            access_log=False,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=32_768,
        )
        super().__init__(config)

    async def _noting(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._last = time.monotonic()
        await self._app(scope, receive, send)

    async def main_loop(self) -> None:
        """Wait for the end, which uvicorn checks for ten times a second."""
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        idle = None if self._idle_exit is None else asyncio.create_task(self._leave_when_idle(self._idle_exit))
        if not self.should_exit:
            await self._over.wait()
        if idle is not None:
            idle.cancel()

    async def _leave_when_idle(self, limit: float) -> None:
        while (left := self._last + limit - time.monotonic()) > 0:  # noqa: ASYNC110 (a request only notes its time)
            await asyncio.sleep(left)
        self.should_exit = True
        self._over.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.started:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._over.set)


def serve(app: ASGIApp, listening: socket.socket, idle_exit: float | None = None) -> None:
    """Serve until a signal or the idle limit ends it."""
    QuietServer(app, idle_exit).run(sockets=[listening])
