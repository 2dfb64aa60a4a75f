"""The one writing connection: a thread of its own, and group commit.

How many changes share one fsync:

- `submit` runs on the event loop. It appends the operation to the entries. If the thread is idle, it schedules `_begin` for the
  next turn of the loop, so that everything which this turn submits comes along.
- `_begin` hands all entries to the thread as one transaction. While the thread works and waits for the disk, new entries
  collect; they are the next transaction. So the batch grows with the load, and nothing waits for a timer.
- The thread runs the operations in the order of their submission, commits, and goes back to the loop in one hop.
- `_committed` reports the effects first, then answers the futures, the last first: a claim is submitted after what it claims,
  so its runs are pushed to workers before the clients hear that they are stored.
- If the transaction fails because of the file (full disk, lock, damage), operations with `keep` are tried again after a pause,
  and the others fail. If one operation spoiled it, each gets a transaction of its own.
- Nothing is answered before COMMIT, and after damage nothing is written any more.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite

from tako_lite.clock import Clock
from tako_lite.errors import StoreDamaged, StoreError, StoreGone, TakoError
from tako_lite.store.base import Effects
from tako_lite.store.counts import StoreCounts
from tako_lite.store.sqlite.file import gone, translate
from tako_lite.store.sqlite.transaction import commit
from tako_lite.store.transitions.transaction import Transaction

T = TypeVar("T")

RETRY_AFTER: Final = 0.25
"""Seconds between two tries to commit an operation that must not be lost, such as a result, while the disk is full."""

NOTIFY_AGAIN: Final = 3
"""How often a commit is reported again to a listener that failed."""
NOTIFY_AFTER: Final = 1.0
"""Seconds between two reports of a commit."""


class _Entry(NamedTuple):
    operation: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    keep: bool


async def open_thread(connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """A connection on a thread of its own, which a hung disk cannot make outlive the process."""
    connection = aiosqlite.Connection(connector, iter_chunk_size=64)
    connection._thread.daemon = True
    try:
        return await connection
    except BaseException:
        connection._thread.join(5)  # it was asked to end, and has nothing else to do
        raise


async def on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on the connection's thread, in one hop.

    The public API of aiosqlite has one hop a statement and none for a function: only these two functions use its internals. The
    dependency is bounded by version and a test checks the internals that are used.
    """
    return await connection._execute(function, connection._conn)  # type: ignore[no-any-return, no-untyped-call]


def start_on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], None]) -> None:
    """Run a function on the connection's thread; it reports its own outcome, so no task waits for it."""
    connection._tx.put_nowait((None, partial(function, connection._conn)))


class GroupCommit:
    """Runs operations in the order in which they come; those that wait at the same time share a transaction and its fsync."""

    def __init__(
        self,
        connection: aiosqlite.Connection,
        path: Path,
        clock: Clock,
        on_commit: Callable[[Effects], None],
        counts: StoreCounts,
    ) -> None:
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._clock = clock
        self._on_commit = on_commit
        self._counts = counts
        self._begun_at = 0.0
        self._entries: list[_Entry] = []
        self._alone: deque[_Entry] = deque()
        """Entries of a transaction that one of them spoiled: each gets one of its own."""
        self.trouble: TakoError | None = None
        """The error that kept the last transaction from being stored, if it came from the file and not from an operation."""
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self.damaged: asyncio.Future[StoreDamaged] = self._loop.create_future()
        """Done once the file is found to be damaged: nothing is written from then on, to prevent more damage."""

    def submit(self, operation: Callable[[Transaction], T], *, keep: bool = False) -> asyncio.Future[T]:
        """A future of the operation's result, done after COMMIT.

        With `keep`, a full or locked disk does not fail the operation: it is tried again until it is stored or we stop.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreError("the queue is closed: the daemon is stopping"))
            return future
        if self.damaged.done():
            future.set_exception(self.damaged.result())
            return future
        self._entries.append(_Entry(operation, future, keep))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._begin)  # not now: what this turn of the loop still submits joins the transaction
        return future

    def check_file(self) -> StoreGone | None:
        """Check that the file is still where it was; returns the error if not."""
        lost = None if _identity(self._path) == self._file else gone(self._path)
        if lost is not None or isinstance(self.trouble, StoreGone):
            self.trouble = lost
        return lost

    @property
    def is_idle(self) -> bool:
        """Whether nothing is submitted that is not committed."""
        return not self._busy

    async def stop(self) -> None:
        """Commit what is left, then accept nothing more."""
        self._closing = True
        await self._idle.wait()

    def stop_writing(self, error: TakoError) -> None:
        """Write nothing more if an error means that the file is damaged."""
        if isinstance(error, StoreDamaged) and not self.damaged.done():
            self.damaged.set_result(error)

    def _begin(self) -> None:
        """Start the next transaction, if there is anything to commit."""
        if self.damaged.done():
            _fail([*self._alone, *self._entries], self.damaged.result())
            self._alone.clear()
            self._entries.clear()
        if self._alone:
            entries = [self._alone.popleft()]
        else:
            entries, self._entries = self._entries, []
        if entries:
            self._begun_at = self._loop.time()
            start_on_thread(self._connection, partial(self._work, entries, self._clock.now()))
        else:
            self._busy = False
            self._idle.set()

    def _work(self, entries: list[_Entry], now: int, connection: sqlite3.Connection) -> None:
        """On the connection's thread: one transaction, whose outcome goes back to the loop in one hop."""
        try:
            if _identity(self._path) != self._file:  # SQLite continues to write a file that has no name any more
                raise gone(self._path)
            results, effects = commit(connection, now, [entry.operation for entry in entries])
        except Exception as error:
            self._loop.call_soon_threadsafe(self._failed, entries, error)
        else:
            self._loop.call_soon_threadsafe(self._committed, entries, results, effects)

    def _committed(self, entries: list[_Entry], results: list[Any], effects: Effects) -> None:
        self.trouble = None
        self._counts.committed(len(entries), self._loop.time() - self._begun_at)
        self._notify(effects, NOTIFY_AGAIN)
        try:
            # The last first: a claim comes after what it claims, and its runs are pushed before their clients hear of them.
            for entry, result in zip(reversed(entries), reversed(results), strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)
        finally:
            self._begin()

    def _notify(self, effects: Effects, times: int) -> None:
        """Report a commit to the listener, and again if that fails. The operations are acknowledged in any case."""
        try:
            self._on_commit(effects)
        except Exception as error:
            self._loop.call_exception_handler({"message": "what follows a commit", "exception": error})
            if times > 0 and not self._closing:
                self._loop.call_later(NOTIFY_AFTER, self._notify, effects, times - 1)

    def _failed(self, entries: list[_Entry], error: Exception) -> None:
        """Fail the operations of a transaction or try them again, and start the next transaction even if that fails."""
        try:
            kept = self._sort_out(entries, error)
        except Exception as unexpected:
            _fail(entries, StoreError(f"{self._path}: {error}"))
            self._begin()
            raise unexpected from error
        if kept:
            self._loop.call_later(RETRY_AFTER, self._try_again, kept)
        else:
            self._begin()

    def _sort_out(self, entries: list[_Entry], error: Exception) -> list[_Entry]:
        """Fail entries or set them aside to run alone; returns those to try again after a pause."""
        kept: list[_Entry] = []
        if _is_of_the_file(error):
            self.trouble = translate(error, self._path)
            self._counts.failed(self.trouble)
            self.stop_writing(self.trouble)
            kept = [] if self._closing else [entry for entry in entries if entry.keep]
            _fail([entry for entry in entries if entry not in kept], self.trouble)
        elif len(entries) == 1:
            _fail(entries, translate(error, self._path))
        else:
            self._alone.extend(entries)  # one of them caused the error; the others get another try
        return kept

    def _try_again(self, kept: list[_Entry]) -> None:
        self._entries[:0] = kept
        self._begin()


def _identity(path: Path) -> tuple[int, int] | None:
    """The identity of the file. It is not opened, because closing it would drop SQLite's locks."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _is_of_the_file(error: Exception) -> bool:
    """Whether any operation would have met the error: a full disk, a lock, a file that is damaged or gone."""
    if isinstance(error, StoreGone):
        return True
    brought_along = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, brought_along)


def _fail(entries: list[_Entry], error: TakoError) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)


class ReadingConnection:
    """A second connection that cannot write, opened by the first read."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connector = connector
        self._path = path
        self._file = _identity(path)
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function of reads on the connection's thread."""
        try:
            async with self._opening:
                if self._connection is None:
                    if _identity(self._path) != self._file:  # the file there now is not the one that the writer has open
                        raise gone(self._path)
                    self._connection = await open_thread(self._connector)
            return await on_thread(self._connection, function)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    async def stop(self) -> None:
        """Close the connection, if it was ever opened."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
