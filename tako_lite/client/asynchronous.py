"""The same client for asyncio code."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tako_lite.client import requests
from tako_lite.client.client_core import ClientCore
from tako_lite.client.connection import Connection
from tako_lite.client.link import HandlerLink
from tako_lite.client.requests import Ids, Outcomes
from tako_lite.client.transport import Transport
from tako_lite.clock import SystemClock
from tako_lite.records import Enqueued
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Self, Unpack

    from tako_lite.client.blocking import AnyWorkflow
    from tako_lite.client.requests import Filters
    from tako_lite.enqueue_options import EnqueueOptions
    from tako_lite.store.postgres.transactional import Parameters, Style

T = TypeVar("T")

SLOTS: Final = 16
"""Maximum number of requests in flight per loop: more would only open more connections for the same commit."""


class AsyncClient:
    """`Client` with methods to await. It may be used from several event loops, at the same time or one after the other."""

    def __init__(
        self, config: str | Path | None = None, *, patience: float | timedelta | str = 10.0, source: str | None = None
    ) -> None:
        clock = SystemClock()
        transport = Transport(config, LoopIO(), duration(patience), clock, requests.check_source(source))
        self._core = ClientCore(transport, clock)
        weakref.finalize(self, self._core.close)

    async def enqueue(
        self,
        workflow: AnyWorkflow,
        payload: Any = None,
        *,
        connection: Any = None,
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """See `Client.enqueue`."""
        if connection is not None:
            return await self._core.enqueue_with(connection, notify, workflow, payload, options)
        return await self._core.enqueue(workflow, payload, options)

    async def enqueue_many(
        self,
        workflow: AnyWorkflow,
        payloads: Iterable[Any],
        *,
        connection: Any = None,
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> Ids:
        """See `Client.enqueue_many`."""
        if connection is not None:
            return await self._core.enqueue_many_with(connection, notify, workflow, payloads, options)
        return await self._core.enqueue_many(workflow, payloads, options)

    def statement(
        self,
        workflow: AnyWorkflow,
        payload: Any = None,
        *,
        style: Style = "format",
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> tuple[str, Parameters]:
        """See `Client.statement`; there is nothing to await."""
        return self._core.statement(workflow, payload, style, notify, options)

    async def signal(self, event: str, payload: Any = True, *, connection: Any = None, notify: bool = True) -> int:
        """See `Client.signal`."""
        if connection is not None:
            return await self._core.signal_with(connection, notify, event, payload)
        return await self._core.signal(event, payload)

    async def cancel(self, *ids: str) -> dict[str, str]:
        """See `Client.cancel`."""
        return await self._core.outcomes("cancel", ids)

    async def retry(self, *ids: str, fresh: bool = False) -> Outcomes:
        """See `Client.retry`."""
        return await self._core.outcomes("retry", ids, fresh=fresh)

    async def discard(self, *ids: str) -> dict[str, str]:
        """See `Client.discard`."""
        return await self._core.outcomes("discard", ids)

    async def get(self, id: str) -> dict[str, Any]:
        """See `Client.get`."""
        return await self._core.get(id)

    async def wait(self, id: str, timeout: float | timedelta | str | None = None) -> dict[str, Any]:
        """See `Client.wait`."""
        return await self._core.wait(id, timeout)

    async def runs(
        self,
        *,
        workflow: AnyWorkflow | None = None,
        state: str | Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[dict[str, Any]]:
        """See `Client.runs`."""
        chosen = requests.read_filter(workflow, state, filters)
        before = None
        while page := await self._core.page(chosen, before):
            for run in page:
                yield run
            before = page[-1]["id"]

    async def logs(self, id: str) -> list[dict[str, Any]]:
        """See `Client.logs`."""
        return await self._core.logs(id)

    async def status(self) -> dict[str, Any]:
        """See `Client.status`."""
        return await self._core.status()

    async def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """See `Client.call`."""
        return await self._core.call(command, arguments)

    async def close(self) -> None:
        """Close the idle connections; the next call opens a new one. Closing twice is safe."""
        self._core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._core.close()


class LoopIO:
    """Waits in the running event loop. The sockets belong to no loop, so a connection may outlive its loop."""

    is_async = True

    def __init__(self) -> None:
        self._started: set[asyncio.Task[None]] = set()
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    def slot(self) -> AbstractAsyncContextManager[Any]:
        return self._slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(SLOTS))

    async def send(self, connection: Connection, data: bytes, limit: float | None) -> None:
        async with asyncio.timeout(limit):
            await asyncio.get_running_loop().sock_sendall(connection.socket, data)

    async def receive(self, connection: Connection, limit: float | None) -> bytes:
        async with asyncio.timeout(limit):
            return await asyncio.get_running_loop().sock_recv(connection.socket, 65536)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)

    async def ask_link(self, link: HandlerLink, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await link.awaitable(command, arguments)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._started.add(task)
        task.add_done_callback(self._started.discard)
