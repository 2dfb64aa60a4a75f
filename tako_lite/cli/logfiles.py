"""The log files of the groups: reading what is there, and following what comes.

A group's lines are in `<group>.jsonl`, older ones in `<group>.jsonl.1` and so on up to `.4`; a full file is renamed.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

SUFFIX: Final = ".jsonl"
OLDEST: Final = 4
PAUSE: Final = 0.2
"""Seconds between two looks for new lines."""

Place = tuple[int, int]
"""A file's device and inode: what stays the same when it is renamed."""


class Line(NamedTuple):
    """A line that a worker wrote; `at` is milliseconds since 1970, `run` the run that wrote it, if that is known."""

    at: int
    group: str
    run: str | None
    pid: int
    stream: str
    text: str


def stored_lines(
    folder: Path, group: str | None, run: str | None, *, up_to: Mapping[Place, int] | None = None
) -> Iterator[Line]:
    """The lines that are there, oldest first; with `up_to` the files in it only up to these positions."""
    return heapq.merge(*(_of_group(folder, name, run, up_to or {}) for name in groups_in(folder, group)), key=_time)


class Tail:
    """Follows the newest file of each group, over renames, from where it was when this was made."""

    def __init__(self, folder: Path, group: str | None, run: str | None) -> None:
        self._folder, self._group, self._run = folder, group, run
        self._files: dict[str, _Growing] = {}
        self._open()
        self.positions = {file.place: file.start_at_end() for file in self._files.values()}

    def follow(self) -> Iterator[Line]:
        """New lines as they come, without an end."""
        while True:
            yield from heapq.merge(*([*self._lines(name, file)] for name, file in self._files.items()), key=_time)
            self._open()
            time.sleep(PAUSE)

    def close(self) -> None:
        """Let go of the files; twice is harmless."""
        for file in self._files.values():
            file.close()

    def _open(self) -> None:
        for name in groups_in(self._folder, self._group):
            if name not in self._files:
                with contextlib.suppress(OSError):  # renamed just now: the next look finds its successor
                    self._files[name] = _Growing(self._folder / f"{name}{SUFFIX}")

    def _lines(self, name: str, file: _Growing) -> Iterator[Line]:
        for raw in file.new_lines():
            if line := _parsed(raw, name, self._run):
                yield line


class _Growing:
    """A file that is written at its end, and now and then renamed and begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream, self.place = _opened(path)
        self._rest = b""

    def close(self) -> None:
        self._stream.close()

    def start_at_end(self) -> int:
        """Pass over the whole lines that are there; the position behind them."""
        for _ in self.new_lines():
            pass
        return self._stream.tell() - len(self._rest)

    def new_lines(self) -> Iterator[bytes]:
        """The whole lines that came since the last look, over the file's renaming."""
        yield from self._to_the_end()
        while successor := self._successor():
            yield from self._to_the_end()  # what came between the last look and the renaming
            self._stream.close()
            (self._stream, self.place), self._rest = successor, b""
            yield from self._to_the_end()

    def _to_the_end(self) -> Iterator[bytes]:
        for part in iter(self._stream.readline, b""):
            self._rest += part
            if self._rest.endswith(b"\n"):
                yield self._rest
                self._rest = b""

    def _successor(self) -> tuple[BinaryIO, Place] | None:
        """The file that has the name now, if it is another one."""
        try:
            stream, place = _opened(self._path)
        except OSError:
            return None
        if place != self.place:
            return stream, place
        stream.close()
        return None


def _opened(path: Path) -> tuple[BinaryIO, Place]:
    stream = path.open("rb")
    status = os.fstat(stream.fileno())
    return stream, (status.st_dev, status.st_ino)


def groups_in(folder: Path, group: str | None) -> list[str]:
    """The groups that have a newest file, or the one that is asked for."""
    if not folder.is_dir():
        return []
    names = sorted(file.name.removesuffix(SUFFIX) for file in folder.iterdir() if file.name.endswith(SUFFIX))
    return names if group is None else [name for name in names if name == group]


def _of_group(folder: Path, group: str, run: str | None, up_to: Mapping[Place, int]) -> Iterator[Line]:
    for raw in _raw_lines(folder / f"{group}{SUFFIX}", up_to):
        if line := _parsed(raw, group, run):
            yield line


def _raw_lines(newest: Path, up_to: Mapping[Place, int]) -> Iterator[bytes]:
    """The lines of a group's files. All are opened before any is read, so that a rename meanwhile repeats nothing."""
    with contextlib.ExitStack() as opened:
        streams: dict[Place, BinaryIO] = {}
        for name in (newest.name, *(f"{newest.name}.{age}" for age in range(1, OLDEST + 1))):
            with contextlib.suppress(OSError):
                stream, place = _opened(newest.with_name(name))
                streams[place] = opened.enter_context(stream)
        for place, stream in reversed(streams.items()):
            end = up_to.get(place)
            for raw in stream:
                if end is not None and stream.tell() > end:
                    break
                yield raw


def _time(line: Line) -> int:
    return line.at


def _parsed(raw: bytes, group: str, run: str | None) -> Line | None:
    """The line, if it is whole and of the run that is asked for."""
    if run is not None and run.encode() not in raw:  # far cheaper than to decode every line
        return None
    try:
        fields = json.loads(raw)
        line = Line(int(fields["at"]), group, fields["run"], int(fields["pid"]), str(fields["stream"]), str(fields["text"]))
    except (ValueError, KeyError, TypeError):  # cut off by a crash or a full disk
        return None
    return line if run is None or line.run == run else None
