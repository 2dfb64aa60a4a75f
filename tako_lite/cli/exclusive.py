"""Keeps every other program away from a queue while a command replaces or rescues it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tako_lite.client.project import Project
from tako_lite.errors import AlreadyServing, StoreBusy, StoreError
from tako_lite.finding import quoted
from tako_lite.lock import FileLock
from tako_lite.store.opening import Queue

PATIENCE: Final = 2.0
"""Seconds to wait for a client that is writing the queue without a daemon."""


@contextmanager
def exclusive(project: Project, queue: Queue, work: str) -> Iterator[None]:
    """Keep other programs from writing the queue during some work. Raises AlreadyServing or StoreBusy if one does."""
    if (held := project.lock()) is not None:
        raise AlreadyServing(
            f"a daemon serves this queue (pid {held.pid}); it must be stopped before {work}", hint="stop it: tako-lite stop"
        )
    with _held(queue.write_lock()):
        yield


@contextmanager
def unserved(queue: Queue) -> Iterator[None]:
    """Keep daemons and other programs away from a queue that this project does not name yet. Raises StoreBusy."""
    with _held(queue.serving_lock()), _held(queue.write_lock()):
        yield


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    try:
        if not lock.acquire(PATIENCE):
            raise StoreBusy(f"another program holds {lock.path}", hint=f"fuser {quoted(lock.path)} prints its pid")
    except OSError as error:
        raise StoreError(f"{lock.path} cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
