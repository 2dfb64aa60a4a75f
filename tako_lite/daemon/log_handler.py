"""The daemon's own log, on its standard error."""

from __future__ import annotations

import logging
import os

from tako_lite.daemon.line_writer import LineWriter
from tako_lite.units import counted, was_or_were


class Journal(logging.Handler):
    """Writes one line for each event, and never blocks: a line that cannot be written at once is dropped and counted."""

    def __init__(self, formatter: logging.Formatter, descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = LineWriter(descriptor)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return
        if self._dropped and self._write(self._about_dropped()):
            self._dropped = 0
        if self._dropped or not self._write(line):
            self._dropped += 1

    def _about_dropped(self) -> str:
        said = f"{counted(self._dropped, 'line')} {was_or_were(self._dropped)} dropped: the log could not be written"
        return f"{self.format(logging.makeLogRecord({'msg': said, 'levelno': logging.WARNING, 'levelname': 'WARNING'}))}\n"

    def _write(self, text: str) -> bool:
        """Write a text; False if not all of it was accepted."""
        return self._writer.write(text.encode(errors="backslashreplace"))


def open_missing_streams() -> None:
    """Open the standard streams that are closed, so that no file of the daemon gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
