"""Opens a private copy of a damaged queue file so that one damaged page does not make the others unreadable."""

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
"""The bytes that are replaced by zeros when the disk cannot read them."""
_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""The first bytes of a log."""
_USED: Final = slice(16, 20)
"""The offset in the index of a log at which the number of valid frames is stored."""
_COUNT: Final = slice(28, 32)
"""The offset in the first page at which the number of pages is stored."""


class DamagedCopy(NamedTuple):
    """A private copy of a damaged queue file: a connection to it, and its pages."""

    path: Path
    connection: sqlite3.Connection
    pages: Pages
    log_is_whole: bool
    """Whether the log was used completely, with no part left out behind damage."""

    def strays(self) -> list[int]:
        """The root pages of trees that are cut off."""
        return self.pages.strays({1, *(root for (root,) in self.connection.execute(sql.roots))})

    @contextmanager
    def grafted(self, table: str, page: int) -> Iterator[sqlite3.Connection]:
        """A connection on which a table begins at another page, as it then does on connections that are opened later."""
        with closing(_open(self.path)) as connection:
            connection.execute(sql.graft, (page, table))
        with closing(_open(self.path)) as connection:  # a connection that has read the schema does not read it again
            yield connection


@contextmanager
def damaged_copy(queue: Path, scratch: Path, empty: Path) -> Iterator[DamagedCopy]:
    """A copy of a queue file and its log; `empty` is a new queue file.

    If the schema is damaged, the copy takes that of the new file: queues with the same schema have the same trees at the same
    pages. Raises StoreDamaged if the file is not a queue of tako-lite, StoreTooNew if a newer release wrote it.
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
        yield DamagedCopy(copy, connection, pages, log_is_whole)


def copy_what_can_be_read(source: Path, target: Path) -> None:
    """Copy a file, with zeros for what the disk cannot read. Raises StoreError if access to the file is denied."""
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
                    return  # it was truncated meanwhile


def unreadable(file: Path, error: OSError) -> StoreError:
    """The error for a file that this user may not read."""
    return StoreError(
        f"{file} cannot be read: {error.strerror}", hint="run tako-lite doctor: it lists the files of other users"
    )


def _opened(source: Path) -> FileIO:
    try:
        return source.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(source, error) from error


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA writable_schema = ON")  # also opens a truncated file, and tolerates errors in the schema
    except BaseException:
        connection.close()
        raise
    return connection


def _log_is_whole(copy: Path, size: int) -> bool:
    """Whether SQLite can use the log up to its last commit. SQLite ignores everything behind damage, without an error."""
    log, index = Path(f"{copy}-wal"), Path(f"{copy}-shm")
    if not log.exists():
        return True
    with closing(_open(copy)) as connection:
        with suppress(sqlite3.DatabaseError):
            connection.execute(sql.tables).fetchall()
        used = int.from_bytes(index.read_bytes()[_USED], sys.byteorder) if index.exists() else 0
        return not any(_commits_behind(log, used, size))


def _commits_behind(log: Path, used: int, size: int) -> Iterator[bool]:
    """For each frame behind the valid ones, whether it is a commit that was written since the log last restarted.

    The format is that of https://www.sqlite.org/fileformat2.html#walformat.
    """
    with log.open("rb") as file:
        header = file.read(32)
        salts = header[16:24] if header[:4] in _MAGIC else file.read(16)[8:]
        while len(start := os.pread(file.fileno(), 24, 32 + used * (24 + size))) == 24:
            yield any(start[4:8]) and start[8:16] == salts
            used += 1


def _has_contents(copy: Path, queue: Path, wanted: set[str]) -> bool:
    """Whether the schema can be read; afterwards the content of the log is in the file."""
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
    """Copy the schema of an empty queue file, except for its trees, into the copy."""
    with copy.open("r+b") as damaged, empty.open("rb") as new:
        count = max(os.fstat(damaged.fileno()).st_size, os.fstat(new.fileno()).st_size) // size
        for number in range(1, os.fstat(new.fileno()).st_size // size + 1):
            page = new.read(size)
            if number == 1:
                page = page[: _COUNT.start] + count.to_bytes(4) + page[_COUNT.stop :]
            if number not in roots:
                damaged.seek((number - 1) * size)
                damaged.write(page)
