"""A process that waits to become the next worker, of whichever group needs one.

Half of the time from a fork to the import of a group's modules goes into copying memory that is shared with the fork server.
A spare is forked while the fork server has nothing to do, and does that in advance (its `rehearsal`). It knows nothing of any
group: environment, limits, working folder and task come with the request that the fork server passes on. It ends with the
fork server, because it then reads the end of its channel.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence

from tako_lite.linux import kill_session


class Spare:
    """The fork server's side of a spare."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel
        channel.setblocking(False)  # a spare that was stopped must not stop the fork server

    def hand_over(self, request: bytes, descriptors: Sequence[int]) -> bool:
        """Have it become a worker; False if it cannot, and then it is dead and collected."""
        try:
            taken = socket.send_fds(self._channel, [request], list(descriptors)) == len(request)
        except OSError:
            taken = False
        if not taken:
            self._end()
        self._channel.close()
        return taken

    def _end(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return

    def kill(self) -> None:
        """Kill it with everything in its session."""
        kill_session(self.pid)
