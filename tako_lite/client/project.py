"""The project that a client belongs to: where it is, whether a daemon lives there, and what its files say.

While a daemon answers nobody asks for the last: what reads the files is imported when it is needed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.client.connection import SOCKET_NAME
from tako_lite.config.files import locate
from tako_lite.lock import daemon_lock

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog
    from tako_lite.config import Config


class Project:
    """A project by its tako.toml or that file's folder, else the one that is found. Raises ConfigError as `locate` does."""

    def __init__(self, path: str | Path | None) -> None:
        self._file = locate(path)
        self._stamp: tuple[int, int] | None = None
        self._config: Config | None = None
        self._catalog: Catalog | None = None
        # Without a file the current folder is the project; it is asked for now, for it may be another one later.
        self.state_dir = (self.config().root if self._file is None else self._file.parent) / ".tako"

    def has_daemon(self) -> bool:
        """Whether a daemon lives, also one that is starting or stopping and does not answer.

        The look takes a shared lock for a moment: it is in nobody's way but that of a daemon which starts in that moment.
        """
        try:
            descriptor = os.open(self.state_dir / "daemon.lock", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do if another thread forks now
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def daemon_pid(self) -> str:
        """The pid that the daemon left in its lock."""
        return daemon_lock(self.state_dir).read()

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.state_dir / SOCKET_NAME

    def config(self) -> Config:
        """The configuration, read again if the file has changed since."""
        if self._file is not None and self._file.exists():
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if self._config is None or stamp != self._stamp:
                self._config, self._stamp = _load(self._file), stamp
        if self._config is None:
            self._config = _load(self._file)
        return self._config

    def catalog(self) -> Catalog:
        """The catalog, scanned again if a file has changed since. Raises CatalogError."""
        from tako_lite.catalog import scan, stamps
        from tako_lite.review import pythons

        config = self.config()
        if self._catalog is None or stamps(config.workflows_path) != self._catalog.files:
            self._catalog = scan(config.workflows_path, config.root, config.routes, pythons(config))
        return self._catalog


def _load(file: Path | None) -> Config:
    from tako_lite.config import load

    return load(file)
