"""Where a queue is, by its URL: the one place that knows which backends there are. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeVar

from tako_lite.errors import BadInput

if TYPE_CHECKING:
    from tako_lite.clock import Clock
    from tako_lite.finding import Finding
    from tako_lite.lock import FileLock
    from tako_lite.secrets.source import SecretSource
    from tako_lite.store.base import Effects, OfflineStore, Store
    from tako_lite.store.rescued import Rescued
    from tako_lite.store.transitions.transaction import Snapshot

T = TypeVar("T")

Durability = Literal["disk", "process"]
"""Whether an acknowledged change survives a power failure, or only the end of the process."""

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://", "env:")


class QueueCheck(NamedTuple):
    """What the checks of a queue need to know; `find_undefined` gets the number of queued runs by workflow."""

    has_daemon: bool
    deep: bool
    clock: Clock
    find_undefined: Callable[[Mapping[str, int]], Iterable[Finding]]


class Restored(NamedTuple):
    """A queue that a backup has replaced: its size, and the new name of the one before, if there was one."""

    file: Path
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
    def address(self) -> str:
        """The real address, which does not change when a link to it does; for comparison and for people."""

    @property
    def shown(self) -> dict[str, str]:
        """What `tako-lite config` shows of it beside the URL."""

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
    lease_ms: int = 60_000,
    state_dir: Path | None = None,
) -> Queue:
    """The queue at a URL; a relative path in it is below `root`. Raises BadInput for a URL of no backend.

    All but the first two are for PostgreSQL: `url` may be `env:NAME` there. `state_dir` is the folder of the daemon's locks.
    """
    # Imported here: what only reads a configuration needs no backend.
    if url.startswith(_SQLITE):
        from tako_lite.store.sqlite.queue import sqlite_queue

        return sqlite_queue(url.removeprefix(_SQLITE), root)
    if url.startswith(_POSTGRES):
        from tako_lite.store.postgres.address import postgres_address
        from tako_lite.store.postgres.queue import PostgresQueue

        place = postgres_address(url, schema=schema, password=password, listen_url=listen_url, lease_ms=lease_ms)
        return PostgresQueue(place, state_dir or root / ".tako")
    hint = f'write "{_SQLITE}" and a path, or "postgresql://user@host/database"'
    raise BadInput("is the URL of no queue", hint=hint)
