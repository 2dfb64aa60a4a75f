"""Notices that the socket or the queue file was removed or replaced, by inotify, so that an idle daemon need not poll."""

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
    """Checks socket, queue file and locks when a name in one of these folders changes, and every second while one is missing.

    On a system without inotify it checks while runs are executing.
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
        """Done once another daemon serves the project, which can start if the lock files of this one are removed."""
        health.on_tick = self._is_wrong

    def check_now(self) -> None:
        """Check now, and every second until nothing is missing."""
        if self._is_wrong():
            self._health.wake()

    def stop(self) -> None:
        """Stop watching; twice is harmless."""
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
        """Give up the project if another daemon holds the lock; a client holds it for a moment, and writes no pid into it."""
        if (other := lock.pid) not in (None, os.getpid()) and not self.replaced.done():
            what = f"another daemon (pid {other}) serves this project: {lock.path} was removed and created again"
            self.replaced.set_result(AlreadyServing(what, hint="tako-lite status shows it"))

    def _watch(self) -> None:
        """Watch the folders that exist and are not watched yet: one may have come back, or been replaced."""
        found = {(about.st_dev, about.st_ino): folder for folder in self._folders if (about := _stat(folder)) is not None}
        for identity in self._watches.keys() - found.keys():
            self._forget(identity)
        for identity in found.keys() - self._watches.keys():
            if (watch := watch_names(found[identity])) is not None:
                self._watches[identity] = watch
                self._loop.add_reader(watch, self._on_event, watch)

    def _on_event(self, watch: int) -> None:
        try:
            events = os.read(watch, 65536)
        except OSError:  # it would stay readable for ever, so the watch is replaced
            events = _OVER
        if _is_over(events):  # which name changed does not matter: everything is checked
            self._forget(next(identity for identity, known in self._watches.items() if known == watch))
        self._health.wake()  # in a second: a program that removes the whole folder must not find new files in it meanwhile

    def _forget(self, identity: tuple[int, int]) -> None:
        watch = self._watches.pop(identity)
        self._loop.remove_reader(watch)
        os.close(watch)


_OVER = struct.pack("iIII", 0, IN_IGNORED, 0, 0)


def _is_over(events: bytes) -> bool:
    """Whether the watched folder is gone; another folder may have its inode number by now."""
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
