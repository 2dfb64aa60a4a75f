"""Clients that speak to the control socket without the client library."""

from __future__ import annotations

import json
import socket

from tests.support.project import Project

SLOW_CLIENTS = 128


def connect(project: Project) -> socket.socket:
    """A connection that has read the greeting."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(15)
    client.connect(str(project.root / ".tako/tako.sock"))
    assert read_line(client)["hello"] == "tako-lite"
    return client


def read_line(client: socket.socket) -> dict[str, object]:
    """The next line, read byte by byte so that nothing behind it is taken."""
    line = b""
    while not line.endswith(b"\n"):
        data = client.recv(1)
        assert data, f"hung up after {line!r}"
        line += data
    answer: dict[str, object] = json.loads(line)
    return answer
