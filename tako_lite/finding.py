"""One line of a `doctor` report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal, NamedTuple

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


def quoted(*paths: Path) -> str:
    """Paths quoted for a shell."""
    return " ".join(shlex.quote(str(path)) for path in paths)
