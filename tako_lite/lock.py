"""The locks of a project and of its queue.

- `daemon.lock`, in the state folder: the daemon of a project holds it for its life.
- `<queue file>.lock`, beside the queue: the daemon holds this one too, because two folders, such as two releases of an
  application, may name one queue file. Its text tells clients of other folders how to reach the daemon.
- `<queue file>.write.lock`: the program that writes to the queue file holds it, a daemon for its life, a client without a
  daemon for one transaction.

Lock files are never removed: a lock on a file that was unlinked would exclude no other program.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.errors import StoreError

PAUSE: Final = 0.02
"""Seconds between two tries to take a lock."""
LONGEST_TEXT: Final = 65536
"""Bytes of a lock file that are read at most."""
LONGEST_PID: Final = 20
"""Digits; a longer number is not a pid."""


class FileLock:
    """An exclusive lock on a file, which the kernel releases when its process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock, waiting up to `timeout` seconds; False if another process keeps it. Raises StoreError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        give_up = time.monotonic() + timeout
        descriptor = self._open_to_lock()
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

    def _open_to_lock(self) -> int:
        if is_in_the_way(self.path):
            raise StoreError(
                f"{self.path} is not a regular file, and tako-lite needs a lock file there",
                hint=f"move it away; to see what it is: ls -ld {self.path}",
            )
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be locked: {error.strerror}", hint="tako-lite doctor shows why") from error

    def keep(self) -> bool:
        """Re-acquire the lock if the lock file was replaced on disk; False if that is not possible."""
        if self._descriptor is None or not self.path.parent.exists() or _is_at(self._descriptor, self.path):
            return True
        anew, text = FileLock(self.path), os.pread(self._descriptor, LONGEST_TEXT, 0).decode()
        try:
            if not anew.acquire():
                return False
        except (OSError, StoreError):  # the name is taken by something else, such as a folder
            return False
        anew.write(text)
        self.release()
        self._descriptor = anew._descriptor
        return True

    def release(self) -> None:
        """Release the lock; twice is harmless."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a child that another thread is forking has the descriptor too
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, text: str) -> None:
        """Write a text into the file, for programs that find it locked."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def read(self) -> str:
        """The text of the holder, or of the last one."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: it may be a pipe
        except OSError:
            return ""
        try:
            return os.pread(descriptor, LONGEST_TEXT, 0).decode(errors="replace").strip()
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether another process holds the lock.

        The probe takes a shared lock for a moment, which only delays a daemon that starts in that moment.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing does not release it if another thread is forking
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def pid(self) -> int | None:
        """The pid in the text, or None."""
        text = self.read()
        if (holder := Holder.parse(text)) is not None:
            return holder.pid
        return int(text) if len(text) < LONGEST_PID and text.isascii() and text.isdecimal() else None

    def killable_pid(self) -> int | None:
        """The pid of the holder, if it is in this pid namespace, so that `kill` with it reaches the right process."""
        if (pid := self.pid) is None:
            return None
        try:
            locks, inode = Path("/proc/locks").read_text(), self.path.stat().st_ino
        except OSError:  # not Linux, so no pid namespaces
            return pid
        return pid if any(_is_flock(line.split(), pid, inode) for line in locks.splitlines()) else None


class Holder(NamedTuple):
    """The daemon that serves a queue: the text of `<queue file>.lock`, as JSON. Paths have their symlinks resolved."""

    pid: int
    server: str
    project: str
    config: str | None
    root: str
    state_dir: str
    socket: str

    def __str__(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """The holder in the text of a lock file; None for an empty or invalid text."""
        try:
            fields: dict[str, Any] = json.loads(text)
            holder = cls(**{name: fields[name] for name in cls._fields})
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        texts = [text for name, text in holder._asdict().items() if name not in ("pid", "config")]
        is_sound = type(holder.pid) is int and isinstance(holder.config, str | None) and all(isinstance(t, str) for t in texts)
        return holder if is_sound and not any("\0" in text for text in texts) else None


def is_in_the_way(path: Path) -> bool:
    """Whether the path of a lock is a folder, a pipe or the like; False if nothing is there."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _is_flock(fields: list[str], pid: int, inode: int) -> bool:
    """Whether a line of /proc/locks is the lock of a process on an inode: `1: FLOCK ADVISORY WRITE 708 fe:00:1314 0 EOF`."""
    return len(fields) > 5 and fields[1] == "FLOCK" and fields[4] == str(pid) and fields[5].endswith(f":{inode}")


def daemon_lock(state_dir: Path) -> FileLock:
    """The lock of the project's daemon; its text is the pid."""
    return FileLock(state_dir / "daemon.lock")
