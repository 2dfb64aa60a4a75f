"""Forward-only migrations: one transaction applies those that a file lacks and records them.

`PRAGMA user_version` is the number of the newest migration that a file has.
"""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

from tako_lite.errors import StoreTooNew, StoreTooOld
from tako_lite.store.sql import folder_of

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
    """Bring a file that is not newer up to date, in one transaction: readers see either the old schema or the newest."""
    steps = migrations(package)
    if _version(connection) >= steps[-1].number:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # another process may have been faster
        for step in steps:
            if step.number > version:
                for statement in _statements(step.script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


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
