"""The log of one group: rotated files of JSON lines, bounded by their size and their age."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tako_lite.clock import Clock
from tako_lite.daemon.events import Events
from tako_lite.daemon.run_output import RunOutput

MAX_FILE: Final = 10_000_000
KEPT_FILES: Final = 4
REPORT_AGAIN_AFTER: Final = 60.0
"""Seconds after which a log that still cannot be written is reported again."""
SETTLED: Final = 1.0
"""Seconds without an error after which a log counts as working again."""
LineListener = Callable[[Mapping[str, Any], str], None]
_FIRST_TIME: Final = re.compile(rb'{"at": (\d+),')


class GroupLog:
    """The log of one group: `<group>.jsonl`, and older ones with a number.

    If the file was moved, deleted or replaced, a new one is made before the next lines are written. Lines that cannot be
    written are dropped and counted.
    """

    def __init__(self, folder: Path, group: str, clock: Clock, events: Events | None = None) -> None:
        self._path = folder / f"{group}.jsonl"
        self._group = group
        self._clock = clock
        self._events = events
        self._descriptor: int | None = None
        self._file: tuple[int, int] | None = None
        self._size = 0
        self._cut = False
        """Whether the last line of the file is incomplete."""
        self.copy: RunOutput | None = None
        """Where each line also goes; None for nowhere else."""
        self.listener: LineListener | None = None
        """Is called with each line that a worker printed, and the name of the group."""
        self.max_age: float | None = None
        """Seconds after which lines are deleted, when a later line is written; None for never."""
        self._began_at: int | None = None
        """When the first line of the current file was written."""
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._failed_at: float | None = None
        self._reported_at: float | None = None
        self.lost = 0
        """Lines that were dropped since the log last worked."""
        self.lines = 0
        """Lines that were written or dropped, since the daemon started."""
        self.dropped = 0
        """Lines of these that were dropped."""

    @property
    def is_open(self) -> bool:
        """Whether its file is open."""
        return self._descriptor is not None

    def write(self, pid: int, run: str | None, text: str, *, by_daemon: bool = False) -> None:
        """Queue a line for `flush`; one of the daemon itself does not go to `listener`, which has it as an event."""
        facts = {"at": self._clock.now(), "pid": pid, "run": run, "stream": "out", "text": text}
        line = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        self._pending.append(line)
        self.lines += 1
        if self.copy is not None and not self.copy.write(facts, self._group):
            self.dropped += 1
        if self.listener is not None and not by_daemon:
            self.listener(facts, self._group)
        self._pending_size += len(line)
        if self._size + self._pending_size > MAX_FILE:
            self.flush()

    def flush(self) -> None:
        """Write the queued lines; on a full disk, or without permission, they are dropped."""
        if not self._pending:
            return
        lines, self._pending, self._pending_size = self._pending, [], 0
        try:
            self._append(lines)
        except OSError as error:
            self._lose(len(lines), error)
        else:
            self._is_written()

    def close(self) -> None:
        """Write the queued lines and close the file; twice is harmless."""
        self.flush()
        self._close()

    def _append(self, lines: list[bytes]) -> None:
        if self._size > MAX_FILE or self._is_old():
            self._rotate()
        descriptor = self._open()
        data = memoryview(b"".join(([b"\n"] if self._cut else []) + lines))
        self._cut = True
        while data:
            written = os.write(descriptor, data)
            self._size += written
            data = data[written:]
        self._cut = False
        if self._size > MAX_FILE:
            self._rotate()

    def _open(self) -> int:
        """The descriptor of the file that is at the path now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if self._descriptor is not None and found is not None and self._file == (found.st_dev, found.st_ino):
            self._size = found.st_size  # another program may have truncated it
            return self._descriptor
        self._close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        )  # O_NONBLOCK: a pipe without a reader is refused
        self._descriptor = os.open(self._path, flags, 0o600)
        found = os.fstat(self._descriptor)
        self._file, self._size, self._cut = (found.st_dev, found.st_ino), found.st_size, False
        self._began_at = _first_time(self._path) or self._clock.now()
        return self._descriptor

    def _is_old(self) -> bool:
        """Whether the current file is to be rotated because of its age: four older ones together reach `max_age`."""
        if self.max_age is None or self._began_at is None:
            return False
        return self._clock.now() - self._began_at > self.max_age * 1000 / KEPT_FILES

    def delete_old(self) -> None:
        """Delete the files whose last line is older than `max_age`."""
        if self.max_age is None:
            return
        for path in (self._path, *(self._path.with_name(f"{self._path.name}.{number}") for number in range(1, KEPT_FILES + 1))):
            with suppress(OSError):
                if self._clock.now() / 1000 - path.stat().st_mtime > self.max_age:
                    path.unlink()

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)

    def _rotate(self) -> None:
        self._close()
        for number in range(KEPT_FILES, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._size = 0
        self._began_at = None
        self.delete_old()

    def _lose(self, lines: int, error: OSError) -> None:
        """Count dropped lines, and report them at first and then every minute."""
        self.lost += lines
        self.dropped += lines
        now = self._failed_at = time.monotonic()
        if self._events is not None and (self._reported_at is None or now - self._reported_at > REPORT_AGAIN_AFTER):
            self._reported_at = now
            self._events.output_lost(self._group, error.strerror or str(error))

    def _is_written(self) -> None:
        """Report how many lines were dropped, once the log has worked for a while again."""
        if self._failed_at is None or time.monotonic() - self._failed_at < SETTLED:
            return
        lost, self.lost, self._failed_at, self._reported_at = self.lost, 0, None, None
        if self._events is not None:
            self._events.output_kept_again(self._group, lost)


def _first_time(path: Path) -> int | None:
    """When the first line of a file was written; None for a file without one."""
    with suppress(OSError), path.open("rb") as file:
        if found := _FIRST_TIME.match(file.read(64)):
            return int(found[1])
    return None
