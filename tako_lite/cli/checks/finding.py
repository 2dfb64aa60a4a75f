"""What a check is given, and what it finds."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tako_lite.catalog import Catalog
from tako_lite.client.project import Project
from tako_lite.clock import Clock

Level = Literal["ok", "info", "warning", "problem"]


class Finding(NamedTuple):
    """One line of the report; `mend` is the command or the edit that puts it right."""

    check: str
    level: Level
    message: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class CheckContext:
    """A project as the checks see it; `deep` asks for those that read the whole queue.

    `catalog` is what the workflow files define, where they have no mistakes.
    """

    project: Project
    queue: Path
    has_daemon: bool
    deep: bool
    clock: Clock
    catalog: Catalog | None = None

    @property
    def state_dir(self) -> Path:
        """The project's own folder."""
        return self.project.state_dir

    @property
    def log(self) -> Path:
        """The part of the queue that SQLite has not yet put into the file itself."""
        return Path(f"{self.queue}-wal")

    @property
    def index(self) -> Path:
        """The index of that part."""
        return Path(f"{self.queue}-shm")


def quoted(*paths: Path) -> str:
    """Paths as a shell takes them."""
    return " ".join(shlex.quote(str(path)) for path in paths)
