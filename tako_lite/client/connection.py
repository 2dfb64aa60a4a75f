"""A connection to the daemon: its socket, the hello, and replies in the order of the requests. No function here waits."""

from __future__ import annotations

import json
import os
import select
import socket
from collections import deque
from pathlib import Path
from typing import Any, Final

from tako_lite.client.request import Request
from tako_lite.errors import DaemonUnreachable, ProtocolError, from_json
from tako_lite.wire import PROTOCOL, LineReader

LONGEST_PATH: Final = 107 if os.uname().sysname == "Linux" else 103
MOST_IDLE: Final = 16
MAX_REPLY: Final = 256 * 1024 * 1024
"""Much larger than the limit of a request: a list of runs with large payloads is long."""
_decode: Final = json.JSONDecoder().decode


class Connection:
    """One connection with its received frames and missing replies. Requests and replies are numbered in order."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._pid = os.getpid()
        self._arrivals = select.poll()
        self._arrivals.register(connected, select.POLLIN)
        self._reader = LineReader(MAX_REPLY)
        self._frames: deque[dict[str, Any]] = deque()
        self._hello: dict[str, Any] | None = None
        self._asked = 0
        self._answered = 0

    def frame(self, request: Request) -> bytes:
        """The next request as bytes to send."""
        self._asked += 1
        takes_by = self._hello is not None and self._hello.get("takes_by") is True
        return request.frame(self._asked, names_source=takes_by)

    def feed(self, data: bytes) -> None:
        """Add received bytes. Raises ConnectionError at the end of the stream."""
        if not data:
            raise ConnectionResetError("the daemon closed the connection")
        self._frames.extend(_decoded(line) for line in self._reader.feed(data))

    @property
    def is_greeted(self) -> bool:
        """Whether the daemon's hello was received."""
        return self._hello is not None

    def hello(self) -> dict[str, Any] | None:
        """The daemon's hello, which identifies it and what it serves; None until it is received. Raises ProtocolError."""
        if self._hello is None and self._frames:
            hello = self._frames.popleft()
            _check_hello(hello)
            self._hello = hello
        return self._hello

    def reply(self) -> dict[str, Any] | None:
        """The reply to the oldest open request; None until it is received. Raises ProtocolError."""
        if self.hello() is None or not self._frames:
            return None
        frame = self._frames.popleft()
        self._answered += 1
        refused = frame.get("id") is None and "error" in frame  # the daemon could not decode the line
        if not refused and (frame.get("id") != self._answered or self._answered > self._asked):
            raise ProtocolError("the daemon sent a reply that matches no request")
        return frame

    def is_usable(self) -> bool:
        """Whether it belongs to this process, no reply is missing, and the daemon has neither closed it nor sent anything.

        A process must not use a connection that it inherited by a fork: both processes would read each other's replies.
        """
        return self._asked == self._answered and self._pid == os.getpid() and not self._arrivals.poll(0)

    def close(self) -> None:
        """Close the connection. Closing twice is safe."""
        self.socket.close()


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        frame = _decode(line.decode())
    except ValueError as error:
        raise ProtocolError(f"the daemon sent an invalid frame: {error}") from error
    if not isinstance(frame, dict):
        raise ProtocolError("the daemon sent an invalid frame: a frame is a JSON object")
    return frame


def answer_of(frame: dict[str, Any]) -> dict[str, Any]:
    """The answer in a reply. Raises the error in it."""
    if isinstance(answer := frame.get("ok"), dict):
        return answer
    if isinstance(error := frame.get("error"), dict):
        raise from_json(error)
    raise ProtocolError("the daemon's reply has neither an answer nor an error")


def connect(path: Path) -> Connection | None:
    """A new connection to a socket; None if no daemon listens. Raises DaemonUnreachable if waiting does not help."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        _connect(connected, path)
    except (FileNotFoundError, ConnectionError, BlockingIOError):  # BlockingIOError: the backlog is full
        connected.close()
        return None
    except OSError as error:
        connected.close()
        raise DaemonUnreachable(f"{path} cannot be connected to: {error.strerror or error}") from error
    return Connection(connected)


def _connect(connected: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= LONGEST_PATH or not hasattr(os, "O_PATH"):
        connected.connect(str(path))
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connected.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _check_hello(frame: dict[str, Any]) -> None:
    if "error" in frame:
        answer_of(frame)
    if frame.get("hello") != "tako-lite":
        raise ProtocolError("the program that listens on the socket is not a daemon of tako-lite")
    if frame.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"the daemon is version {frame.get('version')} and speaks protocol {frame.get('protocol')}; "
            f"this client speaks protocol {PROTOCOL}",
            hint="restart the daemon, so that both are of one release",
        )


class Pool:
    """Idle connections. Threads share them without a lock: append and pop are atomic operations of a list."""

    def __init__(self) -> None:
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """A usable connection, or None."""
        while (connection := self._next()) and not connection.is_usable():
            connection.close()
        return connection

    def put(self, connection: Connection) -> None:
        """Keep a connection for later requests."""
        if len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections. After a fork this closes only this process's copies of their sockets."""
        while connection := self._next():
            connection.close()

    def _next(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # checking first would not help: another thread may take the last one
            return None
