"""Connections that a client keeps open between two calls."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

MOST_IDLE: Final = 4
"""Connections that stay open while no call uses them."""


class Closable(Protocol):
    """What has a connection."""

    def hang_up(self) -> None:
        """Close the connection, on the thread of the caller."""


C = TypeVar("C", bound=Closable)

_inherited: list[Any] = []
"""What a parent process had open at a fork: it must stay as it is, as closing it would end the parent's session."""


class Idle(Generic[C]):
    """Lends what `make` makes to one call at a time. It is safe to share between threads, and after a fork."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._kept: deque[tuple[int, C]] = deque()
        weakref.finalize(self, _close_all, self._kept)

    @contextmanager
    def lent(self) -> Iterator[C]:
        """One that is open already, or a new one; after an error it is not used again."""
        one = _pop(self._kept) or self._make()
        try:
            yield one
        except BaseException:
            one.hang_up()
            raise
        self._kept.append((os.getpid(), one))
        while len(self._kept) > MOST_IDLE and (spare := _pop(self._kept)) is not None:
            spare.hang_up()

    def close(self) -> None:
        """Close those that no call uses; the next call makes another one."""
        _close_all(self._kept)


def _pop(kept: deque[tuple[int, C]]) -> C | None:
    """The one that was used last, of those that this process has made."""
    while True:
        try:
            pid, one = kept.pop()
        except IndexError:  # checking first would not help: another thread may take the last one
            return None
        if pid == os.getpid():
            return one
        _inherited.append(one)


def _close_all(kept: deque[tuple[int, Any]]) -> None:
    while (one := _pop(kept)) is not None:
        one.hang_up()
