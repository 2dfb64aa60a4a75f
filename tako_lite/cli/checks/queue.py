"""The queue file, read in ways that leave no trace: not even the files that SQLite makes beside one that it reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tako_lite.cli.checks.finding import CheckContext, Finding, quoted
from tako_lite.clock import local
from tako_lite.errors import StoreError
from tako_lite.project_lint import undefined
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.store.migrate import migrations, refuse_newer
from tako_lite.store.sqlite.file import (
    APPLICATION_ID,
    BUSY_TIMEOUT,
    CHECKED_AT_START,
    OLDEST_SQLITE,
    PACKAGE,
    damaged,
    gone,
    not_ours,
    refuse_orphan_wal,
    translate,
)
from tako_lite.store.sqlite.transaction import SqliteSnapshot
from tako_lite.units import duration_text, size_text

FIXED_SQLITE: Final = (3, 51, 3)
LARGEST_LOG: Final = 64_000_000
EARLIEST_YEAR: Final = 2024
STEP_BACK: Final = 5.0
"""Seconds that a clock may be set back without a word."""
SHOWN_FAULTS: Final = 5

IMMUTABLE: Final = "mode=ro&immutable=1"
"""The file as it stands, without locks: right where its log is empty, as long as nobody writes meanwhile."""
READ_ONLY: Final = "mode=ro"
NO_INDEX: Final = "mode=ro&readonly_shm=1"
"""Like READ_ONLY; where nobody has the queue open, SQLite would else make its index anew."""

Stamp = list[tuple[int, int] | None]


def sqlite(context: CheckContext) -> Iterator[Finding]:
    """Which SQLite this Python has, and what is known of it."""
    yield judge_sqlite(sqlite3.sqlite_version_info)


def judge_sqlite(release: tuple[int, ...]) -> Finding:
    """What a release of SQLite means for a queue."""
    says = f"SQLite {_dotted(release)}"
    if release < OLDEST_SQLITE:
        wanted = _dotted(OLDEST_SQLITE)
        mend = f"use a Python with SQLite {wanted} or newer"
        return Finding("sqlite", "problem", f"{says} is refused: it must be {wanted} or newer", mend)
    if release < FIXED_SQLITE:
        known = f"before {_dotted(FIXED_SQLITE)} two connections that write and checkpoint at once could damage a log (WAL)"
        spared = "tako-lite writes and checkpoints over one, so the queue is not concerned"
        return Finding("sqlite", "info", f"{says}; {known}; {spared}")
    return Finding("sqlite", "ok", says)


def queue(context: CheckContext) -> Iterator[Finding]:
    """Whether the queue file is sound and ours, and whether its newest run is of the past. Raises TakoError where it is not."""
    refuse_orphan_wal(context.queue)
    if not context.queue.exists():
        if context.has_daemon:
            raise gone(context.queue)
        yield Finding("queue", "info", f"there is no {context.queue} yet: the first enqueue, or serve, makes it")
        return
    way = _way(context)
    if way is None:
        what = f"not looked into: without {context.index} SQLite would make one"
        yield Finding("queue", "info", what, "tako-lite status, which puts the log into the queue file; then look again")
        return
    before, failure, findings = _stamp(context), None, list[Finding]()
    try:
        with closing(_connect(context.queue, way)) as connection:
            findings = list(_look(context, connection))
    except sqlite3.Error as error:
        failure = translate(error, context.queue)
    except StoreError as error:
        failure = error
    if way != READ_ONLY and _stamp(context) != before:
        yield Finding("queue", "info", "it was written while it was looked at, which spoils the look", "tako-lite doctor again")
        return
    if failure:
        raise failure
    yield from findings


def wal(context: CheckContext) -> Iterator[Finding]:
    """Whether the log of the queue has grown beyond what a checkpoint leaves."""
    size = context.log.stat().st_size if context.log.exists() else 0
    says = f"the queue has a log (WAL) of {size_text(size)}" if size else "the queue has no log (WAL)"
    if size <= LARGEST_LOG:
        yield Finding("wal", "ok", says)
    elif context.has_daemon:
        mend = f"fuser -v {quoted(context.queue)} names the programs that have it open: end the one that reads so long"
        yield Finding("wal", "warning", f"{says}: somebody who reads the queue keeps it from being written anew", mend)
    else:
        mend = "tako-lite status, which puts the log into the queue file"
        yield Finding("wal", "warning", f"{says}, and nobody has put it into the queue file since a daemon was killed", mend)


def clock(context: CheckContext) -> Iterator[Finding]:
    """Whether the clock of this machine is set at all."""
    now = context.clock.now()
    if datetime.fromtimestamp(now / 1000, UTC).year < EARLIEST_YEAR:
        yield Finding("clock", "problem", f"the clock says {local(now)}: it is not set", "timedatectl set-ntp true")
    else:
        yield Finding("clock", "ok", f"the clock says {local(now)}")


def _way(context: CheckContext) -> str | None:
    """How the file can be read without a trace, or None."""
    if not context.log.exists() or not context.log.stat().st_size:
        return IMMUTABLE
    if not context.index.exists():
        return None
    return READ_ONLY if context.has_daemon else NO_INDEX


def _connect(file: Path, way: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?{way}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


def _stamp(context: CheckContext) -> Stamp:
    """What changes when somebody writes the queue."""
    abouts = (path.stat() if path.exists() else None for path in (context.queue, context.log))
    return [about and (about.st_mtime_ns, about.st_size) for about in abouts]


def _look(context: CheckContext, connection: sqlite3.Connection) -> Iterator[Finding]:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and owner != APPLICATION_ID:
        raise not_ours(context.queue)
    refuse_newer(connection, PACKAGE)
    if context.deep or context.queue.stat().st_size <= CHECKED_AT_START:
        yield _quick_check(context, connection)
    else:
        yield Finding("queue", "ok", "it opens; --deep reads all of it")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == migrations(PACKAGE)[-1].number:
        yield from _judge_newest(context, connection)
        yield from _undefined(context, connection)
    else:
        yield Finding("queue", "info", f"it has schema {version} of an older release: the next serve brings it up to date")


def _quick_check(context: CheckContext, connection: sqlite3.Connection) -> Finding:
    faults = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({SHOWN_FAULTS})")]
    if faults == ["ok"]:
        return Finding("queue", "ok", "all of it was read, and it is sound")
    raise damaged(context.queue, "; ".join(" ".join(fault.split()) for fault in faults))


def _judge_newest(context: CheckContext, connection: sqlite3.Connection) -> Iterator[Finding]:
    """A run of the future: the clock was set back since, and what is due by the old one waits so long."""
    for run in reading.list_runs(SqliteSnapshot(connection), RunFilter(), 1):
        ahead = (run.created_at - context.clock.now()) / 1000
        if ahead > STEP_BACK:
            what = f"the newest run was made {duration_text(round(ahead))} from now, at {local(run.created_at)}"
            why = "the clock was set back, and what was due by the old time waits for it"
            yield Finding("clock", "warning", f"{what}: {why}", "timedatectl shows whether the clock is right now")


def _undefined(context: CheckContext, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Runs that wait for a workflow which no file defines any more."""
    if context.catalog is not None:
        for found in undefined(context.catalog, reading.count_queued_by_workflow(SqliteSnapshot(connection))):
            yield Finding("queue", "warning", found.message, found.remedy)


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
