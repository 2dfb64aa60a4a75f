"""A clock that tests move, the same one for the daemon, its workers and the test."""

from __future__ import annotations

from pathlib import Path

from tako_lite.clock import SystemClock
from tako_lite.testing import moved_clock


class MovedClock(moved_clock.MovedClock):
    """The machine's clock, so many milliseconds ahead as `clock` in the current folder says; 1970 to 9999."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder or Path.cwd())

    def set(self, moment: int) -> None:
        """To a time, from where it goes on."""
        moved_clock.OFFSET.pack_into(self._offset, 0, moment - SystemClock.now(self))
