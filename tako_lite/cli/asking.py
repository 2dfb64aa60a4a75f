"""Asks a daemon one thing over a connection of one's own, within the time limit of its socket."""

from __future__ import annotations

from typing import Any

from tako_lite.client.connection import Connection, answer_of
from tako_lite.client.request import Request


def greeting(connection: Connection) -> dict[str, Any]:
    """What the daemon says of itself. Raises TimeoutError."""
    while (hello := connection.hello()) is None:
        connection.feed(connection.socket.recv(65536))
    return hello


def ask(connection: Connection, command: str, **arguments: Any) -> dict[str, Any]:
    """The answer to a command. Raises TimeoutError, and the error in the reply."""
    connection.socket.sendall(connection.frame(Request(command, arguments)))
    while (frame := connection.reply()) is None:
        connection.feed(connection.socket.recv(65536))
    return answer_of(frame)
