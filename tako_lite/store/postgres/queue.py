"""A queue in a PostgreSQL database that is not open yet.

Clients of a daemon need its locks only, so the driver is imported when the database is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tako_lite.errors import BadInput, StoreUnreachable
from tako_lite.lock import FileLock
from tako_lite.store.postgres.address import Address

if TYPE_CHECKING:
    from tako_lite.clock import Clock
    from tako_lite.finding import Finding
    from tako_lite.store.base import Effects, OfflineStore, Store
    from tako_lite.store.copying import Source, Target
    from tako_lite.store.migrate import Migrated
    from tako_lite.store.opening import Durability, QueueCheck, Reader, Restored
    from tako_lite.store.rescued import Rescued

DRIVER_HINT: Final = "pip install 'tako-lite[postgres]', or psycopg with the system's libpq: apt install libpq5"


@dataclass(frozen=True, slots=True)
class PostgresQueue:
    """`store.opening.Queue` for a database. `state_dir` holds the locks of this machine's daemon."""

    place: Address
    state_dir: Path

    def __str__(self) -> str:
        return str(self.place)

    @property
    def noun(self) -> str:
        return "database"

    @property
    def address(self) -> str:
        return self.place.identity

    @property
    def schema(self) -> str:
        return self.place.schema

    @property
    def is_file(self) -> bool:
        return False

    @property
    def shown(self) -> dict[str, str]:
        return self.place.shown

    def warning(self) -> str | None:
        return self.place.warning()

    def exists(self) -> bool:
        return True

    def serving_lock(self) -> FileLock:
        """On this machine, one daemon of a project folder; other machines are told apart by their leases."""
        return FileLock(self.state_dir / f"postgres-{self._digest}.lock")

    def write_lock(self) -> FileLock:
        """Many programs may write a database at once: this lock only keeps two of one folder apart, and is never contended."""
        return FileLock(self.state_dir / f"postgres-{self._digest}.write.lock")

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.address.encode()).hexdigest()[:12]

    def folders(self) -> Iterator[Path]:
        yield from ()

    def files(self) -> Iterator[Path]:
        yield from ()

    def open(
        self, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> Store:
        _need_driver()
        from tako_lite.clock import SystemClock
        from tako_lite.store.postgres.clock import DatabaseClock
        from tako_lite.store.postgres.store import PostgresStore

        own = DatabaseClock(clock) if isinstance(clock, SystemClock) else clock
        return PostgresStore(self.place, durability, own, server, boot_id, on_commit)

    def open_offline(self, durability: Durability, clock: Clock) -> OfflineStore:
        _need_driver()
        from tako_lite.store.postgres.offline import PostgresOfflineStore

        return PostgresOfflineStore(self.place, durability, clock)

    def open_reader(self) -> Reader:
        _need_driver()
        from tako_lite.store.postgres.reader import PostgresReader

        return PostgresReader(self.place)

    def open_source(self) -> AbstractContextManager[Source]:
        _need_driver()
        from tako_lite.store.postgres.copying import open_source

        return open_source(self.place, exclusive=True)

    def open_target(self) -> AbstractContextManager[Target]:
        _need_driver()
        from tako_lite.store.postgres.copying import open_target

        return open_target(self.place)

    def migrate(self) -> Migrated:
        _need_driver()
        from tako_lite.store.postgres.script import migrate_at

        return migrate_at(self.place)

    def migration_script(self) -> str:
        _need_driver()
        from tako_lite.store.postgres.script import script_for

        return script_for(self.place)

    def checks(self) -> tuple[tuple[str, Callable[[QueueCheck], Iterator[Finding]]], ...]:
        _need_driver()
        from tako_lite.store.postgres import checks

        return (("database", partial(checks.database, self.place)),)

    def rescue(self, target: Path, now: int) -> Rescued:
        raise BadInput(
            "only a queue file can be rescued, and the queue is in PostgreSQL",
            hint="bring a backup of the database back; tako-lite doctor shows its state",
        )

    def restore(self, backup: Path, check: QueueCheck) -> Restored:
        _need_driver()
        from tako_lite.store.postgres.copying import restore

        return restore(self.place, backup, check)


def _need_driver() -> None:
    """Raise StoreUnreachable where psycopg or libpq is missing."""
    if find_spec("psycopg") is None:
        raise StoreUnreachable("url is postgresql://…, which needs psycopg", hint=DRIVER_HINT)
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise StoreUnreachable(f"url is postgresql://…, which needs libpq: {error}", hint=DRIVER_HINT) from error
