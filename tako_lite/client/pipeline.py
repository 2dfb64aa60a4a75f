"""Sends many requests over one connection without waiting for each reply."""

from __future__ import annotations

from collections import deque
from typing import Final

from tako_lite.client.connection import answer_of
from tako_lite.client.request import Request
from tako_lite.client.requests import Ids
from tako_lite.client.transport import REPLY_LIMIT, Transport, unreachable
from tako_lite.errors import TakoError

WINDOW: Final = 4
"""Maximum number of requests in flight: the client encodes one while the daemon decodes and commits those before."""


class Pipeline:
    """Sends `enqueue_many` requests and collects their ids. Without a connection, the transport delivers each of them."""

    def __init__(self, transport: Transport) -> None:
        self.ids = Ids()
        self._transport = transport
        self._connection = None if transport.link() else transport.connect()
        self._owed: deque[Request] = deque()

    async def add(self, request: Request) -> None:
        """Send a request, and wait for an answer if the window is full."""
        self._owed.append(request)
        if self._connection is not None:
            try:
                await self._transport.greet(self._connection, request)
                await self._transport.io.send(self._connection, self._connection.frame(request), REPLY_LIMIT)
            except TimeoutError as error:
                self._drop()
                raise unreachable("the daemon does not read from its socket", request) from error
            except OSError:
                self._drop()
            except TakoError:  # the daemon serves another project, so nothing was sent
                self._owed.pop()
                self._drop()
                raise
        while len(self._owed) >= WINDOW or (self._owed and self._connection is None):
            await self._take_answer()

    async def finish(self) -> Ids:
        """Wait for the remaining answers; returns all ids in the order of the payloads."""
        while self._owed:
            await self._take_answer()
        return self.ids

    def close(self) -> None:
        """Return the connection to the pool, or close it if a reply is still missing."""
        if self._connection is not None and not self._owed:
            self._transport.release(self._connection)
            self._connection = None
        self._drop()

    async def _take_answer(self) -> None:
        request = self._owed.popleft()
        frame, sent = None, False
        if self._connection is not None:
            sent = True
            try:
                frame = await self._transport.reply(self._connection, request, REPLY_LIMIT)
            except OSError:
                pass
            finally:
                if frame is None:
                    self._drop()
        answer = answer_of(frame) if frame else await self._transport.ask(request, sent=sent)
        self.ids += answer["ids"]
        self.ids.warning = answer.get("warning") or self.ids.warning
        self.ids.refused += answer.get("refused", 0)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
