"""Stamps of files, by which a change is detected."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """The mtime and the ctime of a file in nanoseconds, and its size.

    Any program can set the mtime, and tools that copy files do; only the kernel sets the ctime.
    """

    written: int
    changed: int
    size: int


def file_stamp(file: str | os.PathLike[str]) -> FileStamp | None:
    """The stamp of a file; None if it is gone."""
    try:
        return stamp_of(os.stat(file))  # noqa: PTH116 -- at every import of a worker
    except OSError:
        return None


def stamp_of(found: os.stat_result) -> FileStamp:
    """The stamp in what `os.stat` returned."""
    return FileStamp(found.st_mtime_ns, found.st_ctime_ns, found.st_size)
