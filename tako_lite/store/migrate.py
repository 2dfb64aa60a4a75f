"""Forward-only migrations: one transaction applies those that a file lacks and records them.

`PRAGMA user_version` is the number of the newest migration that a file has.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from tako_lite.errors import StoreTooNew, StoreTooOld
from tako_lite.store.sql import folder_of

logger = logging.getLogger("tako_lite")
QUIET: Final = 0.5
"""Seconds after which an upgrade reports its progress."""
EVERY: Final = 2.0
"""Seconds between two reports."""
OPERATIONS: Final = 100_000
"""Operations of SQLite's virtual machine between two looks at the clock: a millisecond or so."""

_NAME = re.compile(r"(\d{4})_\w+\.sql\Z")


class Migration(NamedTuple):
    """A numbered script."""

    number: int
    name: str
    script: str


class Migrated(NamedTuple):
    """What a migration did: the version before (0 for a new queue) and after, and the scripts that it ran."""

    before: int
    after: int
    applied: tuple[str, ...]


def migrations(package: str) -> list[Migration]:
    """The migrations of a backend, oldest first."""
    return sorted(
        Migration(int(match[1]), entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in folder_of(package, "migrations").iterdir()
        if (match := _NAME.match(entry.name))
    )


def refuse_newer(connection: sqlite3.Connection, package: str) -> None:
    """Raise StoreTooNew if a newer release wrote the file; nothing is changed."""
    steps = migrations(package)
    version = _version(connection)
    if version > steps[-1].number:
        raise StoreTooNew(
            f"the queue file has schema {version}; this release of tako-lite knows schemas up to {steps[-1].number}",
            hint="install the release of tako-lite that wrote it, or a newer one",
        )


def refuse_older(connection: sqlite3.Connection, package: str) -> None:
    """Raise StoreTooOld if the file lacks migrations; a file without any is empty, which is no error."""
    version, newest = _version(connection), migrations(package)[-1].number
    if 0 < version < newest:
        raise StoreTooOld(
            f"the queue file has schema {version}, of an older release of tako-lite; this one reads schema {newest}",
            hint="start tako-lite serve or enqueue a run: either brings the file up to date",
        )


def migrate(connection: sqlite3.Connection, package: str) -> None:
    """Bring a file that is not newer up to date, in one transaction: readers see either the old schema or the newest.

    What takes longer than `QUIET` seconds is reported in the log. A process that is killed leaves the file as it was.
    """
    steps = migrations(package)
    if _version(connection) >= steps[-1].number:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, steps)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _apply(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    version = _version(connection)  # another process may have been faster
    missing = [(step, statement) for step in steps if step.number > version for statement in _statements(step.script)]
    progress = _Progress(version, steps[-1].number, len(missing))
    connection.set_progress_handler(progress.tell, OPERATIONS)
    for done, (step, statement) in enumerate(missing):
        progress.begin(step, done)
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {steps[-1].number}")
    progress.end()


class _Progress:
    """Logs how far a migration is, while it takes long."""

    def __init__(self, before: int, after: int, statements: int) -> None:
        self._what = f"the upgrade of the queue file from schema {before} to {after}"
        self._statements = statements
        self._begun = time.monotonic()
        self._tell_at = self._begun + QUIET
        self._where = ""

    def begin(self, step: Migration, done: int) -> None:
        """Begin a statement of a script, after a number of others."""
        self._where = f"statement {done + 1} of {self._statements}, in {step.name}"

    def tell(self) -> int:
        """Log the progress if it is time for that. SQLite calls this within long statements; 0 lets it continue."""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + EVERY
            logger.info("%s: %s, after %.1f s", self._what, self._where, now - self._begun)
        return 0

    def end(self) -> None:
        """Log the end, if the migration took long."""
        taken = time.monotonic() - self._begun
        if taken >= QUIET:
            logger.info("%s is complete, after %.1f s", self._what, taken)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> list[str]:
    """The statements of a script; `executescript` would commit between them."""
    statements, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return statements
