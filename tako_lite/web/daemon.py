"""Whether a daemon serves the queue, by its lock: no page has to ask the daemon itself for that."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from tako_lite.client.project import Project


class Daemon(NamedTuple):
    """The state of the daemon: `absent` without one, `silent` if it holds its lock but has no socket to answer on."""

    state: Literal["serving", "silent", "absent"]
    pid: int | None = None
    since: int | None = None
    """When it took its lock, in milliseconds since 1970."""


def daemon_of(project: Project) -> Daemon:
    """The daemon that serves the queue of a project."""
    lock = project.lock()
    if lock is None:
        return Daemon("absent")
    holder = project.other_holder()
    socket = project.socket if holder is None else Path(holder.socket)
    try:
        since = round(lock.path.stat().st_mtime * 1000)
    except OSError:
        since = None
    return Daemon("serving" if socket.exists() else "silent", lock.pid, since)
