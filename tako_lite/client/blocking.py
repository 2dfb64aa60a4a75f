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
from tako_lite.client.link import HandlerLink
from tako_lite.client.requests import Ids, Outcomes
from tako_lite.client.transport import Transport
from tako_lite.clock import SystemClock
from tako_lite.records import Enqueued
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Self, TypeAlias, Unpack

    from tako_lite.client.requests import Filters
    from tako_lite.enqueue_options import EnqueueOptions
    from tako_lite.handle import WorkflowHandle
    from tako_lite.store.postgres.transactional import Parameters, Style

    AnyWorkflow: TypeAlias = str | WorkflowHandle[..., Any]

T = TypeVar("T")


class Client:
    """Enqueues runs in a project and queries its queue. It is safe to share between threads, and after a fork.

    `config` is the path of a tako.toml or of its folder. Without it, the client uses `TAKO_CONFIG`, else the nearest tako.toml
    in the folders above the current one; in a handler it uses the worker's own link. `patience` is how long to wait for a
    daemon that is starting or stopping. `source` is what `tako-lite activity` calls this program.
    """

    def __init__(
        self, config: str | Path | None = None, *, patience: float | timedelta | str = 10.0, source: str | None = None
    ) -> None:
        clock = SystemClock()
        transport = Transport(config, BlockingIO(), duration(patience), clock, requests.check_source(source))
        self._core = ClientCore(transport, clock)
        weakref.finalize(self, self._core.close)

    def enqueue(
        self,
        workflow: AnyWorkflow,
        payload: Any = None,
        *,
        connection: Any = None,
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Store a run and return after the commit. Raises NotFound for an unknown workflow or group, and BadInput.

        With a `connection` to the queue's PostgreSQL database, the run is stored in its transaction, and starts if that
        commits. `notify=False` then leaves out the notification of the servers, which find the run some seconds later.
        """
        if connection is not None:
            return _run(self._core.enqueue_with(connection, notify, workflow, payload, options))
        return _run(self._core.enqueue(workflow, payload, options))

    def enqueue_many(
        self,
        workflow: AnyWorkflow,
        payloads: Iterable[Any],
        *,
        connection: Any = None,
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> Ids:
        """Store a run for each payload and return their ids. The payloads are consumed while they are sent.

        Runs are stored in batches of up to 1000, each in one transaction. The hint of an error says how many runs were stored.
        With a `connection`, all are stored in its transaction; see `enqueue`.
        """
        if connection is not None:
            return _run(self._core.enqueue_many_with(connection, notify, workflow, payloads, options))
        return _run(self._core.enqueue_many(workflow, payloads, options))

    def statement(
        self,
        workflow: AnyWorkflow,
        payload: Any = None,
        *,
        style: Style = "format",
        notify: bool = True,
        **options: Unpack[EnqueueOptions],
    ) -> tuple[str, Parameters]:
        """The SQL statement that stores a run, with its parameters: for drivers that `enqueue(connection=…)` does not know.

        `style` is how the driver writes parameters: `format` (`%s`), `pyformat` (`%(name)s`), `numeric` (`$1`), `named`
        (`:name`) or `qmark` (`?`). The statement returns a row: `id`, `state`, `group` and `deduplicated`.
        """
        return self._core.statement(workflow, payload, style, notify, options)

    def signal(self, event: str, payload: Any = True, *, connection: Any = None, notify: bool = True) -> int:
        """Store a signal; only the first signal of a name counts. Returns the number of waits that it ended.

        With a `connection`, it is stored in its transaction, as by `enqueue`. The waits end after the commit; it returns 0.
        """
        if connection is not None:
            return _run(self._core.signal_with(connection, notify, event, payload))
        return _run(self._core.signal(event, payload))

    def cancel(self, *ids: str) -> dict[str, str]:
        """Cancel runs. By full id: `cancelled`, `cancelling` (its worker was asked to stop), `ended` before, or `unknown`."""
        return _run(self._core.outcomes("cancel", ids))

    def retry(self, *ids: str, fresh: bool = False) -> Outcomes:
        """Start runs over. By full id: `pending`, `duplicate` (a live run has its unique key), `live`, `succeeded`, `unknown`.

        `fresh` deletes the stored steps. The attribute `unstored` of the result names steps that ran, but have no stored value.
        """
        return _run(self._core.outcomes("retry", ids, fresh=fresh))

    def discard(self, *ids: str) -> dict[str, str]:
        """Acknowledge dead runs, so that `status` no longer counts them. By full id: `discarded`, `not_dead` or `unknown`."""
        return _run(self._core.outcomes("discard", ids))

    def get(self, id: str) -> dict[str, Any]:
        """A run with its steps, in the format of `tako-lite show --json`. Raises NotFound."""
        return _run(self._core.get(id))

    def wait(self, id: str, timeout: float | timedelta | str | None = None) -> dict[str, Any]:
        """Wait until a run ends, and return it in whatever state it ended. Raises WaitTimeout, NotFound."""
        return _run(self._core.wait(id, timeout))

    def runs(
        self,
        *,
        workflow: AnyWorkflow | None = None,
        state: str | Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> Iterator[dict[str, Any]]:
        """The runs that match, the newest first, as `tako-lite runs --json` prints them. They are read page by page.

        The filters are `group`, `since`, `until`, `ended_since`, `ended_until` (a time, or an age: `"2h"`, a `timedelta` or
        seconds), `tenant`, `unique_key`, `parent`, `reason`, `fingerprint` and `text`. Raises BadInput for an unknown state.
        """
        chosen = requests.read_filter(workflow, state, filters)
        before = None
        while page := _run(self._core.page(chosen, before)):
            yield from page
            before = page[-1]["id"]

    def logs(self, id: str) -> list[dict[str, Any]]:
        """The output and the log lines of a run, oldest first: `at`, `group`, `run`, `pid`, `stream` and `text` of each line.

        They are read from the files of the project, so the program must run on the machine of the daemon, as its user.
        """
        return _run(self._core.logs(id))

    def status(self) -> dict[str, Any]:
        """The groups and the daemon, in the format of `tako-lite status --json`; `daemon` is None if no daemon runs."""
        return _run(self._core.status())

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of the control socket. Raises DaemonUnreachable if it needs a daemon and none runs."""
        return _run(self._core.call(command, arguments))

    def close(self) -> None:
        """Close the idle connections; the next call opens a new one. Closing twice is safe."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class BlockingIO:
    """Waits by blocking the thread, so its coroutines never suspend."""

    is_async = False
    _everyone = nullcontext()

    def slot(self) -> AbstractAsyncContextManager[Any]:
        return self._everyone  # a thread has one request in flight, so there are at most as many connections as threads

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

    async def ask_link(self, link: HandlerLink, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return link.ask(command, arguments)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        _run(work)


def _limit(connected: socket, limit: float | None) -> None:
    if connected.gettimeout() != limit:  # setting a timeout costs a system call
        connected.settimeout(limit)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits only through a BlockingIO, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine of a blocking client was suspended")
