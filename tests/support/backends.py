"""Where the queue of a test is: in a file, or in a schema of a PostgreSQL database."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tako_lite.store.base import Effects, Store
from tako_lite.store.opening import Queue, queue_at
from tests.support.postgres import Database
from tests.support.store_bench import BOOT_ID, HandClock


class Backend(Protocol):
    """Gives each folder a queue. A folder has the same queue until it is forgotten."""

    name: str

    def settings(self, folder: Path) -> dict[str, str]:
        """The keys of `[queue]` that lead to the queue of a folder; none where that is the default."""

    def queue(self, folder: Path) -> Queue:
        """The queue of a folder, not open yet."""

    def strays(self, folder: Path) -> list[str]:
        """What is wrong with a queue that nothing has open: damage, and rows that belong to no run."""

    def refusing_updates(self, folder: Path) -> AbstractContextManager[None]:
        """Let every change of a run fail with "no room"."""

    def forget(self, folder: Path) -> None:
        """Delete the queue of a folder; nothing may have it open."""


class SqliteBackend:
    """A queue file in the folder."""

    name = "sqlite"

    def settings(self, folder: Path) -> dict[str, str]:
        return {}

    def queue(self, folder: Path) -> Queue:
        return queue_at(f"sqlite:///{folder / 'queue.db'}", folder)

    def strays(self, folder: Path) -> list[str]:
        file = folder / "queue.db"
        if not file.exists():
            return []
        with closing(sqlite3.connect(file)) as queue:
            found = [f"quick_check: {row[0]}" for row in queue.execute("PRAGMA quick_check") if row[0] != "ok"]
            for table in ("steps", "waits", "large_values"):
                rows = queue.execute(f"SELECT * FROM {table} WHERE run_id NOT IN (SELECT id FROM runs)").fetchall()
                found += [f"{table}: {row}" for row in rows]
        return found

    @contextmanager
    def refusing_updates(self, folder: Path) -> Iterator[None]:
        with closing(sqlite3.connect(folder / "queue.db")) as other:
            other.execute("CREATE TRIGGER full BEFORE UPDATE ON runs BEGIN SELECT raise(ABORT, 'no room'); END")
            yield
            other.execute("DROP TRIGGER full")

    def forget(self, folder: Path) -> None:
        (folder / "queue.db").unlink(missing_ok=True)


class PostgresBackend:
    """A schema for each folder, in one database."""

    name = "postgres"

    def __init__(self, database: Database) -> None:
        self.database = database
        self._schemas: dict[Path, str] = {}

    def schema(self, folder: Path) -> str:
        """The schema of a folder; the store makes it."""
        return self._schemas.setdefault(folder, f"tako_{secrets.token_hex(4)}")

    def settings(self, folder: Path) -> dict[str, str]:
        return {"url": self.database.url, "schema": self.schema(folder)}

    def queue(self, folder: Path) -> Queue:
        return queue_at(self.database.url, folder, schema=self.schema(folder))

    def strays(self, folder: Path) -> list[str]:
        schema = self.schema(folder)
        if self.database.execute("SELECT to_regclass(%s)", f"{schema}.runs") == [(None,)]:
            return []
        found = []
        for table in ("steps", "waits"):
            rows = self.database.execute(f"SELECT * FROM {schema}.{table} WHERE run_id NOT IN (SELECT id FROM {schema}.runs)")
            found += [f"{table}: {row}" for row in rows]
        return found

    @contextmanager
    def refusing_updates(self, folder: Path) -> Iterator[None]:
        schema = self.schema(folder)
        self.database.execute(f"""
            CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;
            CREATE TRIGGER no_room BEFORE UPDATE ON {schema}.runs EXECUTE FUNCTION {schema}.refuse()
        """)
        yield
        self.database.execute(f"DROP TRIGGER no_room ON {schema}.runs")

    def forget(self, folder: Path) -> None:
        if schema := self._schemas.pop(folder, None):
            self.database.drop_schema(schema)


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of queue in turn; PostgreSQL in the tests with the mark `postgres`, which `make test-postgres` selects."""
    return SqliteBackend() if request.param == "sqlite" else PostgresBackend(request.getfixturevalue("database"))


def open_store(queue: Queue, clock: HandClock, on_commit: Callable[[Effects], None], boot_id: str = BOOT_ID) -> Store:
    """The store of a server on a queue, not started yet."""
    return queue.open("process", clock, "lax", boot_id, on_commit)
