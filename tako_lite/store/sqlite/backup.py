"""A copy of the queue file while it is in use, and its size."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tako_lite.errors import BadInput
from tako_lite.store.sqlite.file import translate


def back_up(connection: sqlite3.Connection, file: Path) -> int:
    """Write a consistent copy to a new file of mode 0600 while others write; returns its bytes.

    Raises BadInput if the file exists. A copy that fails is deleted again.
    """
    if not file.is_absolute() or "\0" in str(file):
        raise BadInput("the name of a backup is an absolute path")
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise BadInput(f"{file} exists already", hint="choose a file name that does not exist") from None
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
    """The bytes of the queue file."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)
