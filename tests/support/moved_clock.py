"""A clock that tests move, the same one for the daemon, its workers and the test."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from tako_lite.clock import EARLIEST_MS, LATEST_MS, SystemClock

OFFSET: Final = struct.Struct("q")


class MovedClock(SystemClock):
    """The machine's clock, so many milliseconds ahead as `clock` in the current folder says; 1970 to 9999."""

    def __init__(self, folder: Path | None = None) -> None:
        file = os.open((folder or Path.cwd()) / "clock", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, OFFSET.size)
        self._offset = mmap.mmap(file, OFFSET.size)
        os.close(file)

    def now(self) -> int:
        ahead: int = OFFSET.unpack_from(self._offset)[0]
        return min(max(super().now() + ahead, EARLIEST_MS), LATEST_MS)

    def move(self, milliseconds: int) -> None:
        """Forward, or back."""
        OFFSET.pack_into(self._offset, 0, OFFSET.unpack_from(self._offset)[0] + milliseconds)

    def set(self, moment: int) -> None:
        """To a time, from where it goes on."""
        OFFSET.pack_into(self._offset, 0, moment - super().now())
