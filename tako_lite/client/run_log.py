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
    """Lines of a run, the oldest first. `is_gone` if files of that time were deleted.

    `older` is the time before which the older lines are, None if there are none. No page repeats a line of another one.
    """

    lines: list[Line]
    older: int | None
    is_gone: bool


class _Part(NamedTuple):
    """A part of a file, in bytes."""

    stream: BinaryIO
    begin: int
    end: int


def read_run_log(
    folder: Path, group: str, run: str, since: int, until: int | None, most: int, before: int | None = None
) -> RunLog:
    """The newest lines that a run wrote between two times in milliseconds since 1970; without `until`, up to now.

    `before` leaves out the lines of this time and later ones: it continues from `older`.
    """
    end = before if until is None else until + SLACK_MS if before is None else min(before, until + SLACK_MS)
    with contextlib.ExitStack() as opened:
        files = open_files(folder, group)
        for each in files:
            opened.enter_context(each.stream)
        parts = [_part(each, since - SLACK_MS, end) for each in files]
        is_gone = bool(files) and _time_at(files[0].stream, 0) > since + SLACK_MS
        newest: list[_Part] = []
        room = MOST_READ
        for part in reversed(parts):
            begin = max(part.begin, part.end - room)
            newest.insert(0, part._replace(begin=begin))
            room -= part.end - begin
        lines: deque[Line] = deque(maxlen=most + 1)
        for part in newest:
            for raw in _raw_lines(part):
                if line := parse_line(raw, group, run):
                    lines.append(line)
        read_from = None if room > 0 else _time_at(newest[0].stream, newest[0].begin)
    one_more = lines.popleft() if len(lines) > most else None
    kept, older = _whole(list(lines), one_more.at if one_more else read_from)
    return RunLog(kept, older, is_gone)


def _whole(lines: list[Line], cut: int | None) -> tuple[list[Line], int | None]:
    """The lines after the moment in which they are cut, and the time before which the others are: a moment stays whole."""
    if cut is None:
        return lines, None
    after = [line for line in lines if line.at > cut]
    return (after, cut + 1) if after or not lines else (lines, cut)


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
