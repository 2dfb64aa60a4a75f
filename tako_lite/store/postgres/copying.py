"""A queue in a database as the source and as the target of a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from tako_lite.errors import NotFound
from tako_lite.store.copying import TABLES, Row, copy, refuse_full, refuse_served
from tako_lite.store.opening import QueueCheck, Restored
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import LONG, apply_settings, connect, translate
from tako_lite.store.postgres.migrate import prepare, refuse_newer, refuse_older, refuse_other_project, version_of
from tako_lite.store.postgres.transaction import Connection
from tako_lite.store.sqlite.copying import new_file
from tako_lite.store.sqlite.restore import open_backup

_UNLIMITED: Final = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "5s"}
_PORTION: Final = 1000
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_COLUMNS: Final = """
SELECT attname, atttypid = 'boolean'::regtype FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_SERVERS: Final = """
SELECT name, host FROM servers WHERE ended_at IS NULL AND renewed_at + lease > clock_timestamp() ORDER BY name
"""


class PostgresSide:
    """`store.copying.Source` and `Target` on a connection in a transaction."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self.connection = connection
        self._address = address
        self.replaced = 0

    def __str__(self) -> str:
        return f"{self._address} (schema {self._address.schema})"

    def columns(self, table: str) -> list[str]:
        return [name for name, _ in self.connection.execute(_COLUMNS, [table]).fetchall()]

    def count(self, table: str) -> int:
        found = self.connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)), prepare=False)
        return int(found.fetchall()[0][0])

    def count_states(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT state, count(*) FROM runs GROUP BY state ORDER BY state").fetchall())

    def servers(self) -> list[str]:
        return [f"{name} (on {host})" for name, host in self.connection.execute(_SERVERS).fetchall()]

    def read_rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        with self.connection.cursor(name="copied") as cursor:
            cursor.itersize = _PORTION
            cursor.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table)))
            yield from cursor

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        flags: dict[str, bool] = dict(self.connection.execute(_COLUMNS, [table]).fetchall())
        booleans = [at for at, column in enumerate(columns) if flags[column]]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        with self.connection.cursor() as cursor, cursor.copy(statement) as into:
            for row in rows:
                into.write_row(self._fitting(row, booleans))

    def _fitting(self, row: Row, booleans: Sequence[int]) -> list[Any]:
        """A row with booleans where SQLite has numbers, and without NUL, which PostgreSQL does not store in text."""
        values = list(row)
        for at in booleans:
            values[at] = values[at] if values[at] is None else bool(values[at])
        for at, value in enumerate(values):
            if type(value) is str and "\0" in value:
                values[at] = value.replace("\0", _REPLACEMENT)
                self.replaced += 1
        return values


@contextmanager
def open_source(address: Address, *, exclusive: bool = False) -> Iterator[PostgresSide]:
    """One moment of the queue in a database; with `exclusive`, nothing changes it meanwhile. Raises NotFound, StoreError."""
    with _connected(address) as connection:
        version = version_of(connection, address.schema)
        if version == 0:
            raise NotFound(f"there is no queue in {address}: it has no schema {address.schema} with one")
        refuse_newer(connection, address.schema, version)
        refuse_older(version)
        refuse_other_project(connection, address)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ" + ("" if exclusive else ", READ ONLY"))
            if exclusive:
                _lock(connection, address, "SHARE")
            apply_settings(connection, address.schema, _UNLIMITED, local=True)
            yield PostgresSide(connection, address)


@contextmanager
def open_target(address: Address) -> Iterator[PostgresSide]:
    """The queue in a database, which is created if needed, for a copy that is committed at the end. Raises StoreError."""
    with _connected(address) as connection:
        prepare(connection, address)
        with connection.transaction():
            _lock(connection, address, "SHARE ROW EXCLUSIVE")
            apply_settings(connection, address.schema, _UNLIMITED, local=True)
            yield PostgresSide(connection, address)


def back_up(address: Address, file: Path) -> int:
    """Write the queue of one moment to a new queue file, and return its size in bytes. Raises NotFound and BadInput."""
    with open_source(address) as source, new_file(file) as target:
        copy(source, target)
    return file.stat().st_size


def restore(address: Address, backup: Path, check: QueueCheck) -> Restored:
    """Store what a backup has in an empty schema. Raises BadInput for one that has a queue, AlreadyServing, StoreError."""
    with open_backup(backup, check) as source, open_target(address) as target:
        refuse_served(target)
        refuse_full(target, _how_to_empty(address))
        copy(source, target)
    return Restored(str(target), backup.stat().st_size, None)


def _how_to_empty(address: Address) -> str:
    kept = f"{address.schema}_{datetime.now(UTC):%Y%m%d}"
    rename = f'ALTER SCHEMA "{address.schema}" RENAME TO "{kept}"'
    return f"keep the old one under another name, then restore again: psql -c '{rename}'"


@contextmanager
def _connected(address: Address) -> Iterator[Connection]:
    try:
        with closing(connect(address, "copy", _UNLIMITED, patience=LONG)) as connection:
            yield connection
    except psycopg.Error as error:
        raise translate(error, address) from error


def _lock(connection: Connection, address: Address, mode: str) -> None:
    """Keep other programs from changing the queue. LOCK takes no snapshot, so that one sees what they have committed."""
    tables = sql.SQL(", ").join(sql.Identifier(address.schema, table) for table in TABLES)
    connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(tables, sql.SQL(mode)))
