"""A service manager in a thread: it listens for a daemon that is not running, starts it for a client, and again when due."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tako_lite.daemon.idle_exit import NEXT_DUE
from tests.support.project import Project

SCRIPT: Final = """\
import fcntl, os, sys
names = dict(pair.split("=") for pair in sys.argv[1].split(","))
kept = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 100) for descriptor in names.values()]
for index, descriptor in enumerate(kept):
    os.dup2(descriptor, 3 + index)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Passes the socket as systemd does: as descriptor 3 of the very process that becomes the daemon."""
PAUSE: Final = 0.02


class ServiceManager(threading.Thread):
    """What tako-NAME.socket, tako-NAME.service and the timer of `tako-lite systemd` do together."""

    def __init__(self, project: Project, *words: str) -> None:
        super().__init__(daemon=True)
        self._project = project
        self._words = words
        self._over = threading.Event()
        self.starts: list[str] = []
        """Why the daemon was started, each time: for a client, or because something was due."""
        self.codes: list[int] = []
        """The exit codes of the daemons that have ended."""
        self.process: subprocess.Popen[bytes] | None = None
        self.path = project.state_dir / "tako.sock"
        self.path.parent.mkdir(mode=0o700)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(str(self.path))
        self.listening.listen(64)
        self.inode = self.path.stat().st_ino

    def run(self) -> None:
        while not self._over.is_set():
            if (why := self._reason()) is not None:
                self._serve(why)
            time.sleep(PAUSE)

    def close(self) -> None:
        """End the daemon, and listen no more."""
        self._over.set()
        if (process := self.process) is not None:
            process.terminate()
        self.join(20)
        self.listening.close()

    @property
    def is_serving(self) -> bool:
        """Whether the daemon runs."""
        return self.process is not None

    def _reason(self) -> str | None:
        waiting, _, _ = select.select([self.listening], [], [], 0)
        if waiting:
            return "client"
        with suppress(OSError, ValueError):
            if int((self._project.state_dir / NEXT_DUE).read_text()) <= time.time() * 1000:
                return "due"
        return None

    def _serve(self, why: str) -> None:
        self.starts.append(why)
        with (self._project.root / "daemon.log").open("ab") as log:
            descriptor = self.listening.fileno()
            command = [sys.executable, "-m", "tako_lite", "serve", "--server", "here", *self._words]
            self.process = subprocess.Popen(
                [sys.executable, "-SEc", SCRIPT, f"control={descriptor}", *command],
                cwd=self._project.root,
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        self._project.started.append(self.process.pid)
        self.codes.append(self.process.wait())
        self.process = None
