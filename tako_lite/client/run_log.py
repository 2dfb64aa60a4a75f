"""The newest lines that one run wrote, found by time: log files have no index by run, and may be large."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from tako_lite.client.logfiles import Line, OpenFile, open_files, parse_line

MOST_READ: Final = 4_000_000
"""Maximum bytes that are read, the newest ones of the time in which the run was executed."""
SLACK_MS: Final = 2_000
"""Milliseconds by which a line may be older or younger than the run: it is stamped when the daemon reads it."""
BLOCK: Final = 65_536


class RunLog(NamedTuple):
    """Lines of a run, the oldest first. `cut` if there may be older ones, `is_gone` if files of that time were deleted."""

    lines: list[Line]
    cut: bool
    is_gone: bool


class _Part(NamedTuple):
    """A part of a file, in bytes."""

    stream: BinaryIO
    begin: int
    end: int


def read_run_log(folder: Path, group: str, run: str, since: int, until: int | None, most: int) -> RunLog:
    """The newest lines that a run wrote between two times in milliseconds since 1970; without `until`, up to now."""
    with contextlib.ExitStack() as opened:
        files = open_files(folder, group)
        for each in files:
            opened.enter_context(each.stream)
        parts = [_part(each, since - SLACK_MS, None if until is None else until + SLACK_MS) for each in files]
        is_gone = bool(files) and _time_at(files[0].stream, 0) > since + SLACK_MS
        newest: list[_Part] = []
        room = MOST_READ
        for part in reversed(parts):
            begin = max(part.begin, part.end - room)
            newest.insert(0, part._replace(begin=begin))
            room -= part.end - begin
        lines: deque[Line] = deque(maxlen=most)
        found = 0
        for part in newest:
            for raw in _raw_lines(part):
                if line := parse_line(raw, group, run):
                    lines.append(line)
                    found += 1
    return RunLog(list(lines), found > most or room <= 0, is_gone)


def _raw_lines(part: _Part) -> list[bytes]:
    part.stream.seek(part.begin)
    return part.stream.read(part.end - part.begin).splitlines()


def _part(file: OpenFile, since: int, until: int | None) -> _Part:
    """The part of a file with the lines between two times."""
    size = os.fstat(file.stream.fileno()).st_size
    return _Part(
        file.stream, _first_from(file.stream, size, since), size if until is None else _first_from(file.stream, size, until)
    )


def _first_from(stream: BinaryIO, size: int, moment: int) -> int:
    """The offset of a line at or shortly before the first one of a time: lines are in the order of their times."""
    low, high = 0, size
    while high - low > BLOCK:
        middle = (low + high) // 2
        if _time_at(stream, middle) < moment:
            low = middle
        else:
            high = middle
    stream.seek(low)
    if low:
        stream.readline()
    offset = stream.tell()
    while offset < high and _time_at(stream, offset) < moment:
        stream.seek(offset)
        stream.readline()
        offset = stream.tell()
    return offset


def _time_at(stream: BinaryIO, offset: int) -> int:
    """The time of the first complete line from an offset on; 0 for one that cannot be read."""
    stream.seek(offset)
    if offset:
        stream.seek(offset - 1)
        stream.readline()
    digits = stream.readline(64).partition(b'"at":')[2].strip().partition(b",")[0]
    return int(digits) if digits.isdigit() else 0
