"""The log files of the groups: reading what is there, and following what comes.

A group's lines are in `<group>.jsonl`, older ones in `<group>.jsonl.1` and so on up to `.4`; a full file is renamed, and the
next one is there once there is a line for it.
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

SUFFIX: Final = ".jsonl"
OLDEST: Final = 4
PAUSE: Final = 0.2
"""Seconds between two looks for new lines."""
AT_ONCE: Final = 4_000_000
"""Bytes of one group that one look takes, so that none waits for another that writes without an end."""
LOST: Final = "lost"
"""The stream of a line that says that others are missing."""

Place = tuple[int, int]
"""A file's device and inode: what stays the same when it is renamed."""
Positions = Mapping[str, tuple[Place, int]]
"""By group the file that is followed, and how far it had been read when that began."""

_NAME: Final = re.compile(r"(?P<group>.+)\.jsonl(?:\.[1-4])?")
_START: Final = b'{"at":'


class Line(NamedTuple):
    """A line that a worker wrote; `at` is milliseconds since 1970, `run` the run that wrote it, if that is known.

    One whose stream is `LOST` stands for lines that are missing.
    """

    at: int
    group: str
    run: str | None
    pid: int
    stream: str
    text: str

    def as_json(self) -> dict[str, Any]:
        """The shape of `tako-lite logs --json`, without its `schema`."""
        return {**self._asdict(), "at": iso(self.at)}


def stored_lines(folder: Path, group: str | None, run: str | None, *, up_to: Positions | None = None) -> Iterator[Line]:
    """The lines that are there, oldest first; with `up_to` only those before what is followed."""
    groups = groups_in(folder, group) if up_to is None else list(up_to)
    return heapq.merge(*(_of_group(folder, name, run, (up_to or {}).get(name)) for name in groups), key=_time)


class Tail:
    """Follows the files of each group, over renames, from where they were when this was made."""

    def __init__(self, folder: Path, group: str | None, run: str | None) -> None:
        self._folder, self._group, self._run = folder, group, run
        self._files: dict[str, _Growing] = {}
        for name in groups_in(folder, group):
            if streams := _opened_all(folder, name):
                self._files[name] = _Growing(folder, name, [])
                self._files[name].start_behind(streams)
        self.positions: Positions = {name: file.position for name, file in self._files.items()}

    def follow(self) -> Iterator[Line]:
        """New lines as they come, without an end."""
        while True:
            yield from heapq.merge(*([*self._lines(file)] for file in self._files.values()), key=_time)
            self._find_groups()
            if not any(file.has_more for file in self._files.values()):
                time.sleep(PAUSE)

    def close(self) -> None:
        """Close the files; twice is harmless."""
        for file in self._files.values():
            file.close()

    def _find_groups(self) -> None:
        """Groups that had no file when this was made: all of theirs is new."""
        for name in groups_in(self._folder, self._group):
            if name not in self._files and (streams := _opened_all(self._folder, name)):
                self._files[name] = _Growing(self._folder, name, streams)

    def _lines(self, file: _Growing) -> Iterator[Line]:
        for raw in file.new_lines():
            if isinstance(raw, Line):
                yield raw
            elif line := _parsed(raw, file.group, self._run):
                yield line


class _Growing:
    """The files of a group: lines are appended to the newest, which is renamed when it is full."""

    def __init__(self, folder: Path, group: str, streams: Sequence[_Opened]) -> None:
        self.group = group
        self._folder = folder
        self._ahead = list(streams)
        """Files that are still to be read, the oldest first; the first of them is the one that is being read."""
        self._rest = b""
        self.has_more = bool(streams)

    @property
    def position(self) -> tuple[Place, int]:
        """The file that is followed, and the end of its last whole line so far."""
        return self._ahead[0].place, self._ahead[0].stream.tell() - len(self._rest)

    def start_behind(self, streams: Sequence[_Opened]) -> None:
        """Skip all that is there."""
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
        """The whole lines that came since the last look, over renames, and a Line of the stream `LOST` for what is missing."""
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
        """Open the files that were begun after the one that is being read; say so where others of them are gone already."""
        current = self._ahead[0]
        with contextlib.suppress(OSError):
            newest = (self._folder / f"{self.group}{SUFFIX}").stat()
            if (newest.st_dev, newest.st_ino) == current.place:
                return
        found = _opened_all(self._folder, self.group)
        places = [each.place for each in found]
        if current.place in places:
            newer = found[places.index(current.place) + 1 :]
        else:  # it was deleted or moved away, or there were so many new ones that it is gone
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
        """The whole lines up to the end, or to the line that exceeds `most` bytes."""
        taken = 0
        for part in iter(stream.readline, b""):
            self._rest += part
            taken += len(part)
            if self._rest.endswith(b"\n"):
                yield self._rest
                self._rest = b""
            if most is not None and taken >= most:
                return


class _Opened(NamedTuple):
    """A file that is open, and its identity, which a rename keeps."""

    stream: BinaryIO
    place: Place


def _opened_all(folder: Path, group: str) -> list[_Opened]:
    """The files of a group, the oldest first. A rename meanwhile neither hides one nor shows one twice."""
    found: dict[Place, _Opened] = {}
    for name in (f"{group}{SUFFIX}", *(f"{group}{SUFFIX}.{age}" for age in range(1, OLDEST + 1))):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
            stream = os.fdopen(descriptor, "rb")
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in found:
                stream.close()
                continue
            place = (status.st_dev, status.st_ino)
            found[place] = _Opened(stream, place)
    return [*reversed(found.values())]


def groups_in(folder: Path, group: str | None) -> list[str]:
    """The groups that have a file, or the one that is asked for."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(file.name) for file in folder.iterdir())
    names = sorted({match["group"] for match in found if match})
    return names if group is None else [name for name in names if name == group]


def _of_group(folder: Path, group: str, run: str | None, up_to: tuple[Place, int] | None) -> Iterator[Line]:
    for raw in _raw_lines(folder, group, up_to):
        if line := _parsed(raw, group, run):
            yield line


def _raw_lines(folder: Path, group: str, up_to: tuple[Place, int] | None) -> Iterator[bytes]:
    """The lines of a group's files, of the one that is followed only those before its position, and none of newer files."""
    with contextlib.ExitStack() as opened:
        files = _opened_all(folder, group)
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


def _parsed(raw: bytes, group: str, run: str | None) -> Line | None:
    """The line, if it is whole and of the run that is asked for; of two in one, the first cut off by a crash, the second."""
    if run is not None and run.encode() not in raw:  # far cheaper than to decode every line
        return None
    try:
        fields = json.loads(raw)
        line = Line(int(fields["at"]), group, fields["run"], int(fields["pid"]), str(fields["stream"]), str(fields["text"]))
    except (ValueError, KeyError, TypeError):  # cut off by a crash or a full disk
        behind = raw.rfind(_START)
        return _parsed(raw[behind:], group, run) if behind > 0 else None
    return line if run is None or line.run == run else None
