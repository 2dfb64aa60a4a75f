"""Stamps of files, by which a change is noticed."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """The modification time of a file and the time of its last change, in nanoseconds, and its size.

    Any program can set the first, and tools that copy files do; the second is set by the kernel alone.
    """

    written: int
    changed: int
    size: int


def file_stamp(file: str | os.PathLike[str]) -> FileStamp | None:
    """The stamp of a file; None where it is gone."""
    try:
        return stamp_of(os.stat(file))  # noqa: PTH116 -- at every import of a worker
    except OSError:
        return None


def stamp_of(found: os.stat_result) -> FileStamp:
    """The stamp in what `os.stat` returned."""
    return FileStamp(found.st_mtime_ns, found.st_ctime_ns, found.st_size)
