"""Copies the queue file while it is in use, and measures its size."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tako_lite.errors import BadInput
from tako_lite.store.sqlite.file import translate


def back_up(connection: sqlite3.Connection, file: Path) -> int:
    """Write a consistent copy to a new file with mode 0600, and return its size in bytes. Other processes may keep writing.

    Raises BadInput if the file exists. An incomplete copy is deleted.
    """
    if not file.is_absolute() or "\0" in str(file):
        raise BadInput("the file name of a backup must be an absolute path")
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise BadInput(f"{file} already exists", hint="choose a file name that does not exist") from None
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
    try:
        with closing(sqlite3.connect(file)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        return file.stat().st_size
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise translate(error, file) from error
        raise


def size_of(connection: sqlite3.Connection) -> int:
    """The size of the queue file in bytes."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)
