"""The input and output of a check."""

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
    """One line of the report; `fix` is the command or edit that fixes it (`mend` in JSON)."""

    check: str
    level: Level
    message: str
    fix: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """The finding as `doctor --json` prints it."""
        return {"check": self.check, "level": self.level, "message": self.message, "mend": self.fix}


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The project to check; `deep` also runs the checks that read the whole queue.

    `catalog` is None if the workflow files have mistakes.
    """

    project: Project
    queue: Path
    has_daemon: bool
    deep: bool
    clock: Clock
    catalog: Catalog | None = None

    @property
    def state_dir(self) -> Path:
        """The project's state folder."""
        return self.project.state_dir

    @property
    def log(self) -> Path:
        """The write-ahead log of the queue file."""
        return Path(f"{self.queue}-wal")

    @property
    def index(self) -> Path:
        """The shared-memory index of the log."""
        return Path(f"{self.queue}-shm")


def quoted(*paths: Path) -> str:
    """Paths quoted for a shell."""
    return " ".join(shlex.quote(str(path)) for path in paths)
