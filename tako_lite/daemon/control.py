"""The control socket: JSON lines from clients. The requests of one client are answered in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import select
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

from tako_lite.audit import Sender
from tako_lite.daemon.events import Events
from tako_lite.engine import sanitized
from tako_lite.errors import DaemonUnreachable, ProtocolError, TakoError
from tako_lite.listening import bind_unix
from tako_lite.protocol.commands import COMMANDS
from tako_lite.wire import MAX_FRAME, LineReader, decode_frame, encode_frame

MAX_WAITING: Final = 16
"""Number of queued requests of one client above which the daemon stops reading from its socket."""
BACKLOG: Final = 512
"""Maximum number of clients that wait to be accepted."""
ACCEPTED_AT_ONCE: Final = 8
"""A small number, so that each client is counted before the next ones take descriptors: when these run out, asyncio repeats a
failed accept this many times at once."""
BULK_AT_ONCE: Final = 3
"""Number of requests of one client for many runs that are executed at a time: one is decoded while others are committed."""
_BULK: Final = b'"command":"enqueue_many"'
_BULK_WITHIN: Final = 64
"""The name of the command is looked for in so many bytes of a request."""
_MORE: Final = "raise the limit of file descriptors of the daemon (ulimit -n): clients may use half of them"

Execute = Callable[[object, dict[str, Any], Sender], Awaitable[dict[str, Any]]]


class Control:
    """The listening socket and its connections."""

    def __init__(self, path: Path, execute: Execute, events: Events, inherited: socket.socket | None = None) -> None:
        self.hello: dict[str, Any] = {}
        """The first frame that each client receives."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """By command and outcome: `ok`, `refused` or `failed`."""
        self.accepted = 0
        """How many clients have connected."""
        self._path = path
        self._execute = execute
        self._events = events
        self._inherited = inherited
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._file: tuple[int, int] | None = None
        self._seen: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._clients = Clients(_room())

    async def start(self) -> None:
        """Start to listen. The caller holds the daemon's lock, so an existing socket is stale."""
        listening = self._inherited or bind_unix(self._path)
        self._file = self._seen = _identity(self._path)
        self._server = await self._accept_on(listening)
        self._listening = listening

    async def _accept_on(self, listening: socket.socket) -> asyncio.Server:
        """Accept clients on a copy of a socket: closing the server leaves the socket itself open."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"sock": listening.dup(), "backlog": ACCEPTED_AT_ONCE}
        if sys.version_info >= (3, 13) and type(loop).__module__.startswith("asyncio."):
            options["cleanup_socket"] = False  # the default would remove the file
        server = await loop.create_unix_server(self._connect, **options)
        listening.listen(BACKLOG)
        return server

    def pause(self) -> None:
        """Accept no more clients for now; those that connect wait."""
        if self._server is not None:
            self._server.close()

    async def resume(self) -> None:
        """Accept clients again."""
        if self._listening is not None and self._server is not None:
            self._server = await self._accept_on(self._listening)

    @property
    def is_asked(self) -> bool:
        """Whether a client waits to be accepted or for a reply."""
        if any(not connection.is_idle for connection in self._clients):
            return True
        if self._listening is None:
            return False
        pending = select.poll()
        pending.register(self._listening, select.POLLIN)
        return bool(pending.poll(0))

    def _connect(self) -> _Connection:
        self.accepted += 1
        return _Connection(self._execute, encode_frame(self.hello), self._clients, self.requests)

    @property
    def clients(self) -> int:
        """The number of connected clients."""
        return len(self._clients)

    def ensure_listening(self) -> bool:
        """Listen again if the socket's file was removed or replaced, so that clients can connect. Returns whether it was."""
        if self._inherited is not None:
            return False  # the service manager owns the file
        seen = _identity(self._path)
        if self._server is not None and seen != self._seen:
            self._seen = seen
            self._task = asyncio.get_running_loop().create_task(self._listen_anew(self._server))
        return self._server is not None and seen != self._file

    async def _listen_anew(self, before: asyncio.Server) -> None:
        old = self._listening
        try:
            await self.start()
        except (TakoError, OSError) as error:
            if _identity(self._path) is None:
                self._seen = self._file  # no other file is in the way: try again at the next check
            self._events.trouble(f"clients cannot connect: {error}")
        else:
            before.close()
            if old is not None:
                old.close()
            self._events.listening_anew(str(self._path))

    async def stop(self) -> None:
        """Accept no more clients and close the connections. Stopping twice is safe."""
        if self._task is not None:
            self._task.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
            if self._listening is not None:
                self._listening.close()
            if self._inherited is None and _identity(self._path) == self._file:
                with contextlib.suppress(OSError):  # a folder without write permission must not stop the shutdown
                    self._path.unlink(missing_ok=True)
        await asyncio.gather(*(connection.close() for connection in list(self._clients)))


class Clients(dict["_Connection", None]):
    """The connected clients, oldest first; at most `room`, so that descriptors are left for workers.

    To admit one more, the oldest idle client is disconnected: it connects again when it has a request.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def admit(self, connection: _Connection) -> bool:
        """Add a new client, and return whether there was room for it."""
        if len(self) >= self._room:
            idle = next((known for known in self if known.is_idle), None)
            if idle is None:
                return False
            del self[idle]
            idle.hang_up()
        self[connection] = None
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, execute: Execute, hello: bytes, clients: Clients, requests: Counter[tuple[str, str]]) -> None:
        self._execute = execute
        self._hello = hello
        self._clients = clients
        self._requests = requests
        self._lines = LineReader(MAX_FRAME)
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._uid: int | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # the transport of uvloop is no subclass of it
        self._uid = _peer(self._transport.get_extra_info("socket"))
        if self._uid not in (os.getuid(), 0):
            self._transport.abort()
            return
        self._transport.write(self._hello)
        if not self._clients.admit(self):
            error = DaemonUnreachable(f"the daemon is busy with {len(self._clients)} clients and accepts no more", hint=_MORE)
            self._answer(encode_frame({"id": None, "error": error.as_json()}))
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._waiting.extend(self._lines.feed(data))
        except ProtocolError as error:
            self._answer(encode_frame({"id": None, "error": error.as_json()}))
            if self._transport is not None:
                self._transport.close()
            return
        if len(self._waiting) > MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()
        if self._waiting and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.pop(self, None)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    @property
    def is_idle(self) -> bool:
        """Whether this client has no open request and has received every reply."""
        return self._task is None and (self._transport is None or not self._transport.get_write_buffer_size())

    def hang_up(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Let the current request finish, then close the connection."""
        self._waiting.clear()
        if (task := self._task) is not None:
            await asyncio.wait([task], timeout=0.5)
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self._is_bulk_next():
                    await self._work_in_bulk()
                    continue
                line = self._take()
                if line.strip():
                    self._answer(await self._reply(line))
                await self._writable.wait()
        finally:
            self._task = None
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _take(self) -> bytes:
        line = self._waiting.popleft()
        if len(self._waiting) == MAX_WAITING // 2 and self._transport is not None:
            self._transport.resume_reading()
        return line

    def _is_bulk_next(self) -> bool:
        return bool(self._waiting) and _BULK in self._waiting[0][:_BULK_WITHIN]

    async def _work_in_bulk(self) -> None:
        """Execute requests for many runs, a few at a time. Each is handed to the store before the next one is decoded."""
        loop = asyncio.get_running_loop()
        replies: deque[asyncio.Task[bytes]] = deque()
        try:
            while replies or self._is_bulk_next():
                if len(replies) < BULK_AT_ONCE and self._is_bulk_next():
                    replies.append(loop.create_task(self._reply(self._take())))
                    await asyncio.sleep(0)
                else:
                    self._answer(await replies.popleft())
                    await self._writable.wait()
        finally:
            for reply in replies:
                reply.cancel()

    async def _reply(self, line: bytes) -> bytes:
        number = command = None
        outcome = "ok"
        try:
            frame = decode_frame(line)
            number, command = frame.pop("id", None), frame.pop("command", None)
            by = Sender(frame.pop("by", None), self._uid)
            return encode_frame({"id": number, "ok": await self._execute(command, frame, by)})
        except TakoError as error:
            outcome = "refused"
            return encode_frame({"id": number, "error": error.as_json()})
        except Exception as error:
            outcome = "failed"
            logging.getLogger("tako_lite").exception("a command failed")
            message = f"the daemon failed: {type(error).__name__}: {error}"
            failure = {"type": "error", "message": sanitized(message), "hint": "its log has the traceback"}
            return encode_frame({"id": number, "error": failure})
        finally:
            self._requests[command if isinstance(command, str) and command in COMMANDS else "_other", outcome] += 1

    def _answer(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)


def _room() -> int:
    """Maximum number of clients: half of the descriptors of this process, minus those about to be accepted."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(most // 2 - ACCEPTED_AT_ONCE, 1)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None if it does not exist."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _peer(client: socket.socket) -> int | None:
    """The user id of a client; None if it is gone. Only the user of the daemon and root may send commands."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()  # here only the mode of the folder protects the socket
    try:
        _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return int(uid)
