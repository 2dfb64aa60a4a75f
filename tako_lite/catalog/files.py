"""Lists the Python files under the workflows folder."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tako_lite.stamps import FileStamp, stamp_of

Unreadable = Callable[[OSError], None]


def stamps(folder: Path) -> dict[Path, FileStamp]:
    """The stamp of every Python file under the folder, in order. Unreadable files are left out."""
    return dict(python_files(folder, lambda error: None))


def python_files(folder: Path, unreadable: Unreadable) -> Iterator[tuple[Path, FileStamp]]:
    """Every regular `.py` file under the folder with its stamp, sorted; `unreadable` receives folders that cannot be read.

    Names that start with a dot and `__pycache__` are skipped. Links are followed, but never back into a folder that the
    walk is already inside.
    """
    yield from _walk(folder, frozenset(), unreadable)


def _walk(folder: Path, above: frozenset[tuple[int, int]], unreadable: Unreadable) -> Iterator[tuple[Path, FileStamp]]:
    try:
        own = folder.stat()
        paths = sorted(folder.iterdir())
    except OSError as error:
        unreadable(error)
        return
    identity = (own.st_dev, own.st_ino)
    if identity in above:
        return
    for path in paths:
        name = path.name
        if name.startswith(".") or name == "__pycache__":
            continue
        try:
            found = path.stat()
        except OSError:  # deleted since, or a dangling link
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(path, above | {identity}, unreadable)
        elif name.endswith(".py") and stat.S_ISREG(found.st_mode):  # opening a pipe would wait for a writer
            yield path, stamp_of(found)
