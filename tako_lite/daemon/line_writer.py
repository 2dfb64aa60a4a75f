"""Writes lines to a standard stream of the daemon without ever waiting for its reader."""

from __future__ import annotations

import os
import select
from typing import Final

AT_ONCE: Final = 4096
"""Bytes that a pipe accepts without blocking once poll(2) reports it writable."""


class LineWriter:
    """A descriptor that others read, such as a pipe to a log collector: what it does not accept at once is not written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._cut = False
        """Whether only a part of the last text was written, so that the next one must begin on a line of its own."""

    def write(self, data: bytes) -> bool:
        """Write lines; False if not all of it was accepted."""
        if self._cut:
            data = b"\n" + data
        left = data
        try:
            while left and self._poll.poll(0):
                left = left[os.write(self._descriptor, left[:AT_ONCE]) :]
        except OSError:  # closed, or full
            pass
        if len(left) < len(data):
            self._cut = bool(left)
        return not left
