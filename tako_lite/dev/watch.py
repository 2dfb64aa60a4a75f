"""Notices that a source file was saved: by inotify, or on other systems by a look every half second."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tako_lite.linux import watch_changes
from tako_lite.stamps import FileStamp, file_stamp

SETTLED_AFTER: Final = 0.08
"""Seconds after an event until the files are compared: editors and formatters write several times."""
LOOK_EVERY: Final = 0.5
"""Seconds between two looks where the system reports no changes."""

Stamps = Mapping[Path, FileStamp | None]


class SourceWatch:
    """Calls `on_change` after a file was changed, added or removed.

    `list_files` has the files with the stamps that they had when they were read.
    """

    def __init__(
        self, list_files: Callable[[], Stamps], list_folders: Callable[[], set[Path]], on_change: Callable[[], None]
    ) -> None:
        self._list_files = list_files
        self._list_folders = list_folders
        self._on_change = on_change
        self._seen: Stamps = {}
        self._folders: Mapping[Path, int] = {}
        """The watched folders with their inodes: a version control system may replace one."""
        self._watch: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Watch the files; call it again after they were read. What was saved since is noticed."""
        self._seen = {file: self._seen.get(file, stamp) for file, stamp in self._list_files().items()}
        self._watch_folders()
        self._look_in(LOOK_EVERY if self._watch is None else SETTLED_AFTER)

    def stop(self) -> None:
        """Watch nothing any more; twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()
        self._close()

    def _watch_folders(self) -> None:
        """Watch each folder that a file may appear in; a new one may be empty still."""
        folders = {folder: found.st_ino for folder in self._list_folders() if (found := _folder(folder)) is not None}
        if folders != self._folders or self._watch is None:
            self._close()
            self._folders = folders
            self._watch = watch_changes(folders)
            if self._watch is not None:
                self._loop.add_reader(self._watch, self._on_event)

    def _close(self) -> None:
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = None

    def _on_event(self) -> None:
        assert self._watch is not None  # noqa: S101
        try:
            os.read(self._watch, 65536)
        except BlockingIOError:
            return
        self._look_in(SETTLED_AFTER)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._watch_folders()
        seen, before = self._stamps(), self._seen
        self._seen = seen
        if seen != before:
            self._on_change()
        if self._watch is None:
            self._look_in(LOOK_EVERY)

    def _stamps(self) -> Stamps:
        return {file: file_stamp(file) for file in self._list_files()}


def _folder(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found if stat.S_ISDIR(found.st_mode) else None
