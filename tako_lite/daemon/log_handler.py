"""The daemon's own log, on its standard error."""

from __future__ import annotations

import logging
import os
import select
from typing import Final

AT_ONCE: Final = 4096
"""Bytes that a pipe which is ready takes without a wait."""


class Journal(logging.Handler):
    """Writes a line an event, and never waits: those that nobody takes, or that have no room, are dropped and counted."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._descriptor = descriptor
        self._taker = select.poll()
        self._taker.register(descriptor, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return
        if self._dropped and self._write(f"({self._dropped} lines were dropped: nobody took them)\n"):
            self._dropped = 0
        if self._dropped or not self._write(line):
            self._dropped += 1

    def _write(self, text: str) -> bool:
        """Whether all of it was taken."""
        data = text.encode(errors="backslashreplace")
        try:
            while data and self._taker.poll(0):
                data = data[os.write(self._descriptor, data[:AT_ONCE]) :]
        except OSError:  # closed, or full
            return False
        return not data


def open_missing_streams() -> None:
    """Give a process that was started without standard streams empty ones, so that no file of ours gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
