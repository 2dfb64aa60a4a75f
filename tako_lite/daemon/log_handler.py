"""The daemon's own log, on its standard error."""

from __future__ import annotations

import logging
import os
import select
from typing import Final

from tako_lite.units import counted, was_or_were

AT_ONCE: Final = 4096
"""Bytes that a pipe accepts without blocking once poll(2) reports it writable."""


class Journal(logging.Handler):
    """Writes one line for each event, and never blocks: a line that cannot be written at once is dropped and counted."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return
        if self._dropped and self._write(
            f"({counted(self._dropped, 'line')} {was_or_were(self._dropped)} dropped: the log could not be written)\n"
        ):
            self._dropped = 0
        if self._dropped or not self._write(line):
            self._dropped += 1

    def _write(self, text: str) -> bool:
        """Write a text; False if not all of it was accepted."""
        data = text.encode(errors="backslashreplace")
        try:
            while data and self._poll.poll(0):
                data = data[os.write(self._descriptor, data[:AT_ONCE]) :]
        except OSError:  # closed, or full
            return False
        return not data


def open_missing_streams() -> None:
    """Open the standard streams that are closed, so that no file of the daemon gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
