"""The queue file while no daemon runs: opened with plain sqlite3 for one call, and closed again.

A writer holds the queue's write lock meanwhile, so that closing may checkpoint. The operations are those of the daemon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from tako_lite.clock import Clock
from tako_lite.store import reading
from tako_lite.store.base import Totals
from tako_lite.store.sqlite.backup import back_up, size_of
from tako_lite.store.sqlite.file import Durability, connect, connect_reading, has_tables, translate
from tako_lite.store.sqlite.transaction import SqliteSnapshot, commit, consistent
from tako_lite.store.transactional_offline import TransactionalOfflineStore
from tako_lite.store.transitions import groups
from tako_lite.store.transitions.transaction import Snapshot, Transaction

T = TypeVar("T")

NOTHING: Final = Totals({}, {}, {"file_bytes": 0, "pruned": {}})


class SqliteOfflineStore(TransactionalOfflineStore):
    """`store.base.OfflineStore` on a file. Writing creates and migrates the file; reading never does."""

    def __init__(self, path: Path, durability: Durability, clock: Clock) -> None:
        super().__init__(clock)
        self._path = path
        self._durability = durability

    def back_up(self, file: Path) -> int | None:
        return self._with_reader(lambda connection: back_up(connection, file), None)

    def get_totals(self) -> Totals:
        now = self._clock.now()

        def read(snapshot: SqliteSnapshot) -> Totals:
            stats = {"file_bytes": size_of(snapshot.connection), "pruned": reading.count_pruned(snapshot)}
            return Totals(reading.count_by_group(snapshot, now), groups.list_overrides(snapshot), stats)

        return self._with_reader(lambda connection: consistent(connection, read), NOTHING)

    def _commit(self, operation: Callable[[Transaction], T]) -> T:
        try:
            with closing(connect(self._path, self._durability)) as connection:
                results, _ = commit(connection, self._clock.now(), [operation])
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        result: T = results[0]
        return result

    def _read(self, function: Callable[[Snapshot], T], nothing: T) -> T:
        return self._with_reader(lambda connection: consistent(connection, function), nothing)

    def _with_reader(self, function: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        try:
            if not self._path.exists():
                return nothing
            with closing(connect_reading(self._path)) as connection:
                return function(connection) if has_tables(connection) else nothing
        except (sqlite3.Error, OSError) as error:
            raise translate(error, self._path) from error
