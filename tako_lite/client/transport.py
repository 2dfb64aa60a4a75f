"""Delivers a request: through the worker's link, else over the daemon's socket, else to the offline backend.

The code is coroutines that wait only through an `IO`, so both kinds of client share it. The client makes the ids of new runs,
so a request that is sent again after a lost reply never makes a second run.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tako_lite.client import link
from tako_lite.client.connection import Connection, Pool, answer_of
from tako_lite.client.link import HandlerLink
from tako_lite.client.request import Request
from tako_lite.clock import Clock
from tako_lite.errors import DaemonUnreachable, StoreBusy, TakoError
from tako_lite.protocol.commands import facts_of
from tako_lite.units import duration_text

if TYPE_CHECKING:
    from tako_lite.client.offline import OfflineBackend
    from tako_lite.client.project import Project

T = TypeVar("T")

REPLY_LIMIT: Final = 30.0
"""Seconds that a client waits for a reply before it gives up."""
HINT_LIMIT: Final = 1.0
"""The same for a hint, which is only lost."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.25


class IO(Protocol):
    """The waiting of one kind of client. A broken connection raises OSError, a missing reply TimeoutError."""

    is_async: bool

    def slot(self) -> AbstractAsyncContextManager[Any]:
        """Held while a request is in flight, to limit the number of connections."""
        ...

    async def send(self, connection: Connection, data: bytes, limit: float | None) -> None: ...
    async def receive(self, connection: Connection, limit: float | None) -> bytes: ...
    async def sleep(self, seconds: float) -> None: ...
    async def offload(self, function: Callable[[], T]) -> T: ...
    async def ask_link(self, link: HandlerLink, command: str, arguments: dict[str, Any]) -> dict[str, Any]: ...
    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work that nobody waits for, at once or soon."""


class Transport:
    """Delivers the requests of one client. `patience` is how long it waits for a daemon that is starting or stopping."""

    def __init__(self, config: str | Path | None, io: IO, patience: float, clock: Clock, source: str | None = None) -> None:
        self.io = io
        self._source = source
        self._config = config
        self._patience = patience
        self._clock = clock
        self._pool = Pool()
        self._found: Project | None = None
        self._offline: OfflineBackend | None = None
        if self.link() is None:
            self.project()

    def close(self) -> None:
        """Close the idle connections; the next request opens a new one."""
        self._pool.close()
        if self._offline is not None:
            self._offline.close()

    def logs_dir(self) -> Path:
        """The folder of the log files of the daemon that serves the queue."""
        return self.project().serving_dir() / "logs"

    def link(self) -> HandlerLink | None:
        """The link of this worker; None outside of a worker, or if the client has a `config` and the link is not for all."""
        way = link.current()
        if way is None or self._config is None:
            return way
        return way if way.for_all and str(self._config) not in link.spared else None

    def connect(self, command: str = "") -> Connection | None:
        """A connection to the daemon, or None if no daemon answers.

        A service manager may listen for a daemon that is not running. Commands for which it need not start are not sent then.
        """
        if (idle := self._pool.take()) is not None:
            return idle
        facts = facts_of(command)
        if (facts.starts_no_daemon or facts.offline == "reads") and not self.project().has_daemon():
            return None
        return self.project().connect()

    def release(self, connection: Connection) -> None:
        """Return a connection to the pool."""
        self._pool.put(connection)

    async def ask(self, request: Request, *, sent: bool = False) -> dict[str, Any]:
        """The answer to a request; `sent` if it may have arrived before. Raises the error in the answer."""
        if way := self.link():
            return await self.io.ask_link(way, request.command, request.whole())
        if "by" not in request.arguments:
            request.source = self._source
        give_up = self._clock.monotonic() + self._patience
        facts = facts_of(request.command)
        limit = None if facts.is_slow else REPLY_LIMIT
        pause = FIRST_PAUSE
        while True:
            async with self.io.slot():
                connection = self.connect(request.command)
                frame = await self._exchange(connection, request, limit) if connection else None
            sent = sent or connection is not None
            if frame is not None:
                return request.settle(answer_of(frame), repeated=sent)
            if sent and not facts.is_repeatable:
                raise unreachable("the daemon closed the connection before it replied", request)
            if connection is None and (answer := await self._ask_offline(request)) is not None:
                return request.settle(answer, repeated=sent)
            if self._clock.monotonic() >= give_up:
                raise self._given_up(request if sent else None)
            await self.io.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def ask_for_end(self, run_id: str, left: float | None) -> dict[str, Any] | None:
        """Wait until a run has ended, for at most `left` seconds; None if the connection broke. Raises WaitTimeout.

        Without a daemon, return the run as it is. No slot is used: short requests must not queue behind these long ones.
        """
        request = Request("wait", {"run_id": run_id, "timeout": left})
        if way := self.link():
            return await self.io.ask_link(way, request.command, request.whole())
        connection = self.connect()
        if connection is None:
            return await self.io.offload(lambda: self._offline_backend().read(Request("get", {"run_id": run_id})))
        frame = await self._exchange(connection, request, None if left is None else left + REPLY_LIMIT)
        return answer_of(frame) if frame else None

    def tell(self, request: Request) -> None:
        """Give the daemon of this machine a hint, if it listens. Nothing is raised, and no reply is of interest."""
        self.io.start(self._tell(request))

    async def _tell(self, request: Request) -> None:
        with suppress(TakoError, OSError):
            if way := self.link():
                await self.io.ask_link(way, request.command, request.whole())
            elif (connection := self.connect()) is not None:
                await self._exchange(connection, request, HINT_LIMIT)

    async def reply(self, connection: Connection, request: Request, limit: float | None) -> dict[str, Any]:
        """The reply to the oldest request of a connection. Raises OSError if the connection breaks."""
        try:
            while (frame := connection.reply()) is None:
                connection.feed(await self.io.receive(connection, limit))
        except TimeoutError as error:
            raise unreachable(f"the daemon did not answer for {duration_text(limit or 0)}", request) from error
        return frame

    async def greet(self, connection: Connection, request: Request) -> None:
        """Wait for the daemon's hello before a request is sent. Raises WrongProject, and OSError if the connection breaks."""
        if connection.is_greeted and not facts_of(request.command).own_folder_only:
            return
        try:
            while (hello := connection.hello()) is None:
                connection.feed(await self.io.receive(connection, REPLY_LIMIT))
        except TimeoutError as error:
            raise unreachable(f"the daemon did not answer for {duration_text(REPLY_LIMIT)}", None) from error
        self.project().check(hello, request.command)

    async def _exchange(self, connection: Connection, request: Request, limit: float | None) -> dict[str, Any] | None:
        """The reply to a request, or None if the connection broke. Only a complete exchange keeps the connection open."""
        frame = None
        try:
            await self.greet(connection, request)
            with suppress(ConnectionError):  # before it closed, the daemon may have sent why it refuses
                await self.io.send(connection, connection.frame(request), limit)
            frame = await self.reply(connection, request, limit)
        except TimeoutError as error:
            raise unreachable("the daemon does not read from its socket", request) from error
        except OSError:
            return None
        finally:
            if frame is None:
                connection.close()
        self.release(connection)
        return frame

    async def _ask_offline(self, request: Request) -> dict[str, Any] | None:
        """The answer without a daemon; None if a daemon may run, or if another program kept the queue locked."""
        if self.project().has_daemon():
            return None
        match facts_of(request.command).offline:
            case "reads":
                return await self.io.offload(lambda: self._offline_backend().read(request))
            case "writes":
                return await self.io.offload(lambda: self._offline_backend().write(request, LONGEST_PAUSE))
            case "shared" if not self.project().config().queue.location.is_file:
                return await self.io.offload(lambda: self._offline_backend().write(request, LONGEST_PAUSE))
        raise DaemonUnreachable("no daemon is running", hint="`tako-lite serve` starts one")

    def _given_up(self, sent: Request | None) -> TakoError:
        if (lock := self.project().lock()) is not None:
            waited, socket = duration_text(self._patience), self.project().socket
            error = unreachable(f"a daemon (pid {lock.pid}) holds the lock, but it did not answer within {waited}", sent)
            if sent is None and not socket.exists() and (pid := lock.killable_pid()) is not None:
                error.hint = f"its socket {socket} is not there; if it was removed: kill -HUP {pid} makes it anew"
            return error
        if sent is not None:
            return unreachable("the daemon closed every connection before it replied", sent)
        return StoreBusy("other programs kept the queue locked for writing", hint="try again, or start `tako-lite serve`")

    def project(self) -> Project:
        """The project of the client. Raises NoProject."""
        if self._found is None:
            from tako_lite.client.project import Project  # clients in a worker do not need it

            self._found = Project(self._config)
        return self._found

    def _offline_backend(self) -> OfflineBackend:
        from tako_lite.client.offline import (
            OfflineBackend,  # imports the store and the catalog, which clients of a daemon do not need
        )

        found = self._offline
        if found is None or found.config is not self.project().config():
            found = self._offline = OfflineBackend(self.project(), self._clock)
        return found


def unreachable(what: str, sent: Request | None) -> DaemonUnreachable:
    """The error for a missing reply. If the daemon may have received the request, the message says what is unknown."""
    if sent is None:
        return DaemonUnreachable(what, hint="it may be starting or stopping: try again")
    id = sent.arguments.get("run_id")
    if sent.command == "enqueue":
        hint = f"enqueue it again with this id: that never makes a second run, and id={id} says whether it was stored"
        return DaemonUnreachable(f"{what}: it is unknown whether run {id} was stored", hint=hint)
    if sent.command == "enqueue_many":
        ids = sent.arguments["run_ids"]
        return DaemonUnreachable(f"{what}: it is unknown whether the runs {ids[0]} to {ids[-1]} were stored")
    return DaemonUnreachable(f"{what}: it is unknown whether it executed the command")
