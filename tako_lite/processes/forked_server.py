"""A fork server that is a fork of the daemon, with the methods of `subprocess.Popen` by which its end is noticed."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping


class ForkedServer:
    """Its process, the daemon's end of its socket, and the environment with which it was started."""

    def __init__(self, pid: int, control: socket.socket, environment: Mapping[str, str]) -> None:
        self.pid = pid
        self.control = control
        self.environment = environment
        self._code: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Collect the process if it is dead; returns its exit code, or None while it lives."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # another thread was faster
                return self._code
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                os.close(self._handle)
        return self._code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end and return the exit code. Raises TimeoutExpired."""
        if self._code is None:
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("the fork server", timeout or 0.0)
        return self.poll()

    def kill(self) -> None:
        """Send SIGKILL, unless the process was collected."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
