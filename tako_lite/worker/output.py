"""What handlers print, tagged with their run.

Descriptors 1 and 2 are one pipe to the daemon. A line that is printed inside a run starts with a mark and the run's id; what is
written to the descriptors directly has none and belongs to the group.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from typing import Final

from tako_lite.secrets import Mask
from tako_lite.worker.run import current_run

MARK: Final = "\x1e"
END: Final = "\x1f"
PIECE: Final = 3_500
"""Bytes of a line that go in one write: below PIPE_BUF with the mark, so that lines of threads do not mix."""


class TaggedStream(io.TextIOBase):
    """A text stream to a descriptor, line by line. What goes into its `buffer` is the group's, as are all direct writes."""

    def __init__(self, descriptor: int, mask: Mask) -> None:
        self._descriptor = descriptor
        self._mask = mask
        self._room = PIECE + mask.longest  # what is cut off a line that has no end yet must not end within a secret
        self.buffer = io.FileIO(descriptor, "w", closefd=False)
        self._partial: dict[str, str] = {}
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        run = current_run.get()
        key = run.run_id if run is not None else ""
        with self._lock:
            *lines, rest = (self._partial.pop(key, "") + text).split("\n")
            for line in lines:
                self._emit(key, line)
            if len(rest) > self._room:
                rest = self._mask.text(rest)
            while len(rest) > self._room:
                self._emit(key, rest[:PIECE])
                rest = rest[PIECE:]
            if rest:
                self._partial[key] = rest
        return len(text)

    def finish(self, run_id: str) -> None:
        """A run is over: its last line may have no end."""
        if run_id not in self._partial:
            return
        with self._lock:
            rest = self._partial.pop(run_id, "")
            if rest:
                self._emit(run_id, rest)

    def flush(self) -> None:
        return None

    def _emit(self, run_id: str, line: str) -> None:
        head = f"{MARK}{run_id}{END}".encode() if run_id else b""
        body = self._mask.text(line).encode("utf-8", "backslashreplace")
        for start in range(0, max(len(body), 1), PIECE):
            data = head + body[start : start + PIECE] + b"\n"
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                return  # nobody reads any more; the outcome of the run matters more


def tag_output(mask: Mask) -> TaggedStream:
    """Send `sys.stdout`, `sys.stderr` and the log of runs through one tagged stream that hides secrets."""
    stream = TaggedStream(1, mask)
    sys.stdout = sys.stderr = stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tako_lite.run")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return stream
