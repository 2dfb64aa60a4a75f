"""The daemon's side of fork servers: one for each interpreter and start-up environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.catalog.interpreters import failure_reason
from tako_lite.errors import TakoError
from tako_lite.processes.forked_server import ForkedServer
from tako_lite.processes.startup import acting_at_start
from tako_lite.protocol.forkserver import ForkAnswer, ForkRequest, ReapedAnswer, ReapRequest, UntilRequest

READY_TIMEOUT: Final = 20.0


class CannotStart(TakoError):
    """A worker could not be started; the message says why."""

    type = "cannot_start"


Process = subprocess.Popen[bytes] | ForkedServer


class Interpreter(NamedTuple):
    """A program, and the environment that acts at its start (`PYTHON*`, `MALLOC_*`, `LD_*` …)."""

    python: str
    environment: tuple[tuple[str, str], ...]


class ForkServer:
    """One fork server: started when first needed, and replaced when it died."""

    def __init__(self, interpreter: Interpreter, package: Path, folder: Path, entry: str, until: float | None = None) -> None:
        self._interpreter = interpreter
        self._package = package
        self._folder = folder
        self._entry = entry
        self._process: Process | None = None
        self._uncollected: list[Process] = []
        """Its process, and earlier ones that are still ending."""
        self._forked: ForkedServer | None = None
        """A fork of the daemon that was not asked for anything yet."""
        self._control: socket.socket | None = None
        self._turn = asyncio.Lock()
        self._until = until

    def adopt(self, forked: ForkedServer) -> None:
        """Use this process before a new one is started."""
        self._forked = forked
        self._uncollected.append(forked)

    @property
    def pid(self) -> int | None:
        """The pid of the fork server, while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def poll(self) -> set[int]:
        """Collect its processes that are dead; returns the pids of the others."""
        self._uncollected = [process for process in self._uncollected if process.poll() is None]
        return {process.pid for process in self._uncollected}

    async def fork(self, request: ForkRequest, descriptors: Sequence[int]) -> int:
        """Fork a child, and return its pid. Raises CannotStart."""
        async with self._turn:
            if self.pid is None:
                await self._start()
            answer: ForkAnswer = await self._ask(request, descriptors)
        if "error" in answer:
            raise CannotStart(answer["error"])
        return answer["pid"]

    async def start(self) -> None:
        """Start the fork server before it is needed. Raises CannotStart."""
        async with self._turn:
            if self.pid is None:
                await self._start()

    async def reap(self, pid: int) -> int | None:
        """The exit code of a dead child (negative: the signal), or None if the fork server that forked it is gone."""
        async with self._turn:
            if self.pid is None:
                return None
            try:
                answer: ReapedAnswer = await self._ask(ReapRequest(op="reap", pid=pid), ())
            except CannotStart:
                return None
        return answer["status"]

    async def live_until(self, at: float) -> None:
        """Have it kill its workers at this moment, unless it hears of a later one before, also if it starts later."""
        async with self._turn:
            self._until = at
            if self.pid is not None:
                await self._tell_until()

    async def _tell_until(self) -> None:
        if self._until is not None:
            with contextlib.suppress(CannotStart):  # it is gone, and its workers with it
                await self._ask(UntilRequest(op="until", at=self._until), ())

    async def stop(self) -> None:
        """Close the socket, which makes the fork server kill its workers and end."""
        async with self._turn:
            if self._control is not None:
                self._control.close()
                self._control = None
            if self._process is not None:
                process, self._process = self._process, None
                await asyncio.get_running_loop().run_in_executor(None, _wait_or_kill, process)

    async def _start(self) -> None:
        if self._control is not None:
            self._control.close()
        if await self._begin_forked():
            return
        ours, theirs = socket.socketpair()
        boot = self._package / "processes" / "boot.py"
        command = [self._interpreter.python, str(boot), str(self._package), str(theirs.fileno()), self._entry]
        try:
            process = self._process = subprocess.Popen(  # noqa: ASYNC220 -- vfork and exec: about a millisecond
                command,
                pass_fds=[theirs.fileno()],
                env=dict(self._interpreter.environment),
                cwd=self._folder,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            ours.close()
            raise CannotStart(f"cannot run {self._interpreter.python}: {error.strerror}") from None
        finally:
            theirs.close()
        self._uncollected.append(process)
        ours.setblocking(False)
        self._control = ours
        try:
            await self._receive(READY_TIMEOUT)
        except CannotStart as error:
            raise CannotStart(await self._last_output(process) or error.message) from None
        assert process.stderr is not None  # noqa: S101
        process.stderr.close()
        await self._tell_until()

    async def _begin_forked(self) -> bool:
        """Begin to use the process that was adopted; False if there is none, or if it has ended."""
        if self._forked is None:
            return False
        self._process, self._forked = self._forked, None
        self._control = self._process.control
        self._control.setblocking(False)
        try:
            await self._receive(READY_TIMEOUT)
        except CannotStart:
            self._discard()
            return False
        await self._tell_until()
        return True

    async def _last_output(self, process: subprocess.Popen[bytes]) -> str:
        """Why an interpreter did not get ready, by its output."""
        assert process.stderr is not None  # noqa: S101
        stderr = process.stderr
        self._process = None

        def read() -> str:
            process.kill()
            with stderr:
                text = stderr.read(65536).decode(errors="backslashreplace").strip()
            process.wait()
            return failure_reason(text) if text else ""

        said = await asyncio.get_running_loop().run_in_executor(None, read)
        return f"{self._interpreter.python}: {said}" if said else ""

    async def _ask(self, request: ForkRequest | ReapRequest | UntilRequest, descriptors: Sequence[int]) -> Any:
        assert self._control is not None  # noqa: S101
        data = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._control, [data], list(descriptors)) if descriptors else 0
            await asyncio.get_running_loop().sock_sendall(self._control, data[sent:])
        except OSError as error:
            raise CannotStart(f"the fork server does not answer: {error.strerror}") from None
        try:
            return await self._receive(READY_TIMEOUT)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Drop the fork server, so that the next request starts a new one: a late answer would be taken for another's."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()  # before it sees its socket close and kills its workers
            asyncio.get_running_loop().run_in_executor(None, process.wait)
        if self._control is not None:
            self._control.close()
            self._control = None

    async def _receive(self, timeout: float) -> Any:
        assert self._control is not None  # noqa: S101
        data = b""
        try:
            async with asyncio.timeout(timeout):
                while not data.endswith(b"\n"):
                    part = await asyncio.get_running_loop().sock_recv(self._control, 65536)
                    if not part:
                        raise CannotStart(f"{self._interpreter.python} ended before it was ready")
                    data += part
        except TimeoutError:
            raise CannotStart(f"{self._interpreter.python} was not ready within {timeout:g} s") from None
        except OSError as error:
            raise CannotStart(f"the fork server does not answer: {error.strerror}") from None
        return json.loads(data)


class ForkServers:
    """All fork servers of a daemon."""

    def __init__(self, package: Path, folder: Path, entry: str) -> None:
        self._package = package
        self._folder = folder
        self._entry = entry
        self._servers: dict[Interpreter, ForkServer] = {}
        self._until: float | None = None

    def get(self, python: str | None, environment: Mapping[str, str]) -> ForkServer:
        """The fork server for an interpreter (None: this one) and what of this environment acts at its start."""
        interpreter = Interpreter(python or sys.executable, acting_at_start(environment))
        if interpreter not in self._servers:
            self._servers[interpreter] = ForkServer(interpreter, self._package, self._folder, self._entry, self._until)
        return self._servers[interpreter]

    def adopt(self, forked: ForkedServer) -> None:
        """Use a fork of the daemon as the fork server of this interpreter and of the environment with which it started."""
        self.get(None, forked.environment).adopt(forked)

    def poll(self) -> set[int]:
        """Collect the fork servers that are dead; returns the pids of the others."""
        return set().union(*(server.poll() for server in self._servers.values()))

    @property
    def pid(self) -> int | None:
        """The pid of the first fork server that lives."""
        return next((server.pid for server in self._servers.values() if server.pid is not None), None)

    async def live_until(self, at: float) -> None:
        """Have all workers killed at this moment, in seconds of `linux.boottime`, unless it is moved before."""
        self._until = at
        for server in self._servers.values():
            await server.live_until(at)

    async def stop(self) -> None:
        """End them all."""
        for server in self._servers.values():
            await server.stop()


def _wait_or_kill(process: Process) -> None:
    try:
        process.wait(6)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
