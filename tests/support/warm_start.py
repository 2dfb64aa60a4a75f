"""Starts daemons from a process that has imported their modules already: four fifths of a cold start are imports.

`Nursery` runs one such process for each process of the tests. For each daemon it forks a child, which becomes leader of a
session, moves to the project's folder with the environment, the umask and the streams of a new program, and then runs
`python -m tako_lite` like any other. From there on it is an ordinary daemon. Whatever concerns the start of the program
itself starts it cold: another environment, a wrapper, `Project.start`, and everything in the full profile.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Lock
from typing import Final, NamedTuple
from weakref import finalize

from tests.support.profiles import FULL

REPOSITORY: Final = Path(__file__).parents[2]
_PRELOADED: Final = (
    "anyio._backends._asyncio",
    "anyio.lowlevel",
    "anyio.to_thread",
    "tako_lite.cli.app",
    "tako_lite.cli.commands.serve",
    "tako_lite.cli.main",
    "tako_lite.cli.project_notice",
    "tako_lite.daemon.serve",
    "tako_lite.store.sqlite.queue",
    "tako_lite.store.sqlite.store",
)
_LARGEST: Final = 1 << 20


class WarmProcess:
    """A daemon that a nursery forked, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, handle: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = handle
        self._ended = ended
        # Not __del__: in a cycle, the socket could be finalized before it, and warn that it was not closed.
        finalize(self, os.close, handle)
        finalize(self, ended.close)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._collect(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        code = self._collect(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("tako-lite serve", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _collect(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._ended.settimeout(timeout)
            with suppress(BlockingIOError, TimeoutError):
                self.returncode = int(self._ended.recv(16))
        return self.returncode


class Nursery:
    """The process that forks daemons. It ends with the process that started it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno())],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        atexit.register(self.close)

    def start(
        self, arguments: Sequence[str], folder: Path, output: int, module: str, environment: Mapping[str, str]
    ) -> WarmProcess:
        """Run `python -m MODULE` with arguments in a folder, as leader of a session."""
        umask = os.umask(0)
        os.umask(umask)
        order = {
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": {**os.environ, **environment},
            "umask": umask,
        }
        ended, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with reports, self._lock:
            socket.send_fds(self._ours, [json.dumps(order).encode()], [output, reports.fileno()])
            answer, (handle,), _, _ = socket.recv_fds(self._ours, 64, 1)
        return WarmProcess(int(answer), handle, ended)

    def close(self) -> None:
        """End the process; the daemons stay."""
        self._ours.close()
        self._process.wait()


_nurseries: dict[int, Nursery] = {}


def start_daemon(
    arguments: Sequence[str],
    folder: Path,
    output: int,
    *,
    module: str = "tako_lite",
    wrapper: Sequence[str] = (),
    warm: bool | None = None,
    **environment: str,
) -> subprocess.Popen[bytes] | WarmProcess:
    """Run `python -m MODULE` with arguments in a folder, as leader of a session; warm unless its start may matter."""
    if warm is None:
        warm = not (wrapper or FULL or environment.keys() - {"PYTHONPATH"})
    if not warm:
        return subprocess.Popen(
            [*wrapper, sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    pid = os.getpid()  # a fork of the tests has a nursery of its own
    if pid not in _nurseries:
        _nurseries[pid] = Nursery()
    return _nurseries[pid].start(arguments, folder, output, module, environment)


class Order(NamedTuple):
    """A daemon to start: its module and arguments, and the state of the process that runs it."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    umask: int
    output: int


def _serve(orders: socket.socket) -> Order | None:
    """Fork a daemon for each order and report its end. Returns the order in a child, and None at the end of the tests."""
    running: dict[int, int] = {}
    with closing(orders), DefaultSelector() as selector, _wakeups() as woken:
        selector.register(orders, EVENT_READ)
        selector.register(woken, EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(4096)
                    _report_ends(running)
                    continue
                message, descriptors, _, _ = socket.recv_fds(orders, _LARGEST, 2)
                if not message:
                    return None
                output, ended = descriptors
                pid = os.fork()
                if pid == 0:
                    for descriptor in (*running.values(), ended):
                        os.close(descriptor)
                    return Order(**json.loads(message), output=output)
                os.close(output)
                running[pid] = ended
                handle = os.pidfd_open(pid)
                socket.send_fds(orders, [str(pid).encode()], [handle])
                os.close(handle)


@contextmanager
def _wakeups() -> Iterator[socket.socket]:
    """A socket that becomes readable when a child ends. Ctrl-C is for the tests, not for this process."""
    woken, wakes = socket.socketpair()
    with woken, wakes:
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        yield woken
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _report_ends(running: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended = running.pop(pid)
        with suppress(OSError):  # the test has closed its end
            os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(ended)


def _become(order: Order) -> None:
    """Turn this child into the program that an exec would have started."""
    os.setsid()
    os.chdir(order.folder)
    os.umask(order.umask)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.dup2(order.output, 1)
    os.dup2(order.output, 2)
    os.close(order.output)
    sys.argv = [order.module, *order.arguments]
    sys.path[0] = order.folder
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for module in _PRELOADED:
        importlib.import_module(module)
    gc.freeze()  # the collector of a child must not copy the pages of these modules
    if child := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(child)
