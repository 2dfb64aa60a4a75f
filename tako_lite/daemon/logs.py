"""The output of workers: bounded, by group and run, in rotated files of JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tako_lite.clock import Clock
from tako_lite.daemon.events import Events
from tako_lite.secrets import NOTHING, Mask

MAX_LINE: Final = 64 * 1024
MAX_FILE: Final = 10_000_000
KEPT_FILES: Final = 4
MAX_RUN: Final = 1_000_000
"""Bytes that one run may add to the log during an attempt; the rest is counted and dropped."""
MOST_RUNS: Final = 20_000
RING: Final = 20
REPORT_AGAIN_AFTER: Final = 60.0
"""Seconds after which a log that still cannot be written is reported again."""
SETTLED: Final = 1.0
"""Seconds without an error after which a log counts as working again."""
READ: Final = 256 * 1024
"""Bytes that one read of a pipe takes; more than a pipe holds."""
TAG: Final = re.compile(rb"\x1e([0-9a-f-]{36})\x1f")
"""The tag that a worker puts before a line of a run."""


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

    def write(self, pid: int, run: str | None, text: str) -> None:
        """Queue a line for `flush`."""
        facts = {"at": self._clock.now(), "pid": pid, "run": run, "stream": "out", "text": text}
        line = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        self._pending.append(line)
        self.lines += 1
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
        if self._size > MAX_FILE:
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
        return self._descriptor

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


class Capture:
    """Reads the pipe of one worker, and hides its secrets. The last lines stay in memory for the report of a crash."""

    def __init__(self, log: GroupLog, descriptor: int, pid: int, mask: Mask = NOTHING) -> None:
        self._log = log
        self._mask = mask
        self._room = MAX_LINE + mask.longest  # a piece of a line without a newline must not end within a secret
        self._descriptor: int | None = descriptor
        self._pid = pid
        self._rest = b""
        self._ring: deque[tuple[str | None, str]] = deque(maxlen=RING)
        self._spent: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def last_lines(self) -> list[str]:
        """The last lines, oldest first."""
        return [text[:500] for _, text in self._ring]

    def runs_ended(self, runs: Iterable[str]) -> None:
        """Runs have ended: read their last output, note how much of it was dropped, and forget their counts."""
        self._read()
        for run in runs:
            self._spent.pop(run, None)
            if dropped := self._dropped.pop(run, 0):
                self._log.write(self._pid, run, f"… {dropped:,} bytes of this run's output were dropped")
        self._log.flush()

    def finish(self) -> None:
        """Read what is left of a dead worker's output, and close the pipe."""
        if self._descriptor is None:
            return
        self._read()
        self.runs_ended(list(self._dropped))
        if self._rest:
            self._line(self._rest)
            self._log.flush()
        self._stop()

    def _stop(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> None:
        """Read what is in the pipe."""
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stop()
            return
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(rest) > self._room:
            rest = self._mask.raw(rest)
        while len(rest) > self._room:
            self._line(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._rest = rest
        self._log.flush()

    def _line(self, line: bytes) -> None:
        """Log a line; before its tag there may be text that was written to the descriptor without a newline."""
        run: str | None = None
        if tag := TAG.search(line):
            if tag.start():
                self._line(line[: tag.start()])
            run, line = tag[1].decode(), line[tag.end() :]
        line = self._mask.raw(line)
        for start in range(0, len(line) or 1, MAX_LINE):
            self._piece(run, line[start : start + MAX_LINE])

    def _piece(self, run: str | None, piece: bytes) -> None:
        text = piece.decode("utf-8", "backslashreplace")
        self._ring.append((run, text))
        if run is not None:
            if len(self._spent) > MOST_RUNS:
                self._spent.clear()  # threads that print after the end of their run leave entries behind
            spent = self._spent.get(run, 0) + len(piece)
            if spent > MAX_RUN:
                self._dropped[run] = self._dropped.get(run, 0) + len(piece)
                self._log.lines += 1
                self._log.dropped += 1
                return
            self._spent[run] = spent
        self._log.write(self._pid, run, text)


class Logs:
    """The logs of all groups."""

    def __init__(self, folder: Path, clock: Clock, events: Events) -> None:
        self._folder = folder
        self._clock = clock
        self._events = events
        self.groups: dict[str, GroupLog] = {}

    def capture(self, group: str, descriptor: int, pid: int, mask: Mask) -> Capture:
        """Start reading a worker's pipe; `mask` hides its secrets."""
        log = self.groups.setdefault(group, GroupLog(self._folder, group, self._clock, self._events))
        return Capture(log, descriptor, pid, mask)

    def stop(self) -> None:
        """Close all files; twice is harmless."""
        for log in self.groups.values():
            log.close()
