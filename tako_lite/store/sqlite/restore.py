"""Replaces a queue file by a backup of it. Nothing changes before the backup was read completely and copied."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from tako_lite.errors import BadInput, StoreDamaged, StoreTooOld
from tako_lite.paths import sync
from tako_lite.store.migrate import migrations
from tako_lite.store.opening import QueueCheck, Restored
from tako_lite.store.sqlite.backup import back_up
from tako_lite.store.sqlite.checks import inspect
from tako_lite.store.sqlite.copying import SqliteSide
from tako_lite.store.sqlite.file import BUSY_TIMEOUT, PACKAGE, address, translate


def restore(queue: Path, backup: Path, check: QueueCheck) -> Restored:
    """Put a copy of a backup in the place of a queue, which is kept beside it; the caller keeps every other program away.

    Raises BadInput if there is no such file, StoreDamaged if it is damaged or no queue, and StoreError.
    """
    _refuse_missing(queue, backup)
    queue.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = queue.with_name(f"{queue.name}.restoring")
    copy.unlink(missing_ok=True)
    try:
        with closing(_open(backup)) as connection:
            _check(backup, check, connection)
            size = back_up(connection, copy)
        sync(copy)
        kept = _keep_old(queue, check.clock.now())
        copy.replace(queue)
        sync(queue.parent)
    except (OSError, sqlite3.Error) as error:
        raise translate(error, backup) from error
    finally:
        copy.unlink(missing_ok=True)
    return Restored(str(queue), size, kept)


@contextmanager
def open_backup(backup: Path, check: QueueCheck) -> Iterator[SqliteSide]:
    """A backup, as the source of a copy into another queue. Raises what `restore` raises."""
    _refuse_no_file(backup)
    try:
        with closing(_open(backup)) as connection:
            _check(backup, check, connection)
            if connection.execute("PRAGMA user_version").fetchone()[0] != migrations(PACKAGE)[-1].number:
                hint = "restore it as a queue file first, whose next serve brings it up to date; then tako-lite copy-queue"
                raise StoreTooOld(f"{backup} was written by an older release of tako-lite", hint=hint)
            yield SqliteSide(connection, backup)
    except (OSError, sqlite3.Error) as error:
        raise translate(error, backup) from error


def _refuse_no_file(backup: Path) -> None:
    if not backup.is_file():
        raise BadInput(f"{backup} is not a file" if backup.exists() else f"{backup} does not exist")


def _refuse_missing(queue: Path, backup: Path) -> None:
    _refuse_no_file(backup)
    if queue.exists() and queue.samefile(backup):
        raise BadInput(f"{backup} is the queue itself", hint="name a file that tako-lite backup has written")


def _open(backup: Path) -> sqlite3.Connection:
    """A connection that only reads; without a log beside the file, it needs no write permission to the folder either."""
    log = Path(f"{backup}-wal")
    options = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    return sqlite3.connect(address(backup, options), uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


def _check(backup: Path, check: QueueCheck, connection: sqlite3.Connection) -> None:
    """Raise StoreDamaged, StoreTooNew or the like unless every page of the backup is sound."""
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StoreDamaged(f"{backup} is an empty database, and no backup of a queue")
        for _ in inspect(backup, check, connection):
            pass
    except (sqlite3.Error, StoreDamaged) as error:
        refused = translate(error, backup)
        refused.hint = "the queue was not changed; choose another backup"
        raise refused from error


def _keep_old(queue: Path, now: int) -> Path | None:
    """Give a queue and its log another name, and return it; None if there is none.

    SQLite would apply the log to the restored file. The queue keeps its old name too until the copy replaces it: if this
    process ends in between, no program creates an empty queue.
    """
    if not queue.exists():
        return None
    name = f"{queue.name}.replaced-{datetime.fromtimestamp(now / 1000, UTC):%Y%m%dT%H%M%SZ}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    kept = next(path for path in map(queue.with_name, names) if not os.path.lexists(path))
    try:
        kept.hardlink_to(queue)
    except OSError:  # a file system without links
        queue.rename(kept)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{queue}{suffix}").rename(f"{kept}{suffix}")
    return kept
