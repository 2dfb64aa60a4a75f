"""The disk below the queue file, as a test wants it: built from `disk_shim.c`, preloaded into a real daemon."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

SOURCE: Final = Path(__file__).with_suffix(".c")
QUEUE, WAL, JOURNAL, FOLDER, ANY = 0, 1, 2, 3, -1
FILES: Final = ("queue.db", "queue.db-wal", "queue.db-journal")
READ, WRITE, SYNC, TRUNCATE, UNLINK = range(5)
NOTHING, FAIL, DELAY, KILL = range(4)
FOREVER: Final = -1
_RECORD: Final = struct.Struct("5q")


class Change(NamedTuple):
    """A change of a file that was carried out, or a sync. `offset` is the new length where a file is cut."""

    sequence: int
    file: int
    operation: int
    offset: int
    data: bytes


class _Control(ctypes.Structure):
    """`struct control` of the shim."""

    _fields_ = (
        ("sequence", ctypes.c_int64),
        ("counts", ctypes.c_int64 * 5 * 4),
        ("fired", ctypes.c_int64),
        ("action", ctypes.c_int64),
        ("file", ctypes.c_int64),
        ("operation", ctypes.c_int64),
        ("after", ctypes.c_int64),
        ("times", ctypes.c_int64),
        ("argument", ctypes.c_int64),
        ("part", ctypes.c_int64),
    )


class Shim:
    """What a process under the shim does to `queue.db` and its WAL: counted, noted, and spoiled by one rule at a time."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self.control = folder / "shim.control"
        self._trace = folder / "shim.trace"
        self._watched = ":".join([*(f"/{name}" for name in FILES), str(folder)])
        self.control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with self.control.open("r+b") as file:
            self._shared = _Control.from_buffer(mmap.mmap(file.fileno(), 0))

    def environment(self, *, trace: bool = False) -> dict[str, str]:
        """What a process is started with to be under the shim."""
        names = {"LD_PRELOAD": str(self._library), "SHIM_CONTROL": str(self.control), "SHIM_FILES": self._watched}
        return {**names, "SHIM_TRACE": str(self._trace)} if trace else names

    def fail(self, operation: int, error: int, *, file: int = ANY, after: int = 0, times: int = 1, part: int = 0) -> None:
        """Refuse operations; of a write, so many bytes are written all the same."""
        self._rule(FAIL, operation, file, after, times, error, part)

    def delay(self, operation: int, seconds: float, *, file: int = ANY, times: int = FOREVER) -> None:
        """Let operations take long."""
        self._rule(DELAY, operation, file, 0, times, round(seconds * 1000), 0)

    def kill(self, operation: int, *, file: int = ANY, after: int = 0, part: int = 0) -> None:
        """Kill the process in an operation, as SIGKILL would; of a write, so many bytes are written."""
        self._rule(KILL, operation, file, after, 1, 0, part)

    def heal(self) -> None:
        """Do nothing any more."""
        self._shared.action = NOTHING

    def _rule(self, action: int, operation: int, file: int, after: int, times: int, argument: int, part: int) -> None:
        shared = self._shared
        shared.action = NOTHING
        shared.fired = 0
        shared.operation, shared.file, shared.after, shared.times = operation, file, after, times
        shared.argument, shared.part = argument, part
        shared.action = action

    @property
    def fired(self) -> int:
        """How many operations the rule was applied to."""
        return int(self._shared.fired)

    @property
    def sequence(self) -> int:
        """The number of the next change."""
        return int(self._shared.sequence)

    def count(self, operation: int, file: int) -> int:
        """How many operations of this kind have begun."""
        return int(self._shared.counts[file][operation])

    def trace(self) -> list[Change]:
        """Every change so far, in the order in which they were made."""
        data = self._trace.read_bytes()
        changes, at = [], 0
        while at < len(data):
            sequence, file, operation, offset, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            changes.append(Change(sequence, file, operation, offset, data[at : at + length]))
            at += length
        return changes


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled; skips where that cannot be, or where SQLite is out of its reach."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the shim with")
    folder = tmp_path_factory.mktemp("shim")
    made = folder / "shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl", "-pthread"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        pytest.skip(f"the shim cannot be built here: {built.stderr[-300:]}")
    trial = Shim(made, folder)
    program = "import sqlite3; sqlite3.connect('queue.db').execute('CREATE TABLE t (x)')"
    subprocess.run([sys.executable, "-c", program], cwd=folder, env={**os.environ, **trial.environment()}, check=True)
    if not trial.count(WRITE, QUEUE):
        pytest.skip("the SQLite of this Python reads and writes where the shim does not see it")
    return made


@pytest.fixture
def shim(library: Path, tmp_path: Path) -> Iterator[Shim]:
    """A shim for the processes of one test, which does nothing until it is told to."""
    made = Shim(library, tmp_path)
    yield made
    made.heal()
