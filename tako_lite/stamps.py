"""By what a change of a file is noticed."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """When a file was written, by its own word and by the file system's, in nanoseconds, and how long it is.

    The first can be set to anything, and tools that copy files set it; the second is that of the last change.
    """

    written: int
    changed: int
    size: int


def file_stamp(file: str | os.PathLike[str]) -> FileStamp | None:
    """The stamp of a file; None where it is gone."""
    try:
        found = os.stat(file)  # noqa: PTH116 -- at every import of a worker
    except OSError:
        return None
    return FileStamp(found.st_mtime_ns, found.st_ctime_ns, found.st_size)
