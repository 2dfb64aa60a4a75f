"""The output of workers: bounded, by group and run, in rotated files of JSON lines."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tako_lite.clock import Clock
from tako_lite.config.monitor_settings import LogSettings
from tako_lite.daemon.events import Events
from tako_lite.daemon.group_log import GroupLog, LineListener
from tako_lite.daemon.run_output import RunOutput
from tako_lite.secrets import NOTHING, Mask

MAX_LINE: Final = 64 * 1024
MAX_RUN: Final = 1_000_000
"""Bytes that one run may add to the log during an attempt; the rest is counted and dropped."""
MOST_RUNS: Final = 20_000
RING: Final = 20
READ: Final = 256 * 1024
"""Bytes that one read of a pipe takes; more than a pipe holds."""
TAG: Final = re.compile(rb"\x1e([0-9a-f-]{36})\x1f")
"""The tag that a worker puts before a line of a run."""


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
        for run in runs if self._spent or self._dropped else ():
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
        self._settings = LogSettings()
        self._copy: RunOutput | None = None
        self.listener: LineListener | None = None
        """Is called with each line that a worker prints, and the name of its group."""

    def apply(self, settings: LogSettings) -> None:
        """Take the settings of `[logs]`, and delete the files that are too old for them."""
        self._settings = settings
        self._copy = (self._copy or RunOutput()) if settings.stdout == "json" else None
        names = {*self.groups}
        with suppress(OSError):  # the folder cannot be read now; the next start or reload deletes what is old
            names |= {file.name.partition(".jsonl")[0] for file in self._folder.glob("*.jsonl*")}
        for name in names:
            self._configure(self._log(name)).delete_old()

    def _log(self, group: str) -> GroupLog:
        return self.groups.setdefault(group, GroupLog(self._folder, group, self._clock, self._events))

    def _configure(self, log: GroupLog) -> GroupLog:
        log.copy, log.max_age, log.listener = self._copy, self._settings.max_age, self.listener
        return log

    def capture(self, group: str, descriptor: int, pid: int, mask: Mask) -> Capture:
        """Start reading a worker's pipe; `mask` hides its secrets."""
        log = self._configure(self._log(group))
        return Capture(log, descriptor, pid, mask)

    def note(self, group: str, run: str, pid: int, text: str) -> None:
        """Add a line of the daemon to the log of a run."""
        log = self._configure(self._log(group))
        was_open = log.is_open
        log.write(pid, run, text, by_daemon=True)
        log.flush()
        if not was_open:  # its workers print nothing, or it has none: a file need not stay open for each such group
            log.close()

    def stop(self) -> None:
        """Close all files; twice is harmless."""
        for log in self.groups.values():
            log.close()
