"""The worker's end of its link to the daemon: sends items, batched by turns of the loop, and receives frames."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any, Final, cast

from tako_lite.errors import NotJson, TakoError, from_json
from tako_lite.protocol.items import (
    CallCommand,
    Item,
    Request,
)
from tako_lite.protocol.worker import (
    FromWorker,
    OutFrame,
    ToWorker,
)
from tako_lite.wire import MAX_LINK_FRAME, LineReader, encode_frame

FULL: Final = 2 * 1024 * 1024
"""Characters of values after which a frame is sent without waiting for the end of the turn."""
MANY: Final = 50
"""Items after which a frame is sent at once too: the daemon commits them while other handlers are still executing."""


class Link(asyncio.Protocol):
    """The connection. What a handler does in one turn of the loop leaves in one frame."""

    def __init__(self, on_frame: Callable[[ToWorker], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._lines = LineReader(MAX_LINK_FRAME)
        self._items: list[Item] = []
        self._size = 0
        self.next_sequence: Callable[[], int] = itertools.count(1).__next__
        """Counts requests."""
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._on_frame(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()

    def send(self, item: Item, size: int = 0) -> None:
        """Send an item with the others of this turn; `size` is the number of characters of its values."""
        if not self._items:
            self._loop.call_soon(self.flush)
        self._items.append(item)
        self._size += size
        if self._size > FULL or len(self._items) == MANY:
            self.flush()

    def ask(self, request: Request, size: int = 0) -> asyncio.Future[Any]:
        """Send a request; the future gets the outcome in its answer."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._answers[request.sequence] = future
        self.send(request, size)
        return future

    def answer(self, sequence: int, outcome: Any) -> None:
        """Pass an answer on to the call that waits for it."""
        future = self._answers.pop(sequence, None)
        if future is not None and not future.done():
            if isinstance(outcome, dict) and "error" in outcome:
                future.set_exception(from_json(outcome["error"]))
            else:
                future.set_result(outcome)

    def flush(self) -> None:
        """Send the items of this turn."""
        if self._items and self._transport is not None:
            items, self._items, self._size = self._items, [], 0
            try:
                data = encode_frame(OutFrame(t="out", items=items))
            except (TypeError, ValueError):
                data = b"".join(self._encode_alone(item) for item in items)
            self._transport.write(data)

    def _encode_alone(self, item: Item) -> bytes:
        """A frame of one item; a request that JSON cannot represent fails with NotJson, and the other items are still sent."""
        try:
            return encode_frame(OutFrame(t="out", items=[item]))
        except (TypeError, ValueError) as error:
            future = self._answers.pop(item.sequence, None) if isinstance(item, Request) else None
            if future is None:
                raise
            future.set_exception(NotJson(f"the request cannot be sent: {error}"))
            return b""

    def say(self, frame: FromWorker) -> None:
        """Send a frame, after the items that wait."""
        self.flush()
        if self._transport is not None:
            self._transport.write(encode_frame(frame))

    def disconnect(self) -> None:
        """Send nothing more, not even what is queued."""
        self._transport = None

    async def sent(self) -> None:
        """Wait until everything is handed to the kernel."""
        while self._transport is not None and self._transport.get_write_buffer_size():  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.01)

    async def command(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Send a command of the client that a handler uses. Raises the error in the answer."""
        answer = await self.ask(CallCommand("call", self.next_sequence(), command, arguments))
        if not isinstance(answer, dict):
            raise TakoError("the daemon sent an invalid answer")
        return answer
