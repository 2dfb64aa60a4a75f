"""The dashboard, from the daemon's side: a listening socket, and a process that exists while somebody looks.

The daemon holds the socket and waits for it to become readable, which costs nothing while nobody connects. The first connection
starts `tako-lite web` with the socket; until that serves, connections wait in the backlog, so that no page is refused. The
process ends when no page has asked for `idle_timeout`, and the daemon waits for the next connection. After a failed start,
connections are answered with the reason, and the first one after the back-off starts the process again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Final

from tako_lite.config import Config
from tako_lite.config.listen import Listen
from tako_lite.config.web_settings import WebSettings
from tako_lite.daemon.events import Events
from tako_lite.errors import TakoError
from tako_lite.listening import address_of, close_unix, listen_on
from tako_lite.names import printable
from tako_lite.units import duration_text
from tako_lite.unpack import program

BACKLOG: Final = 128
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between two failed starts, at first and at most."""
GRACE: Final = 3.0
"""Seconds that the process has to end when it is asked to."""
PATIENCE: Final = 5.0
"""Seconds that a client may take to send its request, which is answered with the reason of a failed start."""
MOST_OUTPUT: Final = 8_192
NEEDED: Final = ("jinja2", "starlette", "uvicorn")


class Dashboard:
    """Starts the dashboard of `[web]` when it is needed."""

    def __init__(self, events: Events, inherited: socket.socket | None = None) -> None:
        self.trouble: str | None = None
        """Why nothing listens, although `listen` is set."""
        self._inherited = inherited
        self._events = events
        self._config: Config | None = None
        self._settings = WebSettings()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: int | None = None
        self._said = b""
        self._failure = ""
        self._pause = 0.0
        self._not_before = 0.0
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> set[int]:
        """The pid of the process that serves the dashboard, if there is one: only this class waits for it."""
        return set() if self._process is None else {self._process.pid}

    @property
    def address(self) -> Listen | None:
        """Where it listens, with the port that the kernel chose if it was 0; None if it does not."""
        if self._socket is None or self._settings.listen is None or self._settings.listen.path is not None:
            return None if self._socket is None else self._settings.listen
        return self._settings.listen._replace(port=self._socket.getsockname()[1])

    async def apply(self, config: Config) -> None:
        """Listen as the settings say. What serves other settings is ended; a failed listener is tried again."""
        before, self._config, settings = self._settings, config, config.web
        is_missing = self._inherited is not None and self._socket is None
        if settings == before and self.trouble is None and not is_missing:
            return
        await self.stop()
        self._settings, self.trouble = settings, None
        if (settings.listen is None or not settings.autostart) and self._inherited is None:
            return
        try:
            self._check_installed()
            self._socket = await self._bind(settings.listen)
        except TakoError as error:
            self.trouble = f"[web] is not served: {error.message}"
            self._events.dashboard_failed("; ".join(filter(None, (error.message, error.hint))))
            return
        self._socket.listen(BACKLOG)
        self._failure, self._pause, self._not_before = "", 0.0, 0.0
        self._events.dashboard("the socket of the service manager" if self._inherited else str(settings.listen))
        self._wait()

    async def stop(self) -> None:
        """End the process and close the socket; twice is harmless."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            if self._inherited is None and self._settings.listen is not None and self._settings.listen.path is not None:
                close_unix(self._settings.listen.path)
        for answering in self._answering:
            answering.cancel()
        if self._process is not None:
            process = self._process
            process.terminate()
            await asyncio.get_running_loop().run_in_executor(None, _wait_or_kill, process)
            self._forget_process()

    async def _bind(self, listen: Listen | None) -> socket.socket:
        """The socket of the service manager, or a new one. Raises TakoError."""
        if self._inherited is not None:
            if self._settings.auth == "none" and not address_of(self._inherited).is_local:
                raise TakoError(
                    'auth = "none" is only allowed on a loopback address or a Unix socket', hint="set auth in [web]"
                )
            return self._inherited.dup()
        assert listen is not None  # noqa: S101
        return await listen_on(listen)

    def _check_installed(self) -> None:
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            raise TakoError(f"the dashboard needs {', '.join(missing)}", hint='pip install "tako-lite[web]"')

    def _wait(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._on_connection)

    def _on_connection(self) -> None:
        if self._socket is None or self._process is not None:
            return
        if time.monotonic() < self._not_before:
            self._refuse(self._socket)
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        try:
            self._start(self._socket)
        except OSError as error:
            self._failed(f"it cannot be started: {error.strerror}")

    def _start(self, listening: socket.socket) -> None:
        """Start the process. Its standard error tells what is wrong, and by its end that the process has ended."""
        assert self._config is not None  # noqa: S101
        words, folder = program()
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *words,
                    "-c",
                    str(self._config.file or self._config.root),
                    "web",
                    "--fd",
                    str(listening.fileno()),
                    "--idle-exit",
                    duration_text(self._settings.idle_timeout),
                ],
                pass_fds=[listening.fileno()],
                cwd=folder,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writing,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        self._output, self._said = reading, b""
        asyncio.get_running_loop().add_reader(reading, self._on_output)

    def _on_output(self) -> None:
        assert self._output is not None  # noqa: S101
        try:
            said = os.read(self._output, MOST_OUTPUT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said:
            self._said = (self._said + said)[-MOST_OUTPUT:]
        else:
            self._ended()

    def _ended(self) -> None:
        """The process has closed its standard error, as its end does: wait for the next connection."""
        assert self._process is not None  # noqa: S101
        process = self._process
        with suppress(ProcessLookupError):
            process.kill()  # one that lives on without its standard error is of no use
        code = process.wait()
        said = self._said.decode(errors="backslashreplace").strip().splitlines()
        self._forget_process()
        if code == 0:
            self._failure, self._pause = "", 0.0
            self._wait()
        else:
            self._failed(printable(said[-1]) if said else f"it ended with exit code {code}")

    def _failed(self, why: str) -> None:
        self._failure = why
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause
        self._events.dashboard_failed(f"{why}; the first connection after {duration_text(self._pause)} starts it again")
        self._wait()

    def _forget_process(self) -> None:
        if self._output is not None:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
        self._process = self._output = None

    def _refuse(self, listening: socket.socket) -> None:
        """Answer a connection with the reason of the failed start."""
        try:
            client, _ = listening.accept()
        except OSError:
            return
        client.setblocking(False)
        answering = asyncio.ensure_future(_answer(client, self._failure, self._not_before - time.monotonic()))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)


async def _answer(client: socket.socket, failure: str, seconds: float) -> None:
    """Reply 503 to whatever a client asks; its request is read first, because closing would discard the reply otherwise."""
    text = f"The dashboard failed to start: {failure}\nIt is started again in {max(1, round(seconds))} s.\n".encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(text)}\r\nRetry-After: {max(1, round(seconds))}\r\nConnection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    with client, suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await loop.sock_recv(client, 65_536)
            await loop.sock_sendall(client, head.encode() + text)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
