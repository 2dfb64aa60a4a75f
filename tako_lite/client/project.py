"""The project of a client: its folder, the daemon that serves its queue, and its configuration and catalog.

While the daemon of the project's own folder answers, no file is read; the modules that read files are imported when needed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.client import link
from tako_lite.client.connection import Connection, connect
from tako_lite.config.files import SOCKET_NAME, locate, stamp
from tako_lite.config.state_folder import state_folder
from tako_lite.errors import ConfigError, TakoError, WrongProject
from tako_lite.lock import FileLock, Holder, daemon_lock

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog
    from tako_lite.config import Config


class Project:
    """A project, given by its tako.toml or by that file's folder, else found by `locate`. Raises the errors of `locate`."""

    def __init__(self, path: str | Path | None) -> None:
        self._given = path
        self._file = locate(path)
        self._stamp: list[int] | None = None
        self._config: Config | None = None
        self._catalog: Catalog | None = None
        # Without a file, the project is the current folder. It is read now, because it may change later.
        self.root = self.config().root if self._file is None else self._file.parent
        self.state_dir = state_folder(self._file, self.root)

    @property
    def file(self) -> Path | None:
        """The tako.toml, or None if the project has none."""
        return self._file

    def connect(self) -> Connection | None:
        """A new connection to the daemon that serves the queue, or None if none answers. Raises DaemonUnreachable."""
        _refuse_in_test(self._given)
        connection = connect(self.state_dir / SOCKET_NAME)
        if connection is None and (holder := self.other_holder()) is not None:
            return connect(Path(holder.socket))
        return connection

    def lock(self) -> FileLock | None:
        """The lock of a running daemon, even if that is starting or stopping and does not answer; else None."""
        own = daemon_lock(self.state_dir)
        if own.is_held():
            return own
        try:
            beside = self.config().queue.location.serving_lock()
        except ConfigError:  # a file with a mistake names no queue
            return None
        return beside if beside.is_held() else None

    def has_daemon(self) -> bool:
        """Whether a running daemon has this folder or serves its queue."""
        return self.lock() is not None

    def other_holder(self) -> Holder | None:
        """The daemon of another folder that serves the queue of this project; another tako.toml may name the same file."""
        lock = self.lock()
        holder = None if lock is None else Holder.parse(lock.read())
        return None if holder is None or holder.state_dir == os.path.realpath(self.state_dir) else holder

    def serving_dir(self) -> Path:
        """The state folder of the daemon that serves the queue: that of the project itself, or of another folder."""
        holder = self.other_holder()
        return self.state_dir if holder is None else Path(holder.state_dir)

    @property
    def socket(self) -> Path:
        """Where a daemon of this folder listens."""
        return self.state_dir / SOCKET_NAME

    def check(self, hello: dict[str, Any], command: str) -> None:
        """Raise WrongProject if a daemon serves another queue or configuration than those of this project.

        A daemon of another folder may serve the same queue, such as the folder of the previous release. It reloads only its own
        files, so `reload` is refused then.
        """
        if "queue" not in hello or self._is_served_as_it_is(hello):
            return
        try:
            own = self.config()
        except ConfigError:
            if self._is_file_of(hello):
                return  # the daemon keeps its current configuration
            raise
        queue = own.queue.location.address
        if queue != hello["queue"] and not _is_same_file(queue, hello["queue"]):
            raise _wrong(hello, f"{_named(own)} names the queue {queue}")
        if self._is_file_of(hello):
            return
        if command == "reload" or hello["root"] == os.path.realpath(own.root):
            raise _wrong(hello, f"this is {_named(own)}")
        name = own.document.tables.get("name") if own.document else None
        if name is not None and hello["project"] is not None and name != hello["project"]:
            raise _wrong(hello, f"{_named(own)} is the project {name}")

    def _is_file_of(self, hello: dict[str, Any]) -> bool:
        """Whether a daemon serves this tako.toml, or this folder if it has no such file."""
        ours = self.root if self._file is None else self._file
        theirs: str = hello["root"] if hello["config"] is None else hello["config"]
        if (self._file is None) != (hello["config"] is None):
            return False
        return str(ours) == theirs or os.path.realpath(ours) == os.path.realpath(theirs)

    def _is_served_as_it_is(self, hello: dict[str, Any]) -> bool:
        """The same, if the file has also not changed since the daemon read it."""
        return self._is_file_of(hello) and (self._file is None or bool(stamp(self._file) == hello["stamp"]))

    def config(self) -> Config:
        """The configuration, read again if the file has changed."""
        found = None if self._file is None else stamp(self._file)
        if self._config is None or (found is not None and found != self._stamp):
            self._config, self._stamp = _load(self._file), found
        return self._config

    def catalog(self) -> Catalog:
        """The catalog, scanned again if a file has changed. Raises CatalogError."""
        from tako_lite.catalog import scan, stamps
        from tako_lite.project_lint import pythons

        config = self.config()
        if self._catalog is None or stamps(config.workflows_path) != self._catalog.files:
            self._catalog = scan(config.workflows_path, config.root, config.routes, pythons(config))
        return self._catalog


def _refuse_in_test(path: str | Path | None) -> None:
    """Raise TakoError in a test of pytest that would use a queue outside of the temporary folder."""
    plugin = sys.modules.get("pytest_tako_lite")
    if plugin is None or not plugin.guards:
        return
    from tempfile import gettempdir  # only for tests

    if str(path) in link.spared:
        return
    if path is None or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(gettempdir())):
        where = "the queue of this project" if path is None else f"the queue of {path}"
        hint = "use the fixture `tako`, which has a queue of its own; or set `tako_guard = false` in the ini file of pytest"
        raise TakoError(f"a test would have used {where}", hint=hint)


def _is_same_file(one: str, other: str) -> bool:
    """Whether two addresses are one file, such as by a bind mount; those of a database are none."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _named(config: Config) -> str:
    return str(config.file or config.root)


def _wrong(hello: dict[str, Any], difference: str) -> WrongProject:
    served = hello["config"] or hello["root"]
    return WrongProject(
        f"the daemon (pid {hello['pid']}) serves {served} with the queue {hello['queue']}, but {difference}",
        hint=f"name what it serves (-c {served}), or serve the other from a folder of its own",
    )


def _load(file: Path | None) -> Config:
    from tako_lite.config import load

    return load(file)
