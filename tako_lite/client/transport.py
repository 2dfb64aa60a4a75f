"""How a request gets to whoever answers it, written once: coroutines that wait only through an `IO`.

It goes through the link where there is one, else over the daemon's socket, else, with no daemon, to the stand-in. Runs have the
client's ids, so a request is sent again after a lost reply and never makes a second run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tako_lite.client import link
from tako_lite.client.connection import Connection, Pool, answer_of
from tako_lite.client.link import Link
from tako_lite.client.requests import Request
from tako_lite.clock import Clock
from tako_lite.errors import DaemonUnreachable, StoreBusy, TakoError
from tako_lite.units import duration_text

if TYPE_CHECKING:
    from tako_lite.client.offline import OfflineBackend
    from tako_lite.client.project import Project

T = TypeVar("T")

WRITING: Final = frozenset({"enqueue", "enqueue_many", "signal", "cancel", "discard", "retry", "move_group"})
READING: Final = frozenset({"find", "get", "runs", "ids", "why", "status", "schedules", "triggers", "workflows", "backup"})
"""What the files can answer; `backup` makes a file, but of the queue it only reads."""
SENT_ONCE: Final = frozenset({"run_schedule"})
"""What must not be sent again after a lost reply: the daemon makes the id of the run."""
OWN: Final = frozenset({"reload"})
"""What only clients of the daemon's own folder may ask: each such request is checked, not only the first on a connection."""
SLOW: Final = frozenset({"backup", "prune", "reload"})
REPLY_LIMIT: Final = 30.0
"""Seconds of silence after which a daemon that has a request is given up."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.25


class IO(Protocol):
    """How one kind of client waits. What goes wrong with a connection is an OSError, silence a TimeoutError."""

    def slot(self) -> AbstractAsyncContextManager[Any]:
        """Held while a request is under way, so that there are not more connections than anybody needs."""
        ...

    async def send(self, connection: Connection, data: bytes, limit: float | None) -> None: ...
    async def receive(self, connection: Connection, limit: float | None) -> bytes: ...
    async def sleep(self, seconds: float) -> None: ...
    async def offload(self, function: Callable[[], T]) -> T: ...
    async def ask_link(self, link: Link, command: str, arguments: dict[str, Any]) -> dict[str, Any]: ...


class Transport:
    """The ways from one client to its project. `patience` is how long a daemon that starts or stops is waited for."""

    def __init__(self, config: str | Path | None, io: IO, patience: float, clock: Clock) -> None:
        self.io = io
        self._config = config
        self._patience = patience
        self._clock = clock
        self._pool = Pool()
        self._found: Project | None = None
        if self.link() is None:
            self._project()

    def close(self) -> None:
        """Close the idle connections; the next request opens another."""
        self._pool.close()

    def logs_dir(self) -> Path:
        """The folder of the log files of the daemon that serves the queue."""
        return self._project().serving_dir() / "logs"

    def link(self) -> Link | None:
        """The link of the worker that this is, unless a configuration was named."""
        return link.current() if self._config is None else None

    def connect(self) -> Connection | None:
        """A connection to the daemon, or None where nobody answers."""
        return self._pool.take() or self._project().connect()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for other requests."""
        self._pool.put(connection)

    async def ask(self, request: Request, *, sent: bool = False) -> dict[str, Any]:
        """The answer to a request; `sent` says that it may have arrived before. Raises the error that is the answer."""
        if way := self.link():
            return await self.io.ask_link(way, request.command, request.whole())
        give_up = self._clock.monotonic() + self._patience
        limit = None if request.command in SLOW else REPLY_LIMIT
        pause = FIRST_PAUSE
        while True:
            async with self.io.slot():
                connection = self.connect()
                frame = await self._exchange(connection, request, limit) if connection else None
            sent = sent or connection is not None
            if frame is not None:
                return request.settle(answer_of(frame), repeated=sent)
            if sent and request.command in SENT_ONCE:
                raise unreachable("the daemon went away before it replied", request)
            if connection is None and (answer := await self._ask_stand_in(request)):
                return request.settle(answer, repeated=sent)
            if self._clock.monotonic() >= give_up:
                raise self._given_up(request if sent else None)
            await self.io.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def ask_for_end(self, run_id: str, left: float | None) -> dict[str, Any] | None:
        """The run once it is terminal, or None where nobody was there to wait at. Raises WaitTimeout after `left` seconds.

        Not in a slot: these requests are long, and short ones must not queue behind them.
        """
        request = Request("wait", {"run_id": run_id, "timeout": left})
        if way := self.link():
            return await self.io.ask_link(way, request.command, request.whole())
        connection = self.connect()
        if connection is None:
            return await self.io.offload(lambda: self._stand_in().read(Request("get", {"run_id": run_id})))
        frame = await self._exchange(connection, request, None if left is None else left + REPLY_LIMIT)
        return answer_of(frame) if frame else None

    async def reply(self, connection: Connection, request: Request, limit: float | None) -> dict[str, Any]:
        """The frame that answers the oldest request of a connection. Raises OSError if the connection breaks."""
        try:
            while (frame := connection.reply()) is None:
                connection.feed(await self.io.receive(connection, limit))
        except TimeoutError as error:
            raise unreachable(f"the daemon did not answer for {duration_text(limit or 0)}", request) from error
        return frame

    async def greet(self, connection: Connection, request: Request) -> None:
        """Wait for the daemon's hello before anything is sent. Raises WrongProject, and OSError if the connection breaks."""
        if connection.is_greeted and request.command not in OWN:
            return
        try:
            while (hello := connection.hello()) is None:
                connection.feed(await self.io.receive(connection, REPLY_LIMIT))
        except TimeoutError as error:
            raise unreachable(f"the daemon did not answer for {duration_text(REPLY_LIMIT)}", None) from error
        self._project().check(hello, request.command)

    async def _exchange(self, connection: Connection, request: Request, limit: float | None) -> dict[str, Any] | None:
        """The reply to a request, or None if the connection broke. It is kept only after a whole exchange."""
        frame = None
        try:
            await self.greet(connection, request)
            await self.io.send(connection, connection.frame(request), limit)
            frame = await self.reply(connection, request, limit)
        except TimeoutError as error:
            raise unreachable("the daemon does not read what it is sent", request) from error
        except OSError:
            return None
        finally:
            if frame is None:
                connection.close()
        self.give_back(connection)
        return frame

    async def _ask_stand_in(self, request: Request) -> dict[str, Any] | None:
        """The answer without a daemon; None if there may be one, or another client was writing all the time."""
        if self._project().has_daemon():
            return None
        if request.command in READING:
            return await self.io.offload(lambda: self._stand_in().read(request))
        if request.command in WRITING:
            return await self.io.offload(lambda: self._stand_in().write(request, LONGEST_PAUSE))
        raise DaemonUnreachable("no daemon is running", hint="`tako-lite serve` starts one")

    def _given_up(self, sent: Request | None) -> TakoError:
        if (lock := self._project().lock()) is not None:
            waited, socket = duration_text(self._patience), self._project().socket
            error = unreachable(f"a daemon (pid {lock.pid}) holds the lock, but it did not answer within {waited}", sent)
            if sent is None and not socket.exists() and (pid := lock.killable_pid()) is not None:
                error.hint = f"its socket {socket} is not there; if it was removed: kill -HUP {pid} makes it anew"
            return error
        if sent is not None:
            return unreachable("the daemon closed every connection before it replied", sent)
        return StoreBusy("other programs were writing the queue all the time", hint="try again, or start `tako-lite serve`")

    def _project(self) -> Project:
        if self._found is None:
            from tako_lite.client.project import Project  # the clients of a worker need none

            self._found = Project(self._config)
        return self._found

    def _stand_in(self) -> OfflineBackend:
        from tako_lite.client.offline import OfflineBackend  # with SQLite and the catalog, which a daemon's clients do without

        return OfflineBackend(self._project(), self._clock)


def unreachable(what: str, sent: Request | None) -> DaemonUnreachable:
    """The error for a daemon that did not reply; for one that may have got the request it says what is unknown."""
    if sent is None:
        return DaemonUnreachable(what, hint="it may be starting or stopping: try again")
    id = sent.arguments.get("run_id")
    if sent.command == "enqueue":
        hint = f"enqueue it again with this id: that never makes a second run, and id={id} says whether it was stored"
        return DaemonUnreachable(f"{what}: it is unknown whether run {id} was stored", hint=hint)
    if sent.command == "enqueue_many":
        ids = sent.arguments["run_ids"]
        return DaemonUnreachable(f"{what}: it is unknown whether the runs {ids[0]} to {ids[-1]} were stored")
    return DaemonUnreachable(f"{what}: it is unknown whether it did what was asked")
