"""What workers print: bounded, by group and run, in rotated files of JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from tako_lite.clock import Clock
from tako_lite.secrets import NOTHING, Mask

MAX_LINE: Final = 64 * 1024
MAX_FILE: Final = 10_000_000
KEPT_FILES: Final = 4
MAX_RUN: Final = 1_000_000
"""Bytes that one run may add to the log while its worker has it; the rest is counted and dropped."""
MOST_RUNS: Final = 20_000
RING: Final = 20
READ: Final = 256 * 1024
"""Bytes that one look at a pipe takes; more than a pipe holds."""
TAG: Final = re.compile(rb"\x1e([0-9a-f-]{36})\x1f")
"""What a worker puts before a line that a run printed."""


class GroupLog:
    """The log of one group: `<group>.jsonl`, and older ones with a number."""

    def __init__(self, folder: Path, group: str, clock: Clock) -> None:
        self._path = folder / f"{group}.jsonl"
        self._clock = clock
        self._file: BinaryIO | None = None
        self._size = 0
        self.lost = 0

    def write(self, pid: int, run: str | None, text: str) -> None:
        """Append a line; a full disk loses it, and nothing else."""
        facts = {"at": self._clock.now(), "pid": pid, "run": run, "stream": "out", "text": text}
        line = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._open().write(line)
            self._size += len(line)
            if self._size > MAX_FILE:
                self._rotate()
        except OSError:
            self.lost += 1

    def flush(self) -> None:
        """Hand what was written to the system."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError:
                self.lost += 1

    def close(self) -> None:
        """Close the file; twice is harmless."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError:
                self.lost += 1

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
            self._size = os.fstat(descriptor).st_size
        return self._file

    def _rotate(self) -> None:
        self.close()
        for number in range(KEPT_FILES, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)


class Capture:
    """Reads the pipe of one worker, and hides its secrets. Its last lines stay in memory for the report of a crash."""

    def __init__(self, log: GroupLog, descriptor: int, pid: int, mask: Mask = NOTHING) -> None:
        self._log = log
        self._mask = mask
        self._room = MAX_LINE + mask.longest  # what is cut off a line that has no end yet must not end within a secret
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
        """Runs are over: take in what they printed last, say what was dropped of it, and forget their counts."""
        self._read()
        for run in runs:
            self._spent.pop(run, None)
            if dropped := self._dropped.pop(run, 0):
                self._log.write(self._pid, run, f"… {dropped:,} bytes of this run's output were dropped")
        self._log.flush()

    def finish(self) -> None:
        """The worker is dead: read what is left, and close."""
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
        """Take in what is there."""
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
        """A line, and before its tag perhaps one that was written to the descriptor without an end."""
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
                self._spent.clear()  # threads that print after their run leave entries behind
            spent = self._spent.get(run, 0) + len(piece)
            if spent > MAX_RUN:
                self._dropped[run] = self._dropped.get(run, 0) + len(piece)
                return
            self._spent[run] = spent
        self._log.write(self._pid, run, text)


class Logs:
    """The logs of all groups."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._groups: dict[str, GroupLog] = {}

    def capture(self, group: str, descriptor: int, pid: int, mask: Mask) -> Capture:
        """Start to read a worker's pipe; `mask` hides the secrets that it has."""
        log = self._groups.setdefault(group, GroupLog(self._folder, group, self._clock))
        return Capture(log, descriptor, pid, mask)

    def stop(self) -> None:
        """Close all files; twice is harmless."""
        for log in self._groups.values():
            log.close()
