"""The client for ordinary, blocking code."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tako_lite.client import requests
from tako_lite.client.client_core import ClientCore
from tako_lite.client.connection import Connection
from tako_lite.client.link import Link
from tako_lite.client.requests import Ids, Outcomes
from tako_lite.client.transport import Transport
from tako_lite.clock import SystemClock
from tako_lite.records import Enqueued
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from typing import Self, TypeAlias, Unpack

    from tako_lite.handle import EnqueueOptions, WorkflowHandle

    AnyWorkflow: TypeAlias = str | WorkflowHandle[..., Any]

T = TypeVar("T")


class Client:
    """Puts work into the queue of a project and looks at it; safe to share between threads, and after a fork.

    `config` is the path of a tako.toml or of its folder; without it, `TAKO_CONFIG` and the folders upwards are looked at, and
    in a handler the worker's own link is used. `patience` is how long a daemon that is starting or stopping is waited for.
    """

    def __init__(self, config: str | Path | None = None, *, patience: float | timedelta | str = 10.0) -> None:
        clock = SystemClock()
        self._core = ClientCore(Transport(config, BlockingIO(), duration(patience), clock), clock)
        weakref.finalize(self, self._core.close)

    def enqueue(self, workflow: AnyWorkflow, payload: Any = None, **options: Unpack[EnqueueOptions]) -> Enqueued:
        """Store a run and return once it is safe. Raises NotFound for a workflow or group that does not exist, BadInput."""
        return _run(self._core.enqueue(workflow, payload, options))

    def enqueue_many(self, workflow: AnyWorkflow, payloads: Iterable[Any], **options: Unpack[EnqueueOptions]) -> Ids:
        """Store a run for each payload and return their ids; the payloads are read as they are sent.

        A thousand at a time are stored together; an error says how many were stored before it.
        """
        return _run(self._core.enqueue_many(workflow, payloads, options))

    def signal(self, event: str, payload: Any = True) -> int:
        """Store a signal; the first of a name wins. Returns how many waits it ended."""
        return _run(self._core.signal(event, payload))

    def cancel(self, *ids: str) -> dict[str, str]:
        """By full id: `cancelled`, `cancelling` (its worker is asked), `ended` before, or `unknown`."""
        return _run(self._core.outcomes("cancel", ids))

    def retry(self, *ids: str, fresh: bool = False) -> Outcomes:
        """By full id: `pending`, `duplicate` (a live run has its unique key), `live`, `succeeded` or `unknown`.

        `fresh` forgets the stored steps. `unstored` of what is returned names steps that ran, but have no stored value.
        """
        return _run(self._core.outcomes("retry", ids, fresh=fresh))

    def discard(self, *ids: str) -> dict[str, str]:
        """Acknowledge dead runs, so that `status` counts them no more. By full id: `discarded`, `not_dead` or `unknown`."""
        return _run(self._core.outcomes("discard", ids))

    def get(self, id: str) -> dict[str, Any]:
        """A run with its steps, in the shape of `tako-lite show --json`. Raises NotFound."""
        return _run(self._core.get(id))

    def wait(self, id: str, timeout: float | timedelta | str | None = None) -> dict[str, Any]:
        """The run once it has ended, whichever way. Raises WaitTimeout, NotFound."""
        return _run(self._core.wait(id, timeout))

    def runs(
        self,
        *,
        workflow: AnyWorkflow | None = None,
        group: str | None = None,
        state: str | Iterable[str] | None = None,
        since: datetime | timedelta | str | float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The runs that match, the newest first, as `tako-lite runs --json` prints them, read page by page.

        `since` is a time, or how long ago it was: `"2h"`, a `timedelta` or seconds. Raises BadInput for a state that is none.
        """
        chosen = requests.read_filter(workflow, group, state, since)
        before = None
        while page := _run(self._core.page(chosen, before)):
            yield from page
            before = page[-1]["id"]

    def logs(self, id: str) -> list[dict[str, Any]]:
        """What a run printed and logged, oldest first: `at`, `group`, `run`, `pid`, `stream` and `text` of each line.

        They are read from the files of the project, so this is for programs on the machine of the daemon, as its user.
        """
        return _run(self._core.logs(id))

    def status(self) -> dict[str, Any]:
        """The groups and the daemon, in the shape of `tako-lite status --json`; `daemon` is None where none runs."""
        return _run(self._core.status())

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of the control socket. Raises DaemonUnreachable for those that need a daemon."""
        return _run(self._core.call(command, arguments))

    def close(self) -> None:
        """Close the idle connections; the next call opens another. Twice is harmless."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class BlockingIO:
    """Waits by blocking the thread, so that its coroutines never pause."""

    _everyone = nullcontext()

    def slot(self) -> AbstractAsyncContextManager[Any]:
        return self._everyone  # a thread has one request under way, so there are as many connections as threads

    async def send(self, connection: Connection, data: bytes, limit: float | None) -> None:
        _limit(connection.socket, limit)
        connection.socket.sendall(data)

    async def receive(self, connection: Connection, limit: float | None) -> bytes:
        _limit(connection.socket, limit)
        return connection.socket.recv(65536)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  there is no loop that this could stall

    async def offload(self, function: Callable[[], T]) -> T:
        return function()

    async def ask_link(self, link: Link, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return link.ask(command, arguments)


def _limit(connected: socket, limit: float | None) -> None:
    if connected.gettimeout() != limit:  # to set one is a call into the kernel each time
        connected.settimeout(limit)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that only ever waits through a BlockingIO."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking client paused")
