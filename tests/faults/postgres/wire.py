"""A TCP port that leads to a PostgreSQL server, and does to the bytes on their way what a test says.

`Wire` runs in a thread of its own. What it does holds for all connections, open ones and those that come, or with `only` for
those whose `application_name` has a text in it, such as "writer".
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self

from tests.support.postgres import Server, connected

Kind = Literal["pass", "hold", "drop", "reset", "swallow"]
"""Bytes pass; wait until they may pass again; meet a closed connection, or a reset one; vanish while all seems open."""
End = Literal["cut", "unanswered", "terminated"]
"""A message never arrives and its connection is reset; it arrives, and the connection is reset instead of an answer; it
arrives at a server that has just ended the session."""
NAME: Final = re.compile(rb"application_name\0([^\0]*)\0")
DATABASE: Final = re.compile(rb"database\0([^\0]*)\0")
READY: Final = b"Z\0\0\0\x05"
"""In the last message of an answer: the server is ready for the next query."""


class Trap(NamedTuple):
    """What happens to the message of this number, among those with a text in them."""

    end: End
    number: int
    text: bytes
    only: str


@dataclass(eq=False)
class Link:
    """A connection of a client, and ours to the server for it. The first answer tells that the session has begun."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    name: str = ""
    database: str = ""
    begun: bool = False
    unanswered: bool = False
    tail: bytes = b""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def abort(self, *, reset: bool) -> None:
        """Close both ends, with FIN or with RST."""
        for writer in self.writers:
            if reset and (connection := writer.get_extra_info("socket")) is not None:
                with suppress(OSError):  # it is gone already, or a Unix socket
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def is_answered(self, data: bytes) -> bool:
        """Whether an answer ends in what the server has just sent."""
        seen = self.tail + data
        self.tail = seen[-len(READY) :]
        return READY in seen


class Wire:
    """A proxy before a server. `sprung` is how many traps did something."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._kind: Kind = "pass"
        self._only = ""
        self._delay = 0.0
        self._trap: Trap | None = None
        self.sprung = 0
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._listener = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, database: str) -> str:
        """The URL of a database by this way."""
        user = self._server.dsn.partition("://")[2].partition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable&gssencmode=disable"

    def apply(self, kind: Kind, *, only: str = "") -> None:
        """From now on, do this to the bytes."""
        self._call(self._apply, kind, only)

    def lead_to(self, server: Server) -> None:
        """Reset all connections, and lead those that come to another server."""
        self._call(setattr, self, "_server", server)
        self._call(self._apply, "reset", "")
        self._call(self._apply, "pass", "")

    def delay(self, seconds: float) -> None:
        """From now on, keep each answer back for so long."""
        self._call(setattr, self, "_delay", seconds)

    def arm(self, end: End, number: int = 1, *, text: bytes = b"", only: str = "writer") -> None:
        """Have the message of this number end so, counted from now on, once."""
        self._call(setattr, self, "_trap", Trap(end, number, text, only))

    def disarm(self) -> bool:
        """Whether the trap is still armed; it is no more."""
        return bool(self._call(self._disarm))

    def names(self) -> list[str]:
        """The application names of the open connections."""
        names: list[str] = self._call(lambda: sorted(link.name for link in self._links))
        return names

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function on the thread's loop, and return what it returns."""
        done: Future[Any] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function(*arguments)))
        return done.result(10)

    def _disarm(self) -> bool:
        armed, self._trap = self._trap is not None, None
        return armed

    def _apply(self, kind: Kind, only: str) -> None:
        self._kind, self._only = kind, only
        for link in list(self._links):
            link.moved.set()
            if (now := self._kind_of(link)) in ("drop", "reset"):
                link.abort(reset=now == "reset")

    def _kind_of(self, link: Link) -> Kind:
        return self._kind if self._only in link.name else "pass"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{self._server.dsn.partition('host=')[2]}/.s.PGSQL.5432"
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(path)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        link = Link((writer, server_writer))
        self._links.add(link)
        pumps = (self._pump_to_server(link, reader, server_writer), self._pump_to_client(link, server_reader, writer))
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        link.abort(reset=False)
        for task in tasks:
            task.cancel()
        self._links.discard(link)

    async def _pump_to_server(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if not link.name and (found := NAME.search(data)):
                    link.name = found[1].decode()
                    link.database = database[1].decode() if (database := DATABASE.search(data)) else ""
                if not await self._may_pass(link):
                    continue
                if link.begun and (end := self._sprung(link, data)):
                    if end == "cut":
                        link.abort(reset=True)
                        break
                    if end == "terminated":
                        await asyncio.to_thread(self._terminate, link)
                    link.unanswered = end == "unanswered"
                sink.write(data)
                await sink.drain()

    async def _pump_to_client(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                is_answered = link.is_answered(data)
                if not await self._may_pass(link):
                    continue
                link.begun = link.begun or is_answered
                if link.unanswered:
                    if is_answered:
                        link.abort(reset=True)
                        break
                    continue
                await asyncio.sleep(self._delay)
                sink.write(data)
                await sink.drain()

    async def _may_pass(self, link: Link) -> bool:
        """Wait while bytes are held; whether they are delivered then."""
        while self._kind_of(link) == "hold":
            link.moved.clear()
            await link.moved.wait()
        if (kind := self._kind_of(link)) in ("drop", "reset"):
            link.abort(reset=kind == "reset")
        return kind == "pass"

    def _sprung(self, link: Link, data: bytes) -> End | None:
        """What happens to a message, if the trap is for it."""
        trap = self._trap
        if trap is None or trap.only not in link.name or trap.text not in data:
            return None
        if trap.number > 1:
            self._trap = trap._replace(number=trap.number - 1)
            return None
        self._trap = None
        self.sprung += 1
        return trap.end

    def _terminate(self, link: Link) -> None:
        """End the sessions of that name in its database: other processes of the tests have others of the same name."""
        with connected(self._server.dsn) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s AND datname = %s",
                (link.name, link.database),
            )

    async def _close(self) -> None:
        self._listener.close()
        self._apply("reset", "")
        while self._links:  # noqa: ASYNC110 -- their pumps end by themselves
            await asyncio.sleep(0.001)
