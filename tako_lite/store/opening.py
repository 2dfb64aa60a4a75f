"""Where a queue is, by its URL: the one place that knows which backends there are. Nothing is opened here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from tako_lite.errors import BadInput

if TYPE_CHECKING:
    from tako_lite.clock import Clock
    from tako_lite.finding import Finding
    from tako_lite.lock import FileLock
    from tako_lite.secrets.source import SecretSource
    from tako_lite.store.base import Effects, OfflineStore, Store
    from tako_lite.store.copying import Source, Target
    from tako_lite.store.migrate import Migrated
    from tako_lite.store.rescued import Rescued
    from tako_lite.store.transitions.transaction import Snapshot

T = TypeVar("T")

Durability = Literal["disk", "process"]
"""Whether an acknowledged change survives a power failure, or only the end of the process."""

SQLITE: Final = "sqlite:///"
SHORTEST_LEASE: Final = 15.0
LONGEST_LEASE: Final = 600.0
"""Seconds."""
_DATABASE: Final = ("postgresql://", "postgres://")
_POSTGRES: Final = (*_DATABASE, "env:")
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,49}\Z")


class QueueCheck(NamedTuple):
    """What the checks of a queue need to know; `find_undefined` gets the number of queued runs by workflow."""

    has_daemon: bool
    deep: bool
    clock: Clock
    find_undefined: Callable[[Mapping[str, int]], Iterable[Finding]]


class Restored(NamedTuple):
    """A queue that a backup has replaced: its size, and the new name of the file before, if there was one."""

    queue: str
    size: int
    replaced: Path | None


class Reader(Protocol):
    """A connection for a program that reads a queue for hours while a daemon writes it. Any thread may use it."""

    def version(self) -> str | None:
        """Text that changes with each commit of the writer; None while there is no queue. Raises StoreError."""

    def read(self, function: Callable[[Snapshot], T], nothing: T, limit: float) -> T:
        """What a function reads of one moment of the queue, or `nothing` while there is no queue.

        Raises ReadTimeout after `limit` seconds, and StoreError. No snapshot stays open, so that checkpoints proceed.
        """

    def close(self) -> None:
        """Close the file; the next call opens it again."""


class Queue(Protocol):
    """A queue that is not open yet: where it is, whether it exists, who holds it, and the ways into it.

    Two spellings of one address are equal in `address`.
    """

    @property
    def noun(self) -> str:
        """What people call the place of the queue."""

    @property
    def address(self) -> str:
        """The real address, which does not change when a link to it does; for comparison and for people."""

    @property
    def schema(self) -> str | None:
        """The schema in a database that connections of the user can write to; None for a file."""

    @property
    def is_file(self) -> bool:
        """Whether the queue is a file of this machine, which one daemon has alone."""

    @property
    def shown(self) -> dict[str, str]:
        """What `tako-lite config` shows of it beside the URL."""

    def warning(self) -> str | None:
        """What is wrong with how the queue is reached, and after a colon how to fix it; or None."""

    def exists(self) -> bool:
        """Whether there is a queue at the address."""

    def serving_lock(self) -> FileLock:
        """The lock that the daemon which serves the queue holds for its life; a `Holder` stands in it."""

    def write_lock(self) -> FileLock:
        """The lock of the program that writes the queue: the daemon, or a client while no daemon runs."""

    def folders(self) -> Iterator[Path]:
        """The folders in which a file of the queue could be moved or deleted."""

    def files(self) -> Iterator[Path]:
        """Every file that the data of the queue may be in; some may not exist."""

    def open(
        self, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> Store:
        """The store of a daemon, not started yet. `on_commit` is called on the event loop after each COMMIT."""

    def open_offline(self, durability: Durability, clock: Clock) -> OfflineStore:
        """The queue for a client while no daemon runs."""

    def open_reader(self) -> Reader:
        """The queue for a program that only reads, whether a daemon runs or not. Nothing is opened yet."""

    def open_source(self) -> AbstractContextManager[Source]:
        """The queue for a copy of it; the caller holds the locks. Raises NotFound if there is none, and StoreError."""

    def open_target(self) -> AbstractContextManager[Target]:
        """The queue, which is created if needed, for a copy into it; the caller holds the locks. Raises StoreError."""

    def migrate(self) -> Migrated:
        """Create the queue or bring it up to date. Raises StoreError."""

    def migration_script(self) -> str:
        """The SQL that does the same, and gives each role its rights, for people who run it themselves. Raises BadInput."""

    def checks(self) -> tuple[tuple[str, Callable[[QueueCheck], Iterator[Finding]]], ...]:
        """The names and the functions of the checks that `doctor` runs; they change nothing and may raise TakoError."""

    def rescue(self, target: Path, now: int) -> Rescued:
        """Copy what is readable of a damaged queue into a new one. The caller holds the locks. Raises BadInput, StoreError."""

    def restore(self, backup: Path, check: QueueCheck) -> Restored:
        """Put a copy of a backup in the place of the queue. The caller holds the locks. Raises BadInput, StoreError."""


def queue_at(
    url: str,
    root: Path,
    *,
    schema: str = "tako",
    password: SecretSource | None = None,
    listen_url: str | None = None,
    lease: float = 60.0,
    project: str | None = None,
    state_dir: Path | None = None,
) -> Queue:
    """The queue at a URL; a relative path in it is below `root`. Raises BadInput for a URL of no backend, and SecretError.

    All but the first two are for PostgreSQL: `url` may be `env:NAME` there, `lease` is in seconds, `state_dir` has the locks
    of the daemon, and the queue of one project is refused to another.
    """
    # Imported here: what only reads a configuration needs no backend.
    if url.startswith(SQLITE):
        from tako_lite.store.sqlite.queue import sqlite_queue

        return sqlite_queue(url.removeprefix(SQLITE), root)
    if url.startswith(_POSTGRES):
        from tako_lite.store.postgres.address import postgres_address
        from tako_lite.store.postgres.queue import PostgresQueue

        place = postgres_address(url, schema=schema, password=password, listen_url=listen_url, lease=lease, project=project)
        return PostgresQueue(place, state_dir or root / ".tako")
    hint = f'write "{SQLITE}" and a path (four slashes begin an absolute one), or "postgresql://user@host/database"'
    raise BadInput("is the URL of no queue", hint=hint)


def check_schema(name: str) -> None:
    """Raise BadInput for a name that is no plain name of a schema."""
    if not _SCHEMA.match(name):
        raise BadInput(f"{name!r} is no schema name", hint='use a-z, 0-9 and _, at most 50 of them, such as "tako"')
    if name.startswith("pg_") or name in ("public", "information_schema"):
        raise BadInput(f"the schema {name!r} is not the queue's own", hint='use another one, such as "tako"')


def check_database_url(url: str) -> None:
    """Raise BadInput for a URL that names no database of PostgreSQL, or that holds a password."""
    if not url.startswith(_DATABASE):
        raise BadInput("is no URL of PostgreSQL", hint='such as "postgresql://tako@db.example/app"')
    try:
        parts = urlsplit(url)
        _ = parts.port if "," not in parts.netloc else None
    except ValueError:  # its text may have a part of a password
        hint = "write special characters as %XX: a slash as %2F, # as %23, @ as %40"
        raise BadInput("cannot be read as a URL", hint=hint) from None
    if ":" in parts.netloc.rpartition("@")[0] or {"password", "sslpassword"} & dict(parse_qsl(parts.query)).keys():
        hint = 'write password = "env:NAME" or "file:PATH" in [queue], or url = "env:NAME"'
        raise BadInput("has a password in it, which a file must not hold", hint=hint)
