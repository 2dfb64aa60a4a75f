"""Reads and follows the log files of the groups.

The lines of a group are in `<group>.jsonl`, older ones in `<group>.jsonl.1` and so on up to `.4`. A full file is renamed, and
the next line creates a new one.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from tako_lite.clock import iso
from tako_lite.log_fields import fields_of

SUFFIX: Final = ".jsonl"
OLDEST: Final = 4
PAUSE: Final = 0.2
"""Seconds between two checks for new lines."""
AT_ONCE: Final = 4_000_000
"""Maximum bytes that one check reads of a group, so that a busy group does not delay the others."""
LOST: Final = "lost"
"""The stream of a line that reports missing lines."""

Place = tuple[int, int]
"""Device and inode of a file, which do not change when it is renamed."""
Positions = Mapping[str, tuple[Place, int]]
"""By group, the file that is followed and the offset at which following began."""

_NAME: Final = re.compile(r"(?P<group>.+)\.jsonl(?:\.[1-4])?")
_START: Final = b'{"at":'


class Line(NamedTuple):
    """A line that a worker wrote. `at` is in milliseconds since 1970; `run` is the run that wrote the line, if known.

    A line of the stream `LOST` reports missing lines.
    """

    at: int
    group: str
    run: str | None
    pid: int
    stream: str
    text: str

    @property
    def fields(self) -> dict[str, Any] | None:
        """The object in a line of JSON, as structured loggers write it; None for any other line."""
        return fields_of(self.text)

    def as_json(self) -> dict[str, Any]:
        """The format of `tako-lite logs --json`, without `schema`."""
        return {**self._asdict(), "at": iso(self.at), "fields": self.fields}


def stored_lines(folder: Path, group: str | None, run: str | None, *, up_to: Positions | None = None) -> Iterator[Line]:
    """The stored lines, oldest first; with `up_to` only those before the positions from which files are followed."""
    groups = groups_in(folder, group) if up_to is None else list(up_to)
    return heapq.merge(*(_of_group(folder, name, run, (up_to or {}).get(name)) for name in groups), key=_time)


class Tail:
    """Follows the files of each group, across renames, from their ends at the time of creation."""

    def __init__(self, folder: Path, group: str | None, run: str | None) -> None:
        self._folder, self._group, self._run = folder, group, run
        self._files: dict[str, _Growing] = {}
        for name in groups_in(folder, group):
            if streams := open_files(folder, name):
                self._files[name] = _Growing(folder, name, [])
                self._files[name].start_behind(streams)
        self.positions: Positions = {name: file.position for name, file in self._files.items()}

    def follow(self) -> Iterator[Line]:
        """Yield new lines as they are written, without end."""
        while True:
            yield from heapq.merge(*([*self._lines(file)] for file in self._files.values()), key=_time)
            self._find_groups()
            if not any(file.has_more for file in self._files.values()):
                time.sleep(PAUSE)

    def close(self) -> None:
        """Close the files. Closing twice is safe."""
        for file in self._files.values():
            file.close()

    def _find_groups(self) -> None:
        """Follow groups that had no file at the time of creation, from their first line."""
        for name in groups_in(self._folder, self._group):
            if name not in self._files and (streams := open_files(self._folder, name)):
                self._files[name] = _Growing(self._folder, name, streams)

    def _lines(self, file: _Growing) -> Iterator[Line]:
        for raw in file.new_lines():
            if isinstance(raw, Line):
                yield raw
            elif line := parse_line(raw, file.group, self._run):
                yield line


class _Growing:
    """The files of a group. Lines are appended to the newest, which is renamed when it is full."""

    def __init__(self, folder: Path, group: str, streams: Sequence[OpenFile]) -> None:
        self.group = group
        self._folder = folder
        self._ahead = list(streams)
        """The files that are not read to the end yet, the oldest first; the first is the current one."""
        self._rest = b""
        self.has_more = bool(streams)

    @property
    def position(self) -> tuple[Place, int]:
        """The file that is followed, and the end of its last complete line so far."""
        return self._ahead[0].place, self._ahead[0].stream.tell() - len(self._rest)

    def start_behind(self, streams: Sequence[OpenFile]) -> None:
        """Skip all existing lines."""
        *older, newest = streams
        for each in older:
            each.stream.close()
        self._ahead = [newest]
        for _ in self._to_the_end(newest.stream, None):
            pass
        self.has_more = False

    def close(self) -> None:
        for each in self._ahead:
            each.stream.close()

    def new_lines(self) -> Iterator[bytes | Line]:
        """The complete lines since the last check, across renames, and a Line of the stream `LOST` for missing ones."""
        room = AT_ONCE
        while True:
            current = self._ahead[0].stream
            if os.fstat(current.fileno()).st_size < current.tell():
                yield self._lost("the log file was emptied by another program: lines may be missing here")
                current.seek(0)
                self._rest = b""
            if len(self._ahead) == 1:
                yield from self._find_successors()
            begun = current.tell()
            yield from self._to_the_end(current, room)
            room -= current.tell() - begun
            self.has_more = room <= 0
            if self.has_more or len(self._ahead) == 1:
                return
            current.close()
            del self._ahead[0]
            self._rest = b""

    def _find_successors(self) -> Iterator[Line]:
        """Open the files that are newer than the current one; yield a `LOST` line if some of them were deleted already."""
        current = self._ahead[0]
        with contextlib.suppress(OSError):
            newest = (self._folder / f"{self.group}{SUFFIX}").stat()
            if (newest.st_dev, newest.st_ino) == current.place:
                return
        found = open_files(self._folder, self.group)
        places = [each.place for each in found]
        if current.place in places:
            newer = found[places.index(current.place) + 1 :]
        else:  # it was deleted or moved away, by a person or because newer files replaced it
            last_write = os.fstat(current.stream.fileno()).st_mtime_ns
            newer = [each for each in found if os.fstat(each.stream.fileno()).st_mtime_ns >= last_write]
            if len(newer) > OLDEST:
                yield self._lost("more was written than the log files keep, before it could be shown: lines are missing here")
        for each in found:
            if each not in newer:
                each.stream.close()
        self._ahead += newer

    def _lost(self, text: str) -> Line:
        return Line(time.time_ns() // 1_000_000, self.group, None, 0, LOST, text)

    def _to_the_end(self, stream: BinaryIO, most: int | None) -> Iterator[bytes]:
        """The complete lines up to the end, or up to the line that exceeds `most` bytes."""
        taken = 0
        for part in iter(stream.readline, b""):
            self._rest += part
            taken += len(part)
            if self._rest.endswith(b"\n"):
                yield self._rest
                self._rest = b""
            if most is not None and taken >= most:
                return


class OpenFile(NamedTuple):
    """An open file, and its identity, which a rename does not change."""

    stream: BinaryIO
    place: Place


def open_files(folder: Path, group: str) -> list[OpenFile]:
    """The files of a group, the oldest first. A concurrent rename neither hides a file nor shows one twice."""
    found: dict[Place, OpenFile] = {}
    for name in (f"{group}{SUFFIX}", *(f"{group}{SUFFIX}.{age}" for age in range(1, OLDEST + 1))):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe must not block
            stream = os.fdopen(descriptor, "rb")
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in found:
                stream.close()
                continue
            place = (status.st_dev, status.st_ino)
            found[place] = OpenFile(stream, place)
    return [*reversed(found.values())]


def groups_in(folder: Path, group: str | None) -> list[str]:
    """The groups that have a file; with `group`, only that one."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(file.name) for file in folder.iterdir())
    names = sorted({match["group"] for match in found if match})
    return names if group is None else [name for name in names if name == group]


def _of_group(folder: Path, group: str, run: str | None, up_to: tuple[Place, int] | None) -> Iterator[Line]:
    for raw in _raw_lines(folder, group, up_to):
        if line := parse_line(raw, group, run):
            yield line


def _raw_lines(folder: Path, group: str, up_to: tuple[Place, int] | None) -> Iterator[bytes]:
    """The lines of a group's files: up to the position in the file that is followed, and none of newer files."""
    with contextlib.ExitStack() as opened:
        files = open_files(folder, group)
        for each in files:
            opened.enter_context(each.stream)
        for each in files:
            end = up_to[1] if up_to and each.place == up_to[0] else None
            for raw in each.stream:
                if end is not None and each.stream.tell() > end:
                    break
                yield raw
            if end is not None:
                return


def _time(line: Line) -> int:
    return line.at


def parse_line(raw: bytes, group: str, run: str | None) -> Line | None:
    """The line, if it is complete and of the given run. If a crash cut off a line and another follows it, the second one."""
    if run is not None and run.encode() not in raw:  # far cheaper than to decode every line
        return None
    try:
        fields = json.loads(raw)
        line = Line(int(fields["at"]), group, fields["run"], int(fields["pid"]), str(fields["stream"]), str(fields["text"]))
    except (ValueError, KeyError, TypeError):  # cut off by a crash or a full disk
        behind = raw.rfind(_START)
        return parse_line(raw[behind:], group, run) if behind > 0 else None
    return line if run is None or line.run == run else None
