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

from tako_lite.linux import boottime, kill_session, name_process
from tako_lite.processes.priority import set_nice
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
LONGEST_SLEEP: Final = 2.0
"""Seconds; the clock of poll(2) stands still while the machine is suspended."""

Entry = Callable[..., None]
"""What a child runs: its task, the descriptors of its link and of its guard, and perhaps that of its secrets."""


def main(arguments: list[str]) -> None:
    """Serve until the daemon closes the socket. Arguments: the socket's descriptor, the child's entry as `module:function`."""
    control = socket.socket(fileno=int(arguments[0]))
    serve_forks(control, find_entry(arguments[1]))


def find_entry(name: str) -> Entry:
    """Import what children run, a `module:function`."""
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


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
    children: set[int] = set()
    try:
        _serve(control, entry, children)
    finally:
        for pid in children:
            kill_session(pid)


def _serve(control: socket.socket, entry: Entry, children: set[int]) -> None:
    until: float | None = None
    while True:
        if not _wait(control, until):
            for pid in children:
                kill_session(pid)
            until = None
        request, descriptors = _receive(control)
        if request is None:
            return
        if request["op"] == "until":
            until = request["at"]
            _send(control, UntilAnswer(until=until))
        elif request["op"] == "fork":
            _send(control, _fork(control, entry, request, descriptors, children))
        else:
            _send(control, _reap(request["pid"], children))


def _wait(control: socket.socket, until: float | None) -> bool:
    """Wait for a request; False if this moment comes first."""
    readable = select.poll()
    readable.register(control, select.POLLIN)
    while until is not None:
        if (left := until - boottime()) <= 0:
            return False
        if readable.poll(min(left, LONGEST_SLEEP) * 1000):
            break
    return True


def _receive(control: socket.socket) -> tuple[ForkRequest | ReapRequest | UntilRequest | None, list[int]]:
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
    return json.loads(data), descriptors


def _send(control: socket.socket, answer: ServerAnswer) -> None:
    try:
        control.sendall(json.dumps(answer).encode() + b"\n")
    except ConnectionError:
        return  # the daemon is gone; the next read says so


def _fork(control: socket.socket, entry: Entry, request: ForkRequest, descriptors: list[int], children: set[int]) -> ForkAnswer:
    try:
        pid = os.fork()
    except OSError as error:
        for descriptor in descriptors:
            os.close(descriptor)
        return FailedAnswer(error=f"cannot fork: {error.strerror}")
    if pid == 0:
        control.close()
        _child(entry, request, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    children.add(pid)
    return ForkedAnswer(pid=pid)


def _child(entry: Entry, request: ForkRequest, descriptors: list[int]) -> None:
    status = 1
    try:
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


def _reap(pid: int, children: set[int]) -> ReapedAnswer:
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return ReapedAnswer(status=None)
    children.discard(pid)
    return ReapedAnswer(status=os.waitstatus_to_exitcode(status))


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
