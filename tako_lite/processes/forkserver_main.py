"""The fork server's own process: single-threaded, with the worker's runtime imported and nothing else.

It answers one request after another on a socket to the daemon (`protocol/forkserver.py`):

- `fork`: fork a child that leads its own session, with the descriptors that came along; the answer is its pid.
- `until`: kill everything that it forked at a moment, unless it hears of a later one before. A daemon whose lease ends then
  may stand still, but its workers must not go on.
- `reap`: collect the status of a dead child. The daemon asks for it once it no longer needs the pid: until then the zombie
  keeps the pid from being reused.

When the socket closes, the daemon is gone, and the fork server kills everything that it forked.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from tako_lite.linux import boottime, end_with_parent, kill_session, name_process
from tako_lite.processes.priority import set_nice
from tako_lite.processes.spare import Spare
from tako_lite.protocol.forkserver import (
    FailedAnswer,
    ForkAnswer,
    ForkedAnswer,
    ForkRequest,
    ReadyAnswer,
    ReapedAnswer,
    ReapRequest,
    ServerAnswer,
    UntilAnswer,
    UntilRequest,
)

MAX_DESCRIPTORS: Final = 4
QUIET: Final = 0.05
"""Seconds without a request after which the spare is forked."""
LONGEST_SLEEP: Final = 2.0
"""Seconds; the clock of poll(2) stands still while the machine is suspended."""

Entry = Callable[..., None]
"""What a child runs: its task, the descriptors of its link and of its guard, and perhaps that of its secrets."""


def main(arguments: list[str]) -> None:
    """Serve until the daemon closes the socket. Arguments: the socket's descriptor, the child's entry as `module:function`."""
    control = socket.socket(fileno=int(arguments[0]))
    serve_forks(control, find_entry(arguments[1]))


def find_entry(name: str) -> Entry:
    """Import what children run, a `module:function`, and have it do once what it does in each of them."""
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    _rehearse(entry)
    return entry


def _rehearse(entry: Entry) -> None:
    """Call the function `rehearse` of the same module: here, what it leaves in memory is shared; in a spare, copied early."""
    rehearsal: Callable[[], None] | None = getattr(sys.modules[entry.__module__], "rehearse", None)
    if rehearsal is not None:
        rehearsal()


def serve_forks(control: socket.socket, entry: Entry) -> None:
    """Fork children and collect them, until the daemon closes the socket; then kill those that are left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() != 1:
        raise SystemExit("the fork server has more than one thread, so it cannot fork safely")
    gc.collect()
    gc.freeze()  # what is frozen is never touched by a child's collector, so its pages stay shared
    name_process("tako-zygote")
    _send(control, ReadyAnswer(ready=True, python=sys.version.split()[0]))
    _silence()
    server = _Server(control, entry)
    try:
        server.serve()
    finally:
        server.kill()


class _Server:
    """The children of a fork server, and the spare that becomes the next one."""

    def __init__(self, control: socket.socket, entry: Entry) -> None:
        self._control = control
        self._entry = entry
        self._children: set[int] = set()
        self._until: float | None = None
        self._spare: Spare | None = None
        self._wants_spare = True

    def serve(self) -> None:
        """Answer requests until the daemon closes the socket."""
        while True:
            self._wait()
            data, descriptors = _receive(self._control)
            if data is None:
                return
            request: ForkRequest | ReapRequest | UntilRequest = json.loads(data)
            if request["op"] == "until":
                self._until = request["at"]
                answer: ServerAnswer = UntilAnswer(until=self._until)
            elif request["op"] == "fork":
                answer = self._start(data, request, descriptors)
            else:
                answer = self._reap(request["pid"])
            _send(self._control, answer)

    def kill(self) -> None:
        """Kill the children, with everything that they started."""
        if self._spare is not None:
            self._spare.kill()
        for pid in self._children:
            kill_session(pid)

    def _wait(self) -> None:
        """Wait for a request; meanwhile fork the spare, and kill the children at the moment that the daemon has set."""
        readable = select.poll()
        readable.register(self._control, select.POLLIN)
        while True:
            sleep = QUIET if self._wants_spare else None
            if self._until is not None:
                if (left := self._until - boottime()) <= 0:
                    self._until = None
                    for pid in self._children:
                        kill_session(pid)
                    continue
                sleep = min(sleep or LONGEST_SLEEP, left)
            if readable.poll(None if sleep is None else sleep * 1000):
                return
            if self._wants_spare:
                self._wants_spare = False
                self._fork_spare()

    def _start(self, data: bytes, request: ForkRequest, descriptors: list[int]) -> ForkAnswer:
        """Have the spare become a worker, or fork one."""
        spare, self._spare, self._wants_spare = self._spare, None, True
        try:
            if spare is not None and spare.hand_over(data, descriptors):
                pid = spare.pid
            elif (pid := os.fork()) == 0:
                self._control.close()
                _child(self._entry, request, descriptors)
        except OSError as error:
            return FailedAnswer(error=f"cannot fork: {error.strerror}")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._children.add(pid)
        return ForkedAnswer(pid=pid)

    def _fork_spare(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:  # tried again after the next worker
            ours.close()
            theirs.close()
            return
        if pid == 0:
            self._control.close()
            ours.close()
            _become_spare(self._entry, theirs)
        theirs.close()
        self._spare = Spare(pid, ours)

    def _reap(self, pid: int) -> ReapedAnswer:
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            return ReapedAnswer(status=None)
        self._children.discard(pid)
        return ReapedAnswer(status=os.waitstatus_to_exitcode(status))


def _receive(control: socket.socket) -> tuple[bytes | None, list[int]]:
    """A request and its descriptors; None when the other end is closed."""
    data = b""
    descriptors: list[int] = []
    while not data.endswith(b"\n"):
        try:
            part, received, _, _ = socket.recv_fds(control, 65536, MAX_DESCRIPTORS)
        except ConnectionError:
            return None, descriptors
        if not part:
            return None, descriptors
        data += part
        descriptors += received
    return data, descriptors


def _send(control: socket.socket, answer: ServerAnswer) -> None:
    try:
        control.sendall(json.dumps(answer).encode() + b"\n")
    except ConnectionError:
        return  # the daemon is gone; the next read says so


def _become_spare(entry: Entry, channel: socket.socket) -> None:
    """Prepare what all workers need, then wait for the task of one."""
    try:
        os.setsid()
        end_with_parent(signal.SIGKILL)  # even if it is stopped then, and cannot read the end of its channel
        name_process("tako-spare")
        _rehearse(entry)
        data, descriptors = _receive(channel)
        end_with_parent(0)  # as a worker, it belongs to the daemon
        channel.close()
    except BaseException:
        os._exit(1)
    if data is None:
        os._exit(0)
    _child(entry, json.loads(data), descriptors)


def _child(entry: Entry, request: ForkRequest, descriptors: list[int]) -> None:
    status = 1
    try:
        if os.getsid(0) != os.getpid():  # a spare leads a session already
            os.setsid()
        link, guard, output, *private = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for descriptor in (link, guard, *private):
            os.set_inheritable(
                descriptor, False
            )  # descriptors that came with a message are inheritable, and programs that a handler starts would get them
        _become(request)
        entry(request["task"], link, guard, *private)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            _flush()
        finally:
            os._exit(status)  # even if flushing failed: no code of the fork server may run here


def _become(request: ForkRequest) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    name_process(request["name"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.umask(request["umask"])
    os.chdir(request["folder"])
    set_nice(request["nice"])
    for name, value in request["limits"].items():
        which = getattr(resource, f"RLIMIT_{name.upper()}")
        _, hard = resource.getrlimit(which)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (ceiling, ceiling))


def _silence() -> None:
    """Close standard error: it is a pipe that the daemon reads only during the start."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 2)
    os.close(nothing)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
