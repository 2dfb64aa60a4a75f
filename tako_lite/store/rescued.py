"""The report of a rescue: the new file, and the numbers of rescued and lost rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tally:
    """What became of the rows of a table."""

    rescued: int = 0
    lost: int = 0
    """Rows of which it is known that they are lost."""
    is_complete: bool = True
    """Whether there can be no others that were lost."""
    was_read: bool = False
    """Whether there was such a table, and no page of it was damaged."""
    unlisted: int = 0
    """Rescued rows that a sound index does not know: a page may be older than it, and they may have been deleted since."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost."""
        return self.is_complete and not self.lost


@dataclass
class Rescued:
    """A new file, what became of the rows by table, and the ids of runs to know of, as far as they are known."""

    file: Path
    size: int = 0
    tables: dict[str, Tally] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    """Those that are lost."""
    unlisted: set[str] = field(default_factory=set)
    """Those that a sound index does not know."""
    repeated: set[str] = field(default_factory=set)
    """Children that had begun and whose parents no longer know of them: they start others beside them."""
    log_is_whole: bool = True
    """Whether no change is lost that was in the log only."""

    @property
    def is_all(self) -> bool:
        """Whether nothing is lost, and nothing is there that may have been deleted."""
        return self.log_is_whole and all(tally.is_sound and not tally.unlisted for tally in self.tables.values())
