"""A queue file that is not open yet.

Clients of a daemon need its locks only, so nothing of SQLite is imported before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.errors import BadInput
from tako_lite.lock import FileLock

if TYPE_CHECKING:
    from tako_lite.clock import Clock
    from tako_lite.finding import Finding
    from tako_lite.store.base import Effects, OfflineStore, Store
    from tako_lite.store.copying import Source, Target
    from tako_lite.store.migrate import Migrated
    from tako_lite.store.opening import Durability, QueueCheck, Reader, Restored
    from tako_lite.store.rescued import Rescued


@dataclass(frozen=True, slots=True)
class SqliteQueue:
    """`store.opening.Queue` for a file; `path` is absolute."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def noun(self) -> str:
        return "queue file"

    @property
    def address(self) -> str:
        return os.path.realpath(self.path)

    @property
    def schema(self) -> None:
        return None

    @property
    def is_file(self) -> bool:
        return True

    @property
    def shown(self) -> dict[str, str]:
        return {"path": str(self.path)}

    def warning(self) -> str | None:
        return None

    def exists(self) -> bool:
        return self.path.exists()

    def serving_lock(self) -> FileLock:
        return FileLock(Path(f"{self.address}.lock"))

    def write_lock(self) -> FileLock:
        return FileLock(Path(f"{self.address}.write.lock"))

    def folders(self) -> Iterator[Path]:
        yield Path(self.address).parent

    def files(self) -> Iterator[Path]:
        yield from (Path(f"{self.address}{suffix}") for suffix in ("", "-wal", "-shm"))

    def open(
        self, durability: Durability, clock: Clock, server: str, boot_id: str, on_commit: Callable[[Effects], None]
    ) -> Store:
        from tako_lite.store.sqlite.store import SqliteStore

        return SqliteStore(self.path, durability, clock, server, boot_id, on_commit)

    def open_offline(self, durability: Durability, clock: Clock) -> OfflineStore:
        from tako_lite.store.sqlite.offline import SqliteOfflineStore

        return SqliteOfflineStore(self.path, durability, clock)

    def open_reader(self) -> Reader:
        from tako_lite.store.sqlite.reader import SqliteReader

        return SqliteReader(Path(self.address))

    def open_source(self) -> AbstractContextManager[Source]:
        from tako_lite.store.sqlite.copying import open_source

        return open_source(Path(self.address))

    def open_target(self) -> AbstractContextManager[Target]:
        from tako_lite.store.sqlite.copying import open_target

        return open_target(Path(self.address))

    def migrate(self) -> Migrated:
        from tako_lite.store.sqlite.upgrade import upgrade

        return upgrade(Path(self.address), self.write_lock())

    def migration_script(self) -> str:
        raise BadInput(
            "a script is printed for a queue in PostgreSQL only", hint="tako-lite migrate brings a queue file up to date"
        )

    def checks(self) -> tuple[tuple[str, Callable[[QueueCheck], Iterator[Finding]]], ...]:
        from tako_lite.store.sqlite import checks

        every = (checks.sqlite, checks.filesystem, checks.queue, checks.wal)
        return tuple((check.__name__, partial(check, Path(self.address))) for check in every)

    def rescue(self, target: Path, now: int) -> Rescued:
        from tako_lite.store.sqlite.rescue.copy import rescue

        return rescue(Path(self.address), target, now)

    def restore(self, backup: Path, check: QueueCheck) -> Restored:
        from tako_lite.store.sqlite.restore import restore

        return restore(Path(self.address), backup, check)


def sqlite_queue(path: str, root: Path) -> SqliteQueue:
    """The queue in a file; a relative path is below `root`. Raises BadInput for a path that names no file."""
    if not path or path.endswith("/"):
        raise BadInput("names no file", hint='such as "sqlite:///.tako/queue.db"')
    if path == ":memory:":
        raise BadInput("the queue must be a file: in memory it would not outlive the daemon")
    if "?" in path or "#" in path:
        raise BadInput("options behind `?` or `#` are not supported")
    try:
        return SqliteQueue(Path(os.path.normpath(root / Path(path).expanduser())))
    except RuntimeError as error:
        raise BadInput("the home folder that `~` stands for is not known") from error
