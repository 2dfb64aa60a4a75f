"""The checks of `doctor` for a queue file. They leave no trace, not even the files that SQLite creates beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from tako_lite.clock import local
from tako_lite.errors import StoreError
from tako_lite.finding import Finding, quoted
from tako_lite.linux import ON_LINUX
from tako_lite.paths import nearest
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.store.migrate import migrations, refuse_newer
from tako_lite.store.opening import QueueCheck
from tako_lite.store.sqlite.file import (
    APPLICATION_ID,
    BUSY_TIMEOUT,
    CHECKED_AT_START,
    OLDEST_SQLITE,
    PACKAGE,
    address,
    damaged,
    gone,
    not_ours,
    refuse_orphan_wal,
    translate,
)
from tako_lite.store.sqlite.filesystem import ELSEWHERE, MOUNTS, SHARED, WHY_NOT, Mount, mount_at, refuse_second_name
from tako_lite.store.sqlite.transaction import SqliteSnapshot
from tako_lite.units import duration_text, size_text

MEMORY: Final = frozenset({"tmpfs", "ramfs"})
FIXED_SQLITE: Final = (3, 51, 3)
LARGEST_LOG: Final = 64_000_000
STEP_BACK: Final = 5.0
"""Seconds by which a clock may be set back without a warning."""
SHOWN_FAULTS: Final = 5

IMMUTABLE: Final = "mode=ro&immutable=1"
"""Opens the file without locks: correct if its log is empty and no program writes at the same time."""
READ_ONLY: Final = "mode=ro"
NO_INDEX: Final = "mode=ro&readonly_shm=1"
"""Like READ_ONLY, but SQLite does not rebuild the log's index if no other program has the queue open."""

Stamp = list[tuple[int, int] | None]


def sqlite(file: Path, context: QueueCheck) -> Iterator[Finding]:
    """Which SQLite this Python has, and its known bugs."""
    yield judge_sqlite(sqlite3.sqlite_version_info)


def judge_sqlite(release: tuple[int, ...]) -> Finding:
    """The finding about a release of SQLite."""
    what = f"SQLite {_dotted(release)}"
    if release < OLDEST_SQLITE:
        wanted = _dotted(OLDEST_SQLITE)
        fix = f"use a Python with SQLite {wanted} or newer"
        return Finding("sqlite", "problem", f"{what} is too old: it must be {wanted} or newer", fix)
    if release < FIXED_SQLITE:
        known = (
            f"before {_dotted(FIXED_SQLITE)}, two connections that write and checkpoint at once could damage a write-ahead log"
        )
        spared = "tako-lite uses one connection for both, so the queue is not affected"
        return Finding("sqlite", "info", f"{what}; {known}; {spared}")
    return Finding("sqlite", "ok", what)


def filesystem(file: Path, context: QueueCheck) -> Iterator[Finding]:
    """Whether the queue is on a local disk, where SQLite's locks work, and has one name."""
    if not ON_LINUX:
        yield Finding("filesystem", "info", "not checked: only Linux reports the file system of a folder (/proc)")
        return
    folder = nearest(file.parent).resolve()
    mount = mount_at(folder)
    yield (
        judge_mount(folder, mount)
        if mount
        else Finding("filesystem", "info", f"{MOUNTS} does not list the file system of {folder}")
    )
    try:
        refuse_second_name(file)
    except StoreError as error:
        yield Finding("filesystem", "problem", error.message, error.hint)


def judge_mount(folder: Path, mount: Mount) -> Finding:
    """The finding about the type of the queue's file system."""
    where = f"{folder} is on {mount.kind}, mounted at {mount.point}"
    if mount.kind in SHARED:
        return Finding("filesystem", "problem", f"{where}: {WHY_NOT}", ELSEWHERE)
    if mount.kind in MEMORY:
        return Finding("filesystem", "warning", f"{where}: the queue is lost when the machine stops", ELSEWHERE)
    if mount.kind == "overlay":
        why = "the container's own layer, which is deleted with the container"
        return Finding("filesystem", "info", f"{where}: {why}", f"mount a volume at {quoted(folder)}")
    return Finding("filesystem", "ok", where)


def queue(file: Path, context: QueueCheck) -> Iterator[Finding]:
    """Whether the queue file is valid, belongs to tako-lite and has no run from the future. Raises TakoError if not."""
    refuse_orphan_wal(file)
    if not file.exists():
        if context.has_daemon:
            raise gone(file)
        yield Finding("queue", "info", f"{file} does not exist yet: the first enqueue, or serve, creates it")
        return
    options = _open_options(file, context)
    if options is None:
        what = f"not checked: {_index(file)} is missing, and SQLite would create it"
        yield Finding("queue", "info", what, "tako-lite status, which merges the log into the queue file; then check again")
        return
    before, failure, findings = _stamp(file), None, list[Finding]()
    try:
        with closing(_connect(file, options)) as connection:
            findings = list(inspect(file, context, connection))
    except sqlite3.Error as error:
        failure = translate(error, file)
    except StoreError as error:
        failure = error
    if options != READ_ONLY and _stamp(file) != before:
        yield Finding(
            "queue",
            "info",
            "another program wrote it during the check, so the result is unreliable",
            "run tako-lite doctor again",
        )
        return
    if failure:
        raise failure
    yield from findings


def wal(file: Path, context: QueueCheck) -> Iterator[Finding]:
    """Whether the write-ahead log has grown beyond its size after a checkpoint."""
    size = _log(file).stat().st_size if _log(file).exists() else 0
    what = f"the queue has a write-ahead log of {size_text(size)}" if size else "the queue has no write-ahead log"
    if size <= LARGEST_LOG:
        yield Finding("wal", "ok", what)
    elif context.has_daemon:
        fix = f"fuser -v {quoted(file)} lists the programs that have it open: stop the one that keeps reading"
        yield Finding("wal", "warning", f"{what}: a program that keeps reading the queue prevents a checkpoint", fix)
    else:
        fix = "tako-lite status, which merges the log into the queue file"
        yield Finding("wal", "warning", f"{what}, which was not merged into the queue file after a daemon was killed", fix)


def _open_options(file: Path, context: QueueCheck) -> str | None:
    """The options with which the file can be read without a trace, or None."""
    if not _log(file).exists() or not _log(file).stat().st_size:
        return IMMUTABLE
    if not _index(file).exists():
        return None
    return READ_ONLY if context.has_daemon else NO_INDEX


def _connect(file: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(address(file, options), uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


def _stamp(file: Path) -> Stamp:
    """The times and sizes that change when a program writes the queue."""
    abouts = (path.stat() if path.exists() else None for path in (file, _log(file)))
    return [about and (about.st_mtime_ns, about.st_size) for about in abouts]


def inspect(file: Path, context: QueueCheck, connection: sqlite3.Connection) -> Iterator[Finding]:
    """The findings about the content of a queue file; `file` is for messages. Raises TakoError if it is no sound queue."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and owner != APPLICATION_ID:
        raise not_ours(file)
    refuse_newer(connection, PACKAGE)
    if context.deep or file.stat().st_size <= CHECKED_AT_START:
        yield _quick_check(file, context, connection)
    else:
        yield Finding("queue", "ok", "the queue file opens; --deep reads all of it")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == migrations(PACKAGE)[-1].number:
        yield from _judge_newest(file, context, connection)
        yield from context.find_undefined(reading.count_queued_by_workflow(SqliteSnapshot(connection)))
    else:
        yield Finding("queue", "info", f"the queue file has schema {version} of an older release: the next serve migrates it")


def _quick_check(file: Path, context: QueueCheck, connection: sqlite3.Connection) -> Finding:
    faults = [str(fault) for (fault,) in connection.execute(f"PRAGMA quick_check({SHOWN_FAULTS})")]
    if faults == ["ok"]:
        return Finding("queue", "ok", "read the whole queue file and found no damage")
    raise damaged(file, "; ".join(" ".join(fault.split()) for fault in faults))


def _judge_newest(file: Path, context: QueueCheck, connection: sqlite3.Connection) -> Iterator[Finding]:
    """A warning if the newest run is in the future: the clock was set back, and runs due by the old time wait."""
    for run in reading.list_runs(SqliteSnapshot(connection), RunFilter(), 1):
        ahead = (run.created_at - context.clock.now()) / 1000
        if ahead > STEP_BACK:
            what = f"the newest run was created {duration_text(round(ahead))} in the future, at {local(run.created_at)}"
            why = "the clock was set back, and runs that were due by the old time wait until then"
            yield Finding("clock", "warning", f"{what}: {why}", "timedatectl shows whether the clock is correct now")


def _log(file: Path) -> Path:
    """The write-ahead log of a queue file."""
    return Path(f"{file}-wal")


def _index(file: Path) -> Path:
    """The shared-memory index of the log."""
    return Path(f"{file}-shm")


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
