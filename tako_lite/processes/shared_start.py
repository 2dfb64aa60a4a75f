"""A daemon and a fork server that share memory, because one process imports the worker's runtime for both.

`start_over` replaces a program by a new one with the same pid. It starts exactly as a fork server does: as `boot.py`, with the
environment of workers. It imports the worker's runtime, forks the fork server, and only then reads the rest: its own
environment, the import path, and what to serve, which wait in a file in memory. So none of these is ever in the memory of the
fork server or of a worker, and pages that neither process writes exist once.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypedDict

from tako_lite.linux import cut_command_line, name_process
from tako_lite.processes.forked_server import ForkedServer
from tako_lite.processes.forkserver_main import Entry, find_entry, serve_forks

NAME: Final = "tako-lite"
"""What `ps` and `top` show for the daemon."""


class Rest(TypedDict):
    """What the new program reads after the fork: the daemon's function `module:function`, and what that gets."""

    daemon: str
    options: dict[str, Any]
    environment: dict[str, str]
    path: list[str]


def start_over(
    package: Path, folder: Path, worker: str, environment: Mapping[str, str], words: Sequence[str], rest: Rest
) -> NoReturn:
    """Replace this program by a daemon with a fork server in `folder`; its command line ends with `words`, for people.

    `environment` is that of the fork server, and `worker` its entry.
    """
    descriptor = os.memfd_create("tako-lite", 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps(rest).encode())
    boot = package / "processes" / "boot.py"
    started = [sys.executable, str(boot), str(package), "daemon", str(descriptor), str(folder), worker, *words]
    os.execve(sys.executable, started, dict(environment))


def main(arguments: list[str]) -> None:
    """Fork a fork server, then become the daemon. Arguments: what `start_over` passes after the package."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends both
    _, descriptor, folder, worker, *words = arguments
    forked = _fork(find_entry(worker), folder, words)
    with open(int(descriptor), "rb") as file:  # noqa: PTH123 -- a descriptor
        file.seek(0)
        rest: Rest = json.load(file)
    name_process(NAME)
    os.environ.clear()
    os.environ.update(rest["environment"])
    time.tzset()
    sys.path[:] = rest["path"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module, _, name = rest["daemon"].partition(":")
    sys.exit(getattr(importlib.import_module(module), name)(rest["options"], forked))


def _fork(entry: Entry, folder: str, words: list[str]) -> ForkedServer | None:
    """Fork the fork server; None where that is impossible, and the daemon starts it as a new program."""
    if threading.active_count() != 1:  # those of a debugger, say
        return None
    environment = dict(os.environ)
    ours, theirs = socket.socketpair()
    gc.collect()
    gc.freeze()  # pages of objects that no collector visits stay shared
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        return None
    if pid == 0:
        _become_fork_server(theirs.detach(), entry, folder, words)
    theirs.close()
    return ForkedServer(pid, ours, environment)


def _become_fork_server(control: int, entry: Entry, folder: str, words: list[str]) -> NoReturn:
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        cut_command_line(sum(len(os.fsencode(word)) + 1 for word in words))
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        os.closerange(3, control)
        os.closerange(control + 1, os.sysconf("SC_OPEN_MAX"))
        serve_forks(socket.socket(fileno=control), entry)
        status = 0
    finally:
        os._exit(status)  # no code of the daemon may run here
