"""Creates and opens the queue file, and turns the errors of SQLite into ours."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from tako_lite.errors import StorageFull, StoreBusy, StoreDamaged, StoreError, StoreGone, TakoError
from tako_lite.paths import sync
from tako_lite.store.migrate import migrate, refuse_newer, refuse_older
from tako_lite.store.sqlite.filesystem import refuse_shared

Durability = Literal["disk", "process"]

PACKAGE: Final = "tako_lite.store.sqlite"
OLDEST_SQLITE: Final = (3, 37, 0)
APPLICATION_ID: Final = 0x74616B6F
"""`tako` in ASCII: `file` and SQLite identify a queue file by it."""
BUSY_TIMEOUT: Final = 4.0
"""Seconds. What comes while a transaction waits for the lock waits for that one and then itself: 10 are promised."""
CHECKED_AT_START: Final = 64 * 1024 * 1024
"""Files up to this many bytes are checked at the start: 2 to 3 ms per million bytes, with the file in memory."""
SYNCHRONOUS: Final = {"disk": "FULL", "process": "NORMAL"}


def connect(path: Path, durability: Durability, *, check_integrity: bool = False) -> sqlite3.Connection:
    """The writing connection. The file is created if needed, brought up to date, and readable only by its owner.

    With `check_integrity`, every page of a file of at most `CHECKED_AT_START` bytes is read first. Raises
    StoreDamaged, StoreTooNew, …
    """
    _check_release()
    refuse_shared(path)
    try:
        refuse_orphan_wal(path)
        if check_integrity:
            _check_integrity(path)
        create(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=256, check_same_thread=False
        )
        try:
            _prepare(connection, path, durability)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise translate(error, path) from error
    return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to a file that exists."""
    _check_release()
    try:
        connection = sqlite3.connect(
            address(path, "mode=rw"), uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return connection


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether the file was ever migrated; its creator may have died before. Raises StoreTooNew, StoreTooOld."""
    refuse_newer(connection, PACKAGE)
    refuse_older(connection, PACKAGE)
    return bool(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_orphan_wal(path: Path) -> None:
    """Raise StoreGone if the log of a queue is left without its file: SQLite would delete the log.

    The log is checked before the file. Another process that creates the queue creates its file first, so a log that existed
    has its file by then; in the other order, both could be created between the two checks.
    """
    log = path.with_name(f"{path.name}-wal")
    if _size(log) and not is_there(path) and _size(log):  # again: the whole folder may be in the middle of a deletion
        raise StoreGone(
            f"{path} was moved or deleted, and its log {log.name} was left",
            hint=f"put the file back; or, to start with an empty queue, delete the log: rm {log} {path}-shm",
        )


def create(path: Path) -> None:
    """Create an empty file of mode 0600 in a folder of mode 0700, unless it exists.

    SQLite syncs the folder, and leaves to us what the folder is in.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return  # not opened again: a stray close of the file would drop SQLite's locks on it
    sync(path.parent.parent)


def translate(error: Exception, path: Path) -> TakoError:
    """An error of SQLite or of the file system as one of ours."""
    if isinstance(error, TakoError):
        return error
    text = str(error)
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith("SQLITE_FULL") or "disk is full" in text or getattr(error, "errno", None) == 28:
        return StorageFull(f"the disk that holds {path} is full", hint="free some space; work then resumes by itself")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in text:
        return StoreBusy(f"another program holds {path} locked", hint="close it; `fuser` on the file names it")
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damaged(path, text)
    if code.startswith("SQLITE_IOERR"):
        return StoreError(
            f"an I/O error occurred on the disk that holds {path}: {text}",
            hint="see `dmesg`; work resumes by itself once the disk works again",
        )
    hint = "check the owner and the mode of the file and its folder: tako-lite doctor"
    if code.startswith("SQLITE_READONLY"):
        return StoreError(f"cannot write {path}: {text}", hint=hint)
    if code.startswith("SQLITE_CANTOPEN"):
        return StoreError(f"cannot open {path}: {text}", hint=hint)
    if isinstance(error, PermissionError):
        return StoreError(f"cannot open {path}: {error.strerror}", hint=hint)
    return StoreError(f"{path}: {text}")


def damaged(path: Path, what: str) -> StoreDamaged:
    """The error for a damaged file."""
    hint = "keep a copy of it, then rescue what can be read, with the daemon stopped: tako-lite doctor --rescue rescued.db"
    return StoreDamaged(f"{path} is damaged: {what}", hint=hint)


def gone(path: Path) -> StoreGone:
    """The error for a file that is no longer the one that was opened."""
    try:
        found = is_there(path)
    except OSError as error:
        return StoreGone(
            f"cannot check {path}: {error.strerror}; nothing is accepted",
            hint="check the owner and the mode of its folder; work resumes by itself once the daemon can read it",
        )
    if found:
        return StoreGone(
            f"{path} was replaced by another file while the daemon had it open; nothing is accepted",
            hint="put the first file back, and work resumes by itself; or stop tako-lite serve, delete "
            f"{path.name}-wal and {path.name}-shm, which belong to the first file, and start it again",
        )
    return StoreGone(
        f"{path} was moved or deleted while the daemon had it open; nothing is accepted",
        hint="put it back, and work resumes by itself; if it is lost, tako-lite backup FILE saves what the daemon has of it",
    )


def is_there(path: Path) -> bool:
    """Whether a file exists. Raises OSError if that cannot be determined, which `Path.exists` does on some releases only."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def not_ours(path: Path) -> StoreDamaged:
    """The error for an SQLite file that tako-lite did not create."""
    return StoreDamaged(f"{path} is an SQLite file, but not a queue of tako-lite", hint="name another file as `url` in [queue]")


def _size(file: Path) -> int:
    """The size of a file; 0 if there is none. Raises OSError if it cannot be determined."""
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def address(path: Path, options: str) -> str:
    """The URI of a file for SQLite. Not by `Path.as_uri`, which imports an HTTP client from Python 3.14 on."""
    return f"file://{quote(os.fsencode(path.absolute()))}?{options}"


def _check_integrity(path: Path) -> None:
    """Read every page and change nothing. Raises StoreDamaged if one is damaged.

    SQLite cannot be told to stop after a while, and a long file would keep the start waiting: it is left out. Damage in it
    shows when a page is met, which ends the daemon, or with `tako-lite doctor --deep`.
    """
    log = path.with_name(f"{path.name}-wal")
    sizes = [_size(file) for file in (path, log)]
    if not 0 < sum(sizes) <= CHECKED_AT_START:
        return
    mode = "ro" if sizes[1] else "rw"  # closed, the one would leave an empty log behind, and the other take a full one away
    with closing(sqlite3.connect(address(path, f"mode={mode}"), uri=True, timeout=BUSY_TIMEOUT)) as connection:
        connection.execute("PRAGMA query_only = ON")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found.replace("\n", ": "))


def _check_release() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"tako-lite needs SQLite {wanted} or newer; this Python has {sqlite3.sqlite_version}")


def _prepare(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    # In this order: another process that makes the file writes its owner before its tables.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and owner != APPLICATION_ID:
        raise not_ours(path)
    refuse_newer(connection, PACKAGE)
    _use_wal(connection)
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
    connection.execute("PRAGMA journal_size_limit = 33554432")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")  # 4 MB: writing the log anew is cheaper than making it longer
    connection.execute("PRAGMA cache_size = -8000")
    connection.execute("PRAGMA temp_store = MEMORY")
    if not tables:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(connection, PACKAGE)


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for the lock of this one change, which another process may be making: we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
