"""Copies the readable rows of a damaged queue file, which is not changed, into a new one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Final

from tako_lite.errors import BadInput, NotFound, StoreDamaged, StoreError, StoreGone
from tako_lite.paths import sync
from tako_lite.store.rescued import Rescued, Tally
from tako_lite.store.sqlite.file import connect, translate
from tako_lite.store.sqlite.queries import rescue as sql
from tako_lite.store.sqlite.rescue.btree import INDEX, TABLE, Key
from tako_lite.store.sqlite.rescue.reader import DamagedCopy, damaged_copy, unreadable
from tako_lite.store.sqlite.rescue.repair import repair
from tako_lite.store.sqlite.rescue.salvage import Found, Row, Salvage, Tree

_TYPES: Final = {"TEXT": str, "INTEGER": int}
_IN_JSON: Final = {
    "runs": ("payload", "result", "error"),
    "large_values": ("value",),
    "steps": ("result", "error"),
    "attempts": ("error",),
    "minutes": ("buckets",),
    "activity": ("detail",),
    "signals": ("payload",),
    "triggers": ("cursor", "error"),
}
"""The columns with JSON; an empty text refers to a long value."""
_OF_RUNS: Final = ("runs", "large_values", "steps", "waits")
_ROWID: Final = ("rowid",)
_SCRATCH: Final = ".tako-rescue-"


def rescue(queue: Path, file: Path, now: int) -> Rescued:
    """Create a queue file from the readable rows of another, or nothing on failure; the caller keeps writers away.

    Raises NotFound if there is no queue, StoreGone if only its log exists, BadInput if the file cannot be created,
    StoreDamaged if nothing can be read, and StoreError if access to the queue is denied.
    """
    _refuse_missing(queue)
    if os.path.lexists(file):
        raise BadInput(f"{file} already exists", hint="choose a file name that does not exist")
    done = Rescued(file)
    try:
        with _scratch(file.parent) as scratch:
            made = scratch / "new.db"
            with closing(connect(made, "process")) as new:
                for setting in ("journal_mode = DELETE", "journal_mode = MEMORY", "synchronous = OFF"):
                    new.execute(f"PRAGMA {setting}")
                new.execute("BEGIN")
                with damaged_copy(queue, scratch, made) as left:
                    done.log_is_whole = left.log_is_whole
                    for (table,) in new.execute(sql.tables).fetchall():
                        _bring_over(new, left, table, done)
                if not any(tally.rescued or tally.was_read for tally in done.tables.values()):
                    raise _nothing_left(queue)
                if not done.is_all:
                    repair(new, done, now)
                new.execute("COMMIT")
                _check_integrity(new)
            _publish(made, file)
    except (FileNotFoundError, NotADirectoryError, PermissionError, FileExistsError) as error:
        raise BadInput(
            f"cannot make {file}: {error.strerror}", hint="choose a file in an existing folder that you can write to"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise translate(error, file) from error
    done.size = file.stat().st_size
    return done


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for a copy of the queue, locked while in use. Folders left by killed rescues are removed."""
    for left in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError), _locked(left):
            rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch, _locked(Path(scratch)):
        yield Path(scratch)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Raises OSError if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _refuse_missing(queue: Path) -> None:
    try:
        queue.stat()
    except FileNotFoundError as error:
        log = Path(f"{queue}-wal")
        if not os.path.lexists(log):
            raise NotFound(f"{queue} does not exist: nothing was ever enqueued here") from error
        raise StoreGone(
            f"{queue} was moved or deleted, and its log {log.name}, which is still there, is not enough without it",
            hint="put the file back beside its log and try again, or move the log away and bring a backup back",
        ) from error
    except OSError as error:
        raise unreadable(queue, error) from error


def _bring_over(new: sqlite3.Connection, left: DamagedCopy, table: str, done: Rescued) -> None:
    """Copy the readable rows of a table into the new file, and count the others."""
    tally = done.tables[table] = Tally()
    tree = _tree(new, left, table)
    if not tree.columns:
        return  # an older release created the file
    found = Found()
    salvage = Salvage(left.connection, left.pages)
    for row in salvage.rows(tree, found):
        if _put(new, tree, row):
            tally.rescued += 1
        else:
            found.lost.add(row[: len(tree.key)])
    index = _index(new, left, table) if tree.key == _ROWID else None
    listed = Found()
    missing = {} if index is None else _missing(new, salvage, index, listed)
    if index is not None and listed.is_whole:
        unlisted = _unlisted(new, left, index)
        tally.unlisted = len(unlisted)
        if table == "runs":
            done.unlisted.update(str(key[0]) for key in unlisted)
    if not found.is_whole and table in _OF_RUNS:
        tally.rescued += _adopt(new, left, tree, missing)
    if not found.is_whole and table == "waits":
        tally.rescued += _restore_waits(new, left, salvage)
    tally.was_read = found.is_whole
    tally.lost, tally.is_complete = len(found.lost), found.is_whole
    if index is not None and (listed.is_whole or not found.is_whole):
        tally.lost = len(missing) if listed.is_whole else max(len(found.lost), len(missing))
        tally.is_complete = found.is_whole or listed.is_whole
        if table == "runs":
            done.runs.update(str(key[0]) for key in missing.values())


def _tree(new: sqlite3.Connection, left: DamagedCopy, table: str) -> Tree:
    """The tree of a table, read by its rowids or else by its primary key."""
    (is_bare,) = new.execute(sql.without_rowid, (table,)).fetchone()
    names, kinds = _primary_key(new, table) if is_bare else (_ROWID, (int,))
    has = {name for name, _, _ in left.connection.execute(sql.columns, (table,))}
    columns = tuple(name for name, _, _ in new.execute(sql.columns, (table,)) if name in has)
    return Tree(table, "NOT INDEXED", _root(left, table), names, kinds, columns)


def _index(new: sqlite3.Connection, left: DamagedCopy, table: str) -> Tree:
    """The index on the primary key of a table with rowids: a second source of which rows exist."""
    name = f"sqlite_autoindex_{table}_1"
    return Tree(table, f"INDEXED BY {name}", _root(left, name), *_primary_key(new, table), _ROWID)


def _primary_key(new: sqlite3.Connection, table: str) -> tuple[tuple[str, ...], tuple[type, ...]]:
    columns = sorted(new.execute(sql.columns, (table,)), key=lambda column: int(column[2]))
    own = [(str(name), _TYPES[kind]) for name, kind, place in columns if place]
    return tuple(name for name, _ in own), tuple(kind for _, kind in own)


def _root(left: DamagedCopy, name: str) -> int:
    """The root page of a tree; 0 if it is unknown."""
    pages = [int(page) for (page,) in left.connection.execute(sql.root, (name,))]
    return pages[0] if pages else 0


def _missing(new: sqlite3.Connection, salvage: Salvage, index: Tree, listed: Found) -> dict[int, Key]:
    """The rows, by rowid, that are in an index but not in the new file."""
    return {row[-1]: row[:-1] for row in salvage.rows(index, listed) if not _has(new, index._replace(way=""), row[:-1])}


def _unlisted(new: sqlite3.Connection, left: DamagedCopy, index: Tree) -> list[Key]:
    """The keys of rows in the new file that are not in an undamaged index."""
    keys = new.execute(sql.keys.format(key=", ".join(index.key), table=index.table))
    return [key for key in keys if not _has(left.connection, index, key)]


def _has(connection: sqlite3.Connection, tree: Tree, key: Key) -> bool:
    """Whether a row with a key exists."""
    statement = sql.has.format(table=tree.table, way=tree.way, key=", ".join(tree.key), marks=", ".join("?" * len(key)))
    return connection.execute(statement, key).fetchone() is not None


def _adopt(new: sqlite3.Connection, left: DamagedCopy, tree: Tree, missing: dict[int, Key]) -> int:
    """Copy rows from trees that are cut off from their table into the new file, and return their number.

    Rows with a rowid are copied if the index lists them, and then no longer count as missing. The others must pass its checks.
    """
    adopted = 0
    form = TABLE if tree.key == _ROWID else INDEX
    for page in left.strays():
        if left.pages.read(page)[0] not in form:
            continue
        with left.grafted(tree.table, page) as connection:
            for row in Salvage(connection, left.pages).rows(tree._replace(root=page), Found()):
                first, *_ = row  # the rowid, where the table has one
                known = form is INDEX or (first in missing and set(missing[first]) <= set(row))
                if known and _put(new, tree, row):
                    adopted += 1
                    missing.pop(first, None)
    return adopted


def _restore_waits(new: sqlite3.Connection, left: DamagedCopy, salvage: Salvage) -> int:
    """Restore the waits for children that only their index still has, and return their number."""
    key = ("kind", "key", "run_id", "name")
    index = Tree("waits", "INDEXED BY waits_key", _root(left, "waits_key"), key, (str,) * len(key), (), "key IS NOT NULL")
    return sum(
        new.execute(sql.restore_wait, {"child": child, "parent": parent, "name": name}).rowcount
        for kind, child, parent, name in salvage.rows(index, Found())
        if kind == "child"
    )


def _put(new: sqlite3.Connection, tree: Tree, row: Row) -> bool:
    """Whether the new file accepts a row, given with its key in front."""
    columns, values = tree.columns, row[len(tree.key) :]
    statement = sql.put.format(table=tree.table, columns=", ".join(columns), marks=", ".join("?" * len(columns)))
    try:
        for name in _IN_JSON.get(tree.table, ()):
            if text := values[columns.index(name)]:
                json.loads(text)
        new.execute(statement, values)
    except (sqlite3.IntegrityError, ValueError, TypeError, RecursionError):
        return False
    return True


def _check_integrity(new: sqlite3.Connection) -> None:
    (found,) = new.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok" or new.execute("PRAGMA foreign_key_check").fetchall():
        raise StoreError(f"the new file is damaged and was deleted: {found}", hint="the disk may be at fault: `dmesg`")


def _publish(made: Path, file: Path) -> None:
    """Give the finished file its name, unless a file of that name exists by now."""
    sync(made)
    try:
        os.link(made, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file)) from None
        made.rename(file)
    sync(file.parent)


def _nothing_left(queue: Path) -> StoreDamaged:
    command = f"sqlite3 {shlex.quote(str(queue))} .recover | sqlite3 recovered.db"
    return StoreDamaged(
        f"nothing in {queue} can be read as a queue",
        hint=f"bring a backup back; the last resort is the sqlite3 program of https://sqlite.org: {command}",
    )
