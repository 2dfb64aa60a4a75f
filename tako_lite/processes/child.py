"""One worker process: its sockets, its death, and the end of everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tako_lite.linux import ON_LINUX, boot_id, kill_session, read_process, resident_bytes, session_members
from tako_lite.processes.forkserver import ForkServer
from tako_lite.protocol.forkserver import ForkRequest
from tako_lite.protocol.worker import LIVE_UNTIL


class Exit(NamedTuple):
    """How a process ended: its exit code, or negative the signal; None if that is unknown."""

    code: int | None

    def __str__(self) -> str:
        if self.code is None:
            return "ended"
        if self.code >= 0:
            return f"exited with code {self.code}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-self.code).name}"
        return f"was killed by signal {-self.code}"


class WorkerRecords:
    """Records the sessions of live workers in a folder, so that the next daemon can kill those that outlived this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.live: set[int] = set()

    def add(self, pid: int) -> None:
        """Record a process with its start time; on a full disk it is left out, since only a crash of the daemon needs it."""
        self.live.add(pid)
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / str(pid), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(_start_of(pid))

    def forget(self, pid: int) -> None:
        """Delete the record of a process that is gone, with all of its session."""
        self.live.discard(pid)
        with contextlib.suppress(OSError):  # the next start finds that a record which stays is stale
            (self._folder / str(pid)).unlink(missing_ok=True)

    def survivors(self) -> list[int]:
        """The recorded sessions that still have members; a pid of another boot, or one that was reused, does not count."""
        return [int(entry.name) for entry in self._entries() if _lives(entry)]

    def sweep(self) -> list[int]:
        """Kill the sessions that an earlier daemon left, and return their pids."""
        survivors = self.survivors()
        for pid in survivors:
            kill_session(pid)
        for entry in self._entries():
            with contextlib.suppress(OSError):  # as below
                entry.unlink(missing_ok=True)
        return survivors

    def _entries(self) -> list[Path]:
        """The records. Raises OSError for an unreadable folder: a recorded worker may still be running."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 -- glob passes over a folder that it cannot read
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(self._folder / name for name in names if name.isdecimal())


def _lives(entry: Path) -> bool:
    try:
        boot, _, started = entry.read_text(errors="replace").partition(" ")
    except FileNotFoundError:  # another daemon has swept it meanwhile
        return False
    leader = read_process(int(entry.name))
    same = boot == boot_id() and (leader is None or str(leader.started) == started)
    return same and bool(session_members(int(entry.name)))


def _start_of(pid: int) -> str:
    """What tells a process from any other with the same pid: the boot and its start time."""
    process = read_process(pid)
    return f"{boot_id()} {process.started if process else 0}"


class Child:
    """A forked process that leads its own session. Made by `spawn`; call `reap` once it is dead."""

    def __init__(
        self, pid: int, server: ForkServer, records: WorkerRecords, link: socket.socket, guard: socket.socket, output: int
    ) -> None:
        self.pid = pid
        self.link = link
        self.output = output
        self._guard = guard
        self._server = server
        self._records = records
        self._pidfd: int | None = None
        self._private: socket.socket | None = None
        self.has_ended = False
        self.on_heartbeat: Callable[[], None] = lambda: None
        self._answer: asyncio.Future[bytes] | None = None
        self._line = b""

    @classmethod
    async def spawn(
        cls,
        server: ForkServer,
        request: ForkRequest,
        records: WorkerRecords,
        on_death: Callable[[Child], None],
        *,
        private: bool = False,
    ) -> Child:
        """Fork a child and watch it; `on_death` is called once, when it has ended. Raises CannotStart.

        A `private` child waits for `send_secrets`.
        """
        pairs = [socket.socketpair() for _ in range(3 if private else 2)]
        output, their_output = os.pipe()
        theirs = [their_end.fileno() for _, their_end in pairs]
        try:
            pid = await server.fork(request, (*theirs[:2], their_output, *theirs[2:]))
        except BaseException:
            for our_end, _ in pairs:
                our_end.close()
            os.close(output)
            raise
        finally:
            for _, their_end in pairs:
                their_end.close()
            os.close(their_output)
        link, guard, *rest = (our_end for our_end, _ in pairs)
        child = cls(pid, server, records, link, guard, output)
        try:
            child._begin(rest, on_death)
        except BaseException:
            await child._abandon()
            raise
        return child

    def _begin(self, private: list[socket.socket], on_death: Callable[[Child], None]) -> None:
        self.link.setblocking(False)
        self._guard.setblocking(False)
        os.set_blocking(self.output, False)
        for private_end in private:
            private_end.setblocking(False)
            self._private = private_end
        self._records.add(self.pid)
        self._watch(on_death)

    async def _abandon(self) -> None:
        """End a child that was forked but cannot be watched for want of descriptors: its death would go unnoticed."""
        self.kill()
        with contextlib.suppress(OSError):
            self._guard.shutdown(socket.SHUT_RDWR)  # this ends it too if it has no process group yet
        self.link.close()
        os.close(self.output)
        with contextlib.suppress(OSError):
            await self.reap()
        self._guard.close()

    def _watch(self, on_death: Callable[[Child], None]) -> None:
        loop = asyncio.get_running_loop()

        def died() -> None:
            if not self.has_ended:
                self.has_ended = True
                loop.remove_reader(watched)
                on_death(self)

        def heartbeat() -> None:
            try:
                data = self._guard.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.on_heartbeat()
                self._take_answer(data)
                return
            loop.remove_reader(self._guard)
            if self._pidfd is None:
                died()

        if hasattr(os, "pidfd_open"):
            watched = self._pidfd = os.pidfd_open(self.pid)
            loop.add_reader(self._pidfd, died)
        else:
            watched = self._guard.fileno()
        loop.add_reader(self._guard, heartbeat)

    def live_until(self, at: float) -> None:
        """Have its guard thread end it at this moment, unless it is moved before."""
        with contextlib.suppress(OSError):  # it is gone
            self._guard.send(LIVE_UNTIL % at)

    async def ask(self, question: bytes, limit: float) -> bytes | None:
        """The answer of its guard thread, a line; None if it does not answer within `limit` seconds. Askers share an answer."""
        if self._answer is None or self._answer.done():
            self._answer, self._line = asyncio.get_running_loop().create_future(), b""
            try:
                self._guard.send(question)
            except OSError:  # it is gone, or reads nothing
                return None
        try:
            return await asyncio.wait_for(asyncio.shield(self._answer), limit)
        except TimeoutError:
            return None

    def _take_answer(self, data: bytes) -> None:
        """Collect the line that answers `ask`; heartbeats are dots before and after it."""
        if self._answer is None or self._answer.done():
            return
        self._line += data
        if b"\n" in self._line:
            self._answer.set_result(self._line.partition(b"\n")[0].lstrip(b"."))

    async def send_secrets(self, data: bytes) -> None:
        """Send a `private` child its secrets, and close their socket; a child that died gets nothing.

        They are sent after the fork, when the fork server has closed its copy of the other end.
        """
        assert self._private is not None  # noqa: S101
        with self._private, contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._private, data)

    def kill(self) -> None:
        """SIGKILL its process group; `reap` kills the rest of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def resident_bytes(self) -> int | None:
        """Its resident memory."""
        return resident_bytes(self.pid)

    @property
    def cpu_seconds(self) -> float | None:
        """The processor time that it has used; None if it cannot be read, and 0 on systems without /proc."""
        process = read_process(self.pid)
        if process is None:
            return None if ON_LINUX else 0.0
        return process.cpu

    async def reap(self) -> Exit:
        """Kill what is left of its session, confirm that it is gone, collect the status and close the descriptors."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._guard)
        await loop.run_in_executor(None, kill_session, self.pid)
        code = await self._server.reap(self.pid)
        if code is None:
            code = _collect(self.pid)
        self._guard.close()
        if self._private is not None:
            self._private.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._records.forget(self.pid)
        return Exit(code)


def _collect(pid: int) -> int | None:
    """The status of a child whose fork server is gone, so that the daemon inherited it as the subreaper."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None
