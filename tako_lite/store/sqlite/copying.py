"""A queue file as the source and as the target of a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tako_lite.errors import BadInput, NotFound
from tako_lite.paths import sync
from tako_lite.store.copying import Row
from tako_lite.store.migrate import migrate
from tako_lite.store.sqlite.file import APPLICATION_ID, PACKAGE, connect, translate
from tako_lite.store.sqlite.transaction import SqliteTransaction

_LARGE: Final = {
    "runs": {"payload": "'payload'", "result": "'result'", "error": "'error'"},
    "steps": {"result": "'step:' || name"},
}
"""The columns whose long values are in `large_values`, with the kind that they have there."""
_PORTION: Final = 1000


class SqliteSide:
    """`store.copying.Source` and `Target` on a connection in a transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        self.replaced = 0

    def __str__(self) -> str:
        return str(self._path)

    def columns(self, table: str) -> list[str]:
        return [name for (name,) in self.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]

    def count(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608

    def count_states(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT state, count(*) FROM runs GROUP BY state ORDER BY state"))

    def servers(self) -> list[str]:
        """The locks of the file say who serves it."""
        return []

    def read_rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        chosen = ", ".join(_whole(table, column) for column in columns)
        yield from self.connection.execute(f"SELECT {chosen} FROM {table}")  # noqa: S608

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        source = iter(rows)
        while portion := list(islice(source, _PORTION)):
            if table in _LARGE:
                portion = [self._shortened(table, columns, row) for row in portion]
            self.connection.executemany(statement, portion)

    def _shortened(self, table: str, columns: Sequence[str], row: Row) -> Row:
        """A row without its long values, which are stored beside it."""
        values: list[Any] = list(row)
        for at, column in enumerate(columns):
            if column in _LARGE[table] and values[at] is not None and len(values[at]) > SqliteTransaction.inline:
                named = dict(zip(columns, row, strict=True))
                id, kind = (named["id"], column) if table == "runs" else (named["run_id"], f"step:{named['name']}")
                self.connection.execute(
                    "INSERT INTO large_values (run_id, kind, value) VALUES (?, ?, ?)", (id, kind, values[at])
                )
                values[at] = ""
        return tuple(values)


def _whole(table: str, column: str) -> str:
    """What selects a column, wherever its value is stored."""
    kind = _LARGE.get(table, {}).get(column)
    if kind is None:
        return column
    id = "id" if table == "runs" else "run_id"
    stored = f"(SELECT value FROM large_values WHERE run_id = {table}.{id} AND kind = {kind})"  # noqa: S608
    return f"CASE {column} WHEN '' THEN {stored} ELSE {column} END"


@contextmanager
def open_source(path: Path) -> Iterator[SqliteSide]:
    """One moment of a queue file, which is brought up to date first. Raises NotFound and StoreError."""
    if not path.exists():
        raise NotFound(f"{path} does not exist: nothing was ever enqueued here")
    with _transaction(path, "BEGIN") as connection:
        yield SqliteSide(connection, path)


@contextmanager
def open_target(path: Path) -> Iterator[SqliteSide]:
    """A queue file, which is created if needed, for a copy that is committed at the end. Raises StoreError."""
    with _transaction(path, "BEGIN IMMEDIATE") as connection:
        yield SqliteSide(connection, path)


@contextmanager
def new_file(path: Path) -> Iterator[SqliteSide]:
    """A new queue file with mode 0600 for a copy. It is deleted after an error. Raises BadInput if the file exists."""
    if not path.is_absolute() or "\0" in str(path):
        raise BadInput("the file name of a backup must be an absolute path")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise BadInput(f"{path} already exists", hint="choose a file name that does not exist") from None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for setting in ("journal_mode = MEMORY", "synchronous = OFF", f"application_id = {APPLICATION_ID}"):
                connection.execute(f"PRAGMA {setting}")
            migrate(connection, PACKAGE)
            connection.execute("BEGIN IMMEDIATE")
            yield SqliteSide(connection, path)
            connection.execute("COMMIT")
        sync(path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise translate(error, path) from error
        raise


@contextmanager
def _transaction(path: Path, begin: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(connect(path, "disk")) as connection:
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error
