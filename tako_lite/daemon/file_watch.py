"""Notices when the socket or the queue is taken away, also while nothing runs: the kernel tells, and nobody has to look."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Collection
from pathlib import Path

from tako_lite.daemon.control import Control
from tako_lite.daemon.events import Events
from tako_lite.daemon.health import Health
from tako_lite.errors import AlreadyServing, TakoError
from tako_lite.linux import IN_IGNORED, watch_names
from tako_lite.lock import FileLock
from tako_lite.store.base import Store


class FileWatch:
    """Looks when a name in one of these folders went away or got another file, and each second while anything is wrong.

    Where the system does not tell of names, it looks while something runs.
    """

    def __init__(
        self,
        folders: Collection[Path],
        locks: Collection[FileLock],
        control: Control,
        store: Store,
        health: Health,
        events: Events,
    ) -> None:
        self._folders = folders
        self._locks = locks
        self._control = control
        self._store = store
        self._health = health
        self._events = events
        self._watches: dict[tuple[int, int], int] = {}
        self._loop = asyncio.get_running_loop()
        self.replaced: asyncio.Future[TakoError] = self._loop.create_future()
        """Done once another daemon serves the project: its lock files were taken away, and nothing kept that one off."""
        health.on_look = self._is_wrong

    def look(self) -> None:
        """See to it that the socket and the queue are there, now and as long as they are not."""
        if self._is_wrong():
            self._health.wake()

    def stop(self) -> None:
        """Watch no more; twice is harmless."""
        for identity in list(self._watches):
            self._forget(identity)

    def _is_wrong(self) -> bool:
        self._watch()
        for lock in self._locks:
            if not lock.keep():
                self._give_way(lock)
                return True
        is_unheard = self._control.ensure_listening()
        if (gone := self._store.check_file()) is not None:
            self._events.trouble(f"{gone.message}; {gone.hint}")
        return is_unheard or gone is not None

    def _give_way(self, lock: FileLock) -> None:
        """A client holds a lock for a moment, and leaves no text in it; another daemon leaves its pid."""
        if (other := lock.pid) not in (None, os.getpid()) and not self.replaced.done():
            what = f"another daemon (pid {other}) serves this project: {lock.path} was taken away and made anew"
            self.replaced.set_result(AlreadyServing(what, hint="tako-lite status shows it"))

    def _watch(self) -> None:
        """Watch the folders that are there and are not watched yet: one may be back, or another one in its place."""
        found = {(about.st_dev, about.st_ino): folder for folder in self._folders if (about := _stat(folder)) is not None}
        for identity in self._watches.keys() - found.keys():
            self._forget(identity)
        for identity in found.keys() - self._watches.keys():
            if (watch := watch_names(found[identity])) is not None:
                self._watches[identity] = watch
                self._loop.add_reader(watch, self._heard, watch)

    def _heard(self, watch: int) -> None:
        try:
            events = os.read(watch, 65536)
        except OSError:  # it would stay readable for ever: the watch is set up again
            events = _OVER
        if _is_over(events):  # which name it was does not matter: all are looked at
            self._forget(next(identity for identity, known in self._watches.items() if known == watch))
        self._health.wake()  # in a second: whoever takes a whole folder away is not to find new files in it meanwhile

    def _forget(self, identity: tuple[int, int]) -> None:
        watch = self._watches.pop(identity)
        self._loop.remove_reader(watch)
        os.close(watch)


_OVER = struct.pack("iIII", 0, IN_IGNORED, 0, 0)


def _is_over(events: bytes) -> bool:
    """Whether a folder that was watched is gone, though another one may have its number by now."""
    at = 0
    while at < len(events):
        _, mask, _, length = struct.unpack_from("iIII", events, at)
        if mask & IN_IGNORED:
            return True
        at += 16 + length
    return False


def _stat(folder: Path) -> os.stat_result | None:
    try:
        return folder.stat()
    except OSError:
        return None
