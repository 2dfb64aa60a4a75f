"""The machine's clock, ahead by what a file says: the daemon, its workers and the test share it."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from tako_lite.clock import EARLIEST_MS, LATEST_MS, SystemClock

FILE: Final = "clock"
OFFSET: Final = struct.Struct("q")


class MovedClock(SystemClock):
    """`Clock` of a `TestProject`; `folder` has the file."""

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, OFFSET.size)
            self._offset = mmap.mmap(file, OFFSET.size)
        finally:
            os.close(file)

    def now(self) -> int:
        ahead: int = OFFSET.unpack_from(self._offset)[0]
        return min(max(super().now() + ahead, EARLIEST_MS), LATEST_MS)

    def move(self, milliseconds: int) -> None:
        """Let time jump, forward or back."""
        OFFSET.pack_into(self._offset, 0, OFFSET.unpack_from(self._offset)[0] + milliseconds)

    def close(self) -> None:
        """Close the file."""
        self._offset.close()
