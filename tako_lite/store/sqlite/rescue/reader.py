"""What is left of a damaged queue file: a private copy, opened so that one damaged page does not close all others."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.errors import StoreError
from tako_lite.store.migrate import migrations, refuse_newer
from tako_lite.store.sqlite.file import APPLICATION_ID, PACKAGE, not_ours
from tako_lite.store.sqlite.queries import rescue as sql
from tako_lite.store.sqlite.rescue.btree import Pages

_LARGE: Final = 1 << 20
_SMALL: Final = 4096
"""Bytes that are given up where a disk does not give them."""
_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""What a log begins with."""
_USED: Final = slice(16, 20)
"""Where the index of a log has how many frames of it are used."""
_COUNT: Final = slice(28, 32)
"""Where the first page has the number of pages."""


class Remains(NamedTuple):
    """A private copy of a damaged queue file: a connection to it, and its pages."""

    path: Path
    connection: sqlite3.Connection
    pages: Pages
    log_is_whole: bool
    """Whether nothing of the log had to be left out because of damage in front of it."""

    def strays(self) -> list[int]:
        """The pages at which trees begin that were cut off."""
        return self.pages.strays({1, *(root for (root,) in self.connection.execute(sql.roots))})

    @contextmanager
    def grafted(self, table: str, page: int) -> Iterator[sqlite3.Connection]:
        """A connection to which a table is what begins at a page, from here on to others that are opened too."""
        with closing(_open(self.path)) as connection:
            connection.execute(sql.graft, (page, table))
        with closing(_open(self.path)) as connection:  # one that has read the schema does not look again
            yield connection


@contextmanager
def remains(queue: Path, scratch: Path, empty: Path) -> Iterator[Remains]:
    """A copy of a queue file and its log; `empty` is a new queue file.

    Where the table of contents is damaged, the copy gets that of the new file: whoever makes a queue with this schema makes
    the same trees at the same pages. Raises StoreDamaged where it is no queue of tako-lite, StoreTooNew.
    """
    copy = scratch / "damaged.db"
    for suffix in ("", "-wal"):
        source = Path(f"{queue}{suffix}")
        if source.exists():
            copy_what_can_be_read(source, Path(f"{copy}{suffix}"))
    with closing(sqlite3.connect(empty)) as connection:
        tables = {name for (name,) in connection.execute(sql.tables)}
        roots = {number for (number,) in connection.execute(sql.roots)}
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    log_is_whole = _log_is_whole(copy, size)
    if not (is_own := _has_contents(copy, queue, tables)):
        _give_contents(copy, empty, size, roots)
        _has_contents(copy, queue, tables)
    with closing(_open(copy)) as connection, closing(Pages(copy, size, knows_free=is_own)) as pages:
        yield Remains(copy, connection, pages, log_is_whole)


def copy_what_can_be_read(source: Path, target: Path) -> None:
    """Copy a file; where the disk gives an error the copy has zeros. Raises StoreError where it may not be read."""
    with _opened(source) as old, target.open("xb", buffering=0) as new:
        length = os.fstat(old.fileno()).st_size
        new.truncate(length)
        at, step = 0, _LARGE
        while at < length:
            try:
                content = os.pread(old.fileno(), step, at)
            except OSError:
                if step == _SMALL:
                    at += _SMALL
                step = _SMALL
            else:
                at += os.pwrite(new.fileno(), content, at)
                step = _LARGE if at % _LARGE == 0 else _SMALL
                if not content:
                    return  # it became shorter meanwhile


def unreadable(file: Path, error: OSError) -> StoreError:
    """What is said of a file that the system does not let us read."""
    return StoreError(f"{file} cannot be read: {error.strerror}", hint="tako-lite doctor says which files are not yours")


def _opened(source: Path) -> FileIO:
    try:
        return source.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(source, error) from error


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")  # also opens a file that was cut off, and forgives a part of the schema
    return connection


def _log_is_whole(copy: Path, size: int) -> bool:
    """Whether SQLite can use the log up to its last commit. Without a word it leaves out what is behind damage."""
    log, index = Path(f"{copy}-wal"), Path(f"{copy}-shm")
    if not log.exists():
        return True
    with closing(_open(copy)) as connection:
        with suppress(sqlite3.DatabaseError):
            connection.execute(sql.tables).fetchall()
        used = int.from_bytes(index.read_bytes()[_USED], sys.byteorder) if index.exists() else 0
        return not any(_commits_behind(log, used, size))


def _commits_behind(log: Path, used: int, size: int) -> Iterator[bool]:
    """Of each frame behind those that are used, whether it is a commit and younger than the log's last new beginning.

    The form is that of https://www.sqlite.org/fileformat2.html#walformat.
    """
    with log.open("rb") as file:
        header = file.read(32)
        salts = header[16:24] if header[:4] in _MAGIC else file.read(16)[8:]
        while len(start := os.pread(file.fileno(), 24, 32 + used * (24 + size))) == 24:
            yield any(start[4:8]) and start[8:16] == salts
            used += 1


def _has_contents(copy: Path, queue: Path, wanted: set[str]) -> bool:
    """Whether the table of contents can be read; what was in the log is in the file behind that."""
    with closing(_open(copy)) as connection:
        try:
            tables = {name for (name,) in connection.execute(sql.tables)}
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            refuse_newer(connection, PACKAGE)
        except sqlite3.DatabaseError:
            return False
    if tables and owner != APPLICATION_ID:
        raise not_ours(queue)
    return tables >= wanted or version < migrations(PACKAGE)[-1].number


def _give_contents(copy: Path, empty: Path, size: int, roots: set[int]) -> None:
    """Put what an empty queue file has besides the beginnings of its trees into the copy."""
    with copy.open("r+b") as damaged, empty.open("rb") as new:
        count = max(os.fstat(damaged.fileno()).st_size, os.fstat(new.fileno()).st_size) // size
        for number in range(1, os.fstat(new.fileno()).st_size // size + 1):
            page = new.read(size)
            if number == 1:
                page = page[: _COUNT.start] + count.to_bytes(4) + page[_COUNT.stop :]
            if number not in roots:
                damaged.seek((number - 1) * size)
                damaged.write(page)
