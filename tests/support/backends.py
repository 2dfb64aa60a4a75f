"""Where the queue of a test is: in a file, or in a schema of a PostgreSQL database."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tako_lite.store.base import Effects, Store
from tako_lite.store.opening import Queue, queue_at
from tests.support.checker import Stored, late_waits, read
from tests.support.postgres import Database, connected
from tests.support.store_bench import BOOT_ID, HandClock

LIVE: Final = ("pending", "running", "waiting")
ABANDONED: Final = """
    SELECT id FROM runs
    WHERE state = 'running' AND boot_id NOT IN (SELECT boot_id FROM servers WHERE ended_at IS NULL)
"""

EMPTY: Final = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL lock_timeout = '5s';
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema AND tablename <> 'meta' LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
        UPDATE meta SET project = NULL, version = 0;
    END $$
"""


class Backend(Protocol):
    """Gives each folder a queue. A folder has the same queue until it is forgotten."""

    name: str
    state_dir: Path | None
    """The state folder, where that of a test is not the default."""

    def settings(self, folder: Path) -> dict[str, str]:
        """The keys of `[queue]` that lead to the queue of a folder; none where that is the default."""

    def queue(self, folder: Path) -> Queue:
        """The queue of a folder, not open yet."""

    def strays(self, folder: Path) -> list[str]:
        """What is wrong with a queue that nothing has open: damage, and rows that belong to no run."""

    def exists(self, folder: Path) -> bool:
        """Whether the queue of a folder was made."""

    def is_live(self, folder: Path) -> bool:
        """Whether a run in it has not ended."""

    def execute(self, folder: Path, statement: str) -> list[Any]:
        """The rows that a statement of SQL answers in a queue, which may be open."""

    def read(self, folder: Path) -> tuple[list[str], Stored]:
        """What is wrong with a queue itself, and what is in it; nothing may have it open."""

    def refusing_updates(self, folder: Path) -> AbstractContextManager[None]:
        """Let every change of a run fail with "no room"."""

    def forget(self, folder: Path) -> None:
        """Delete the queue of a folder; nothing may have it open."""


class SqliteBackend:
    """A queue file, where a project has it by default."""

    name = "sqlite"
    state_dir: Path | None = None

    def file(self, folder: Path) -> Path:
        return (self.state_dir or folder / ".tako") / "queue.db"

    def settings(self, folder: Path) -> dict[str, str]:
        return {}

    def queue(self, folder: Path) -> Queue:
        return queue_at("sqlite:///.tako/queue.db", folder)

    def strays(self, folder: Path) -> list[str]:
        if not self.exists(folder):
            return []
        with closing(sqlite3.connect(self.file(folder))) as queue:
            found = [f"quick_check: {row[0]}" for row in queue.execute("PRAGMA quick_check") if row[0] != "ok"]
            for table in ("steps", "waits", "large_values"):
                rows = queue.execute(f"SELECT * FROM {table} WHERE run_id NOT IN (SELECT id FROM runs)").fetchall()
                found += [f"{table}: {row}" for row in rows]
        return found

    def exists(self, folder: Path) -> bool:
        return self.file(folder).exists()

    def is_live(self, folder: Path) -> bool:
        with closing(sqlite3.connect(f"file:{self.file(folder)}?mode=ro", uri=True)) as queue:
            if not queue.execute("SELECT 1 FROM sqlite_schema WHERE name = 'runs'").fetchone():
                return False  # its daemon was killed before it created the tables
            return bool(queue.execute("SELECT 1 FROM runs WHERE state IN (?, ?, ?) LIMIT 1", LIVE).fetchone())

    def execute(self, folder: Path, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.file(folder), timeout=10)) as queue, queue:
            return queue.execute(statement).fetchall()

    def read(self, folder: Path) -> tuple[list[str], Stored]:
        return read(self.file(folder))

    @contextmanager
    def refusing_updates(self, folder: Path) -> Iterator[None]:
        with closing(sqlite3.connect(self.file(folder))) as other:
            other.execute("CREATE TRIGGER full BEFORE UPDATE ON runs BEGIN SELECT raise(ABORT, 'no room'); END")
            yield
            other.execute("DROP TRIGGER full")

    def forget(self, folder: Path) -> None:
        """The file stays with the folder of the test."""


class PostgresBackend:
    """A schema for each folder, in one database. A schema that is forgotten is emptied, and another folder gets it."""

    name = "postgres"
    state_dir: Path | None = None

    def __init__(self, database: Database) -> None:
        self.database = database
        self._schemas: dict[Path, str] = {}
        self._empty: list[str] = []
        self._urls: dict[Path, str] = {}

    def schema(self, folder: Path) -> str:
        """The schema of a folder; the store makes it, unless it is there."""
        if folder not in self._schemas:
            self._schemas[folder] = self._empty.pop() if self._empty else f"tako_{secrets.token_hex(4)}"
        return self._schemas[folder]

    def share(self, folder: Path, other: Path) -> None:
        """Give a folder the queue of another."""
        self._schemas[folder] = self.schema(other)

    def lead(self, folder: Path, url: str) -> None:
        """Lead the daemons of a folder to its queue by another way."""
        self._urls[folder] = url

    def settings(self, folder: Path) -> dict[str, str]:
        return {"url": self._urls.get(folder, self.database.url), "schema": self.schema(folder)}

    def queue(self, folder: Path) -> Queue:
        return queue_at(self.database.url, folder, schema=self.schema(folder))

    def strays(self, folder: Path) -> list[str]:
        if not self.exists(folder):
            return []
        found = []
        for table in ("steps", "waits"):
            rows = self.execute(folder, f"SELECT * FROM {table} WHERE run_id NOT IN (SELECT id FROM runs)")
            found += [f"{table}: {row}" for row in rows]
        return found

    def exists(self, folder: Path) -> bool:
        return self.database.execute("SELECT to_regclass(%s)", f"{self.schema(folder)}.runs") != [(None,)]

    def is_live(self, folder: Path) -> bool:
        runs = f"{self.schema(folder)}.runs"
        return bool(self.database.execute(f"SELECT FROM {runs} WHERE state = ANY (%s) LIMIT 1", [*LIVE]))

    def execute(self, folder: Path, statement: str) -> list[Any]:
        return self.database.execute(statement, schema=self.schema(folder))

    def read(self, folder: Path) -> tuple[list[str], Stored]:
        from psycopg.rows import dict_row

        found = self.strays(folder)
        with connected(self.database.url, self.schema(folder)) as connection:
            rows = connection.cursor(row_factory=dict_row)
            runs = {row["id"]: row for row in rows.execute("SELECT runs.*, result AS value FROM runs")}
            found += [f"{row['id']}: is running on no live server" for row in rows.execute(ABANDONED)]
            steps = {(row["run_id"], row["name"]): row["result"] for row in rows.execute("SELECT * FROM steps")}
            waits = rows.execute("SELECT run_id, name FROM waits").fetchall()
            (pruned,) = connection.execute("SELECT coalesce(sum(pruned), 0)::int FROM ledger").fetchone() or (0,)
        return found + late_waits(runs, waits), Stored(runs, steps, pruned)

    @contextmanager
    def refusing_updates(self, folder: Path) -> Iterator[None]:
        schema = self.schema(folder)
        self.database.execute(f"""
            CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;
            CREATE TRIGGER no_room BEFORE UPDATE ON {schema}.runs EXECUTE FUNCTION {schema}.refuse()
        """)
        yield
        self.database.execute(f"DROP TRIGGER no_room ON {schema}.runs")

    def forget(self, folder: Path) -> None:
        if folder in self._schemas and self.exists(folder):
            self.execute(folder, EMPTY)
            self._empty.append(self._schemas[folder])
        gone = self._schemas.pop(folder, None)
        self._schemas = {other: schema for other, schema in self._schemas.items() if schema != gone}


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of queue in turn; PostgreSQL in the tests with the mark `postgres`, which `make test-postgres` selects."""
    return SqliteBackend() if request.param == "sqlite" else PostgresBackend(request.getfixturevalue("database"))


def open_store(queue: Queue, clock: HandClock, on_commit: Callable[[Effects], None], boot_id: str = BOOT_ID) -> Store:
    """The store of a server on a queue, not started yet."""
    return queue.open("process", clock, "lax", boot_id, on_commit)
