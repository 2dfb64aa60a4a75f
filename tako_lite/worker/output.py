"""Tags what handlers print with their run.

Descriptors 1 and 2 are one pipe to the daemon. A line that is printed inside a run starts with a mark and the run's id. What is
written to the descriptors directly has no mark, and belongs to the group. If user code has pointed a descriptor elsewhere
(`os.dup2`), what is printed goes there unchanged.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tako_lite.secrets import Mask
from tako_lite.worker.forked import is_fork
from tako_lite.worker.run import current_run

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MARK: Final = b"\x1e"
END: Final = b"\x1f"
PIECE: Final = 3_500
"""Bytes of a line that one write sends: with the mark below PIPE_BUF, so that lines of threads do not mix."""


class TaggedBuffer(io.BufferedIOBase):
    """The bytes of one stream: collects the lines of each run, and writes each with its tag."""

    def __init__(self, descriptor: int, name: str, mask: Mask) -> None:
        self.raw = io.FileIO(descriptor, "w", closefd=False)
        self.name = self.raw.name = name
        self.mode = "wb"
        self._descriptor = descriptor
        self._pipe = _identity(descriptor)
        self._mask = mask
        self._room = PIECE + mask.longest  # a piece of a line without a newline must not end within a secret
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Begin without partial lines and with a new lock, at the start and after a fork."""
        self.partial: dict[str, bytes] = {}
        """The last line of each run as far as it was written."""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def write(self, data: ReadableBuffer, /) -> int:
        """Add bytes, and write the lines that are complete."""
        data = data if isinstance(data, bytes) else bytes(memoryview(data))
        run = current_run.get()
        key = run.run_id if run is not None else ""
        with self._lock:
            *lines, rest = (self.partial.pop(key, b"") + data).split(b"\n")
            for line in lines:
                self._emit(key, line)
            if len(rest) > self._room:
                rest = self._mask.raw(rest)
            start = 0
            while len(rest) - start > self._room:
                end = _end_of_piece(rest, start)
                self._emit(key, rest[start:end])
                start = end
            if rest:
                self.partial[key] = rest[start:]
        return len(data)

    def finish(self, run_id: str) -> None:
        """Write the last line of a run that has ended, even without a newline."""
        with self._lock:
            rest = self.partial.pop(run_id, b"")
            if rest:
                self._emit(run_id, rest, b"")

    def finish_all(self) -> None:
        """Write all lines that have no newline yet."""
        for run_id in list(self.partial):
            self.finish(run_id)

    def flush(self) -> None:
        """Write partial lines only if the descriptor is another file, or in a fork, which may end without another flush."""
        if self.partial and (is_fork() or not self._is_ours()):
            self.finish_all()

    def _is_ours(self) -> bool:
        return _identity(self._descriptor) == self._pipe

    def detach(self) -> NoReturn:
        raise io.UnsupportedOperation("detach")

    def close(self) -> None:
        """Only flush: all runs share the stream, so one that closes it must not silence the others."""
        self.flush()

    def _emit(self, run_id: str, line: bytes, end: bytes = b"\n") -> None:
        body = self._mask.raw(line)
        try:
            if not self._is_ours():
                self._put(body + end)
                return
            head = MARK + run_id.encode() + END if run_id else b""
            for piece in _pieces(body):
                self._put(head + piece + b"\n")
        except OSError:
            return  # the reader is gone; the outcome of the run matters more

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]


class TaggedStream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` of a worker: an ordinary text stream that passes text to its buffer at once.

    The log is UTF-8, whatever `encoding` the stream is set to.
    """

    def __init__(self, buffer: TaggedBuffer, *, line_buffering: bool = False) -> None:
        super().__init__(buffer, "utf-8", "backslashreplace", line_buffering=line_buffering)
        vars(self)["mode"] = "w"
        self._encoded_alike = True

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode(self.encoding, self.errors or "strict")
        if not self._encoded_alike:
            data = data.decode(self.encoding, "replace").encode("utf-8", "backslashreplace")
        self.buffer.write(data)
        return len(text)

    def reconfigure(self, **options: Any) -> None:
        """As for any text stream; but a line ends with a newline, whatever `newline` is."""
        super().reconfigure(**options)
        self._encoded_alike = self.encoding.lower().replace("_", "-") in ("utf-8", "utf8")

    def flush(self) -> None:
        self.buffer.flush()

    def close(self) -> None:
        """Only flush, as the buffer does."""
        self.flush()


class Output:
    """Both streams of a worker."""

    def __init__(self, mask: Mask) -> None:
        self._buffers = [TaggedBuffer(1, "<stdout>", mask), TaggedBuffer(2, "<stderr>", mask)]

    def install(self) -> None:
        """Send `sys.stdout`, `sys.stderr` and the log of runs through streams that tag lines and hide secrets."""
        out, err = self._buffers
        sys.stdout = sys.__stdout__ = TaggedStream(out)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = TaggedStream(err, line_buffering=True)  # type: ignore[misc]
        handler = logging.StreamHandler(
            TaggedStream(out)
        )  # a stream of its own: a workflow file may detach or replace the others
        handler.setFormatter(RunFormatter("%(levelname)s %(message)s"))
        logger = logging.getLogger("tako_lite.run")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False

    def finish(self, run_id: str) -> None:
        """Write the last lines of a run that has ended, even without a newline."""
        for buffer in self._buffers:
            if run_id in buffer.partial:
                buffer.finish(run_id)

    def finish_all(self) -> None:
        """Write all lines that have no newline yet."""
        for buffer in self._buffers:
            buffer.finish_all()


class RunFormatter(logging.Formatter):
    """`LEVEL message`, or with `extra=` a line of JSON, which `tako-lite logs` shows as fields."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if not extra:
            return super().format(record)
        fields = {"level": record.levelname, "message": record.getMessage(), **extra}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


_OF_EVERY_RECORD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def _pieces(line: bytes) -> Iterator[bytes]:
    """A line in pieces of bounded length; at least one piece."""
    start = 0
    while len(line) - start > PIECE:
        end = _end_of_piece(line, start)
        yield line[start:end]
        start = end
    yield line[start:]


def _end_of_piece(line: bytes, start: int) -> int:
    """Where to cut a long line: not within a UTF-8 character."""
    end = start + PIECE
    while line[end] & 0xC0 == 0x80 and end > start + PIECE - 4:
        end -= 1
    return end


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Which file a descriptor is; None where it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
