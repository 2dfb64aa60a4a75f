"""The two locks of a project.

`daemon.lock` is held for a daemon's life. `write.lock` is held by whoever writes the queue file: the daemon for its life, a
client without a daemon for the length of one transaction. With two, neither has to guess who the other is. The files are
never removed: a lock on a file without a name would exclude nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PAUSE: Final = 0.02
"""Seconds between two looks at a lock that another process holds."""


class FileLock:
    """An exclusive lock on a file, gone with its process whatever ends that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock, waiting up to `timeout` seconds; False where somebody else keeps it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        give_up = time.monotonic() + timeout
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    os.close(descriptor)
                    return False
                time.sleep(PAUSE)
            else:
                self._descriptor = descriptor
                return True

    def keep(self) -> bool:
        """Have the lock of the file that has the name by now, if that is another one; False where it cannot be had."""
        if self._descriptor is None or not self.path.parent.exists() or _is_at(self._descriptor, self.path):
            return True
        anew, word = FileLock(self.path), os.pread(self._descriptor, 100, 0).decode()
        try:
            if not anew.acquire():
                return False
        except OSError:  # something else has the name, such as a folder
            return False
        anew.write(word)
        self.release()
        self._descriptor = anew._descriptor
        return True

    def release(self) -> None:
        """Give the lock up; twice is harmless."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a child that another thread forks just now has the descriptor too
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, text: str) -> None:
        """Leave a word in the file for whoever finds it locked."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def read(self) -> str:
        """The holder's word."""
        try:
            return self.path.read_text(errors="replace").strip()
        except OSError:
            return ""


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def daemon_lock(state_dir: Path) -> FileLock:
    """The lock of the project's one daemon, whose pid stands in it."""
    return FileLock(state_dir / "daemon.lock")


def write_lock(state_dir: Path) -> FileLock:
    """The lock of whoever writes the queue file."""
    return FileLock(state_dir / "write.lock")
