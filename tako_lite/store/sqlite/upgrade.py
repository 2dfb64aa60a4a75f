"""Brings a queue file up to date without opening it for anything else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from tako_lite.errors import StoreBusy
from tako_lite.lock import FileLock
from tako_lite.store.migrate import Migrated, migrations
from tako_lite.store.sqlite.file import PACKAGE, address, connect, translate

PATIENCE: Final = 2.0
"""Seconds to wait for a client that is writing the file."""


def upgrade(path: Path, lock: FileLock) -> Migrated:
    """Create the file or apply what it lacks, under the lock of its writer. Raises StoreBusy and StoreError."""
    if not lock.acquire(PATIENCE):
        hint = "stop the daemon first: tako-lite stop; its next start brings the file up to date as well"
        raise StoreBusy(f"another program writes {path}", hint=hint)
    try:
        before = _version(path)
        with closing(connect(path, "disk")):
            pass
    finally:
        lock.release()
    steps = migrations(PACKAGE)
    return Migrated(before, steps[-1].number, tuple(step.name for step in steps if step.number > before))


def _version(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(address(path, "mode=rw"), uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise translate(error, path) from error
