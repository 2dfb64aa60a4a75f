"""The wall clock of a process, as a test wants it: built from `clock_shim.c`, preloaded into a real daemon or database."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_suffix(".c")
_OFFSET: Final = struct.Struct("q")


class ShiftedClock:
    """How far the wall clock of the processes that are started with `environment` is ahead; it may move while they run."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self._file = folder / "clock"
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIM": str(self._file)}

    def set(self, seconds: float) -> None:
        """Be so many seconds ahead of the machine's clock from now on."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(_OFFSET.pack(round(seconds * 1e6)))
        self._file.chmod(0o644)


def shifted_clock(folder: Path) -> ShiftedClock:
    """A clock whose files are in a folder; skips the test where the shim cannot be built or has no effect."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the shim with")
    library = folder / "clock_shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        pytest.skip(f"the shim cannot be built here: {built.stderr[-300:]}")
    library.chmod(0o755)
    made = ShiftedClock(library, folder)
    made.set(3600)
    seen = subprocess.check_output(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **made.environment}
    )
    if abs(float(seen) - time.time() - 3600) > 60:
        pytest.skip("this Python reads its clock where the shim does not reach it")
    made.set(0)
    return made
