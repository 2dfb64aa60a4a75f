"""The server around the application: bounded connections, and an end when nobody asks."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.responses import PlainTextResponse

from tako_lite.web import live as live_module
from tako_lite.web import server
from tako_lite.web.live import Live
from tako_lite.web.server import QuietServer
from tests.support.fixtures import project
from tests.support.project import Project

__all__ = ["project"]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def served(idle_exit: float | None = None) -> Iterator[tuple[tuple[str, int], threading.Thread]]:
    """A server on a free port, in a thread that is over afterwards."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        running = QuietServer(PlainTextResponse("hello"), idle_exit)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname(), thread
        finally:
            running.handle_exit(signal.SIGTERM, None)
            thread.join(10)
            assert not thread.is_alive()


def received(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def replied(client: socket.socket) -> bytes:
    """A whole reply: its head and its body may arrive apart."""
    client.sendall(REQUEST)
    reply = b""
    while not reply.endswith(b"hello"):
        part = client.recv(65_536)
        assert part, reply
        reply += part
    return reply


def test_a_client_that_does_not_finish_its_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.3)
    with served() as (address, _):
        for beginning in (b"", REQUEST[:20], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234"):
            with socket.create_connection(address, 10) as slow:
                slow.sendall(beginning)
                assert received(slow) == b"" or beginning.startswith(b"POST")
        with socket.create_connection(address, 10) as quick:
            for _ in range(3):
                assert replied(quick).startswith(b"HTTP/1.1 200")


def test_it_ends_when_nobody_has_asked_for_a_while() -> None:
    with served(idle_exit=0.3) as (address, thread):
        with socket.create_connection(address, 10) as client:
            replied(client)
        thread.join(10)
        assert not thread.is_alive()


def test_replies_do_not_say_what_serves_them() -> None:
    with served() as (address, _), socket.create_connection(address, 10) as client:
        head = replied(client).partition(b"\r\n\r\n")[0].lower()
        assert b"server:" not in head
        assert b"date:" not in head


@pytest.mark.anyio
async def test_the_last_status_is_shown_while_the_daemon_does_not_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = project.serve()
    live = Live(project.root)
    known = await live.status()
    assert known is not None
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(live_module, "ANSWERS_WITHIN", 0.3)
    try:
        live.forget()
        assert await live.status() == known
        live.forget()
        live._last = (0.0, known)
        assert await live.status() is None, "an old one is not shown"
    finally:
        os.kill(pid, signal.SIGCONT)
    await live.client.close()
