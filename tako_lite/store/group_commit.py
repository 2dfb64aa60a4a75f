"""Group commit: operations that come at the same time share a transaction of the one writing connection.

How many changes share one fsync:

- `submit` runs on the event loop. It appends the operation to the entries. If the thread is idle, it schedules `_begin` for the
  next turn of the loop, so that everything which this turn submits comes along.
- `_begin` hands all entries to the thread as one transaction. While the thread works and waits for the disk, new entries
  collect; they are the next transaction. So the batch grows with the load, and nothing waits for a timer.
- The thread runs the operations in the order of their submission, commits, and goes back to the loop in one hop.
- As long as transactions are short, the loop runs the urgent ones itself: waking the thread and being woken by it would take
  longer than the transaction. After a slow one the thread has its turn again, so a slow disk does not stop the loop.
- `_committed` reports the effects first, then answers the futures, the last first: a claim is submitted after what it claims,
  so its runs are pushed to workers before the clients hear that they are stored.
- If the transaction fails because of the file (full disk, lock, damage), operations with `keep` are tried again after a pause,
  and the others fail. If one operation spoiled it, the others are tried without it, or
  each alone.
- Nothing is answered before COMMIT, and after damage nothing is written any more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from tako_lite.clock import Clock
from tako_lite.errors import StoreBusy, StoreDamaged, StoreError, TakoError
from tako_lite.store.base import Effects
from tako_lite.store.counts import StoreCounts
from tako_lite.store.transitions.transaction import Transaction

T = TypeVar("T")

RETRY_AFTER: Final = 0.25
"""Seconds between two tries to commit an operation that must not be lost, such as a result, while the disk is full."""

NOTIFY_AGAIN: Final = 3
"""How often a commit is reported again to a listener that failed."""
NOTIFY_AFTER: Final = 1.0
"""Seconds between two reports of a commit."""

SHORT: Final = 0.0008
"""Seconds that transactions may take on average for the loop to run the next one itself."""
FEW: Final = 100
"""How many rows a transaction of the loop may change."""
WEIGHT: Final = 0.25
"""The weight of the last transaction in that average."""

Operation = Callable[[Transaction], Any]


class _Entry(NamedTuple):
    operation: Operation
    future: asyncio.Future[Any]
    keep: bool
    urgent: bool
    size: int


class WritingSession(Protocol):
    """The writing connection of a backend, on a thread of its own."""

    def start(self, function: Callable[[], None], /) -> None:
        """Run a function on the thread; it reports its own outcome, so nothing waits for it."""

    def commit(self, operations: Sequence[Operation], now: int, /) -> tuple[list[Any], Effects]:
        """On the thread: run operations in one transaction. Returns their results, or stores nothing and raises."""

    def commit_now(self, operations: Sequence[Operation], now: int, /) -> tuple[list[Any], Effects] | None:
        """On the loop: the same, or None if that would have to wait for the thread or for another program."""

    def is_of_backend(self, error: Exception, /) -> bool:
        """Whether any operation would have met the error, such as a full disk or a lost connection."""

    def find_spoiler(self, error: Exception, /) -> int | None:
        """Which of the operations of the last transaction met the error, if that is known."""

    def translate(self, error: Exception, /) -> TakoError:
        """The error of ours for an error of the backend."""


class GroupCommit:
    """Runs operations in the order in which they come; those that wait at the same time share a transaction and its fsync."""

    def __init__(
        self,
        session: WritingSession,
        clock: Clock,
        on_commit: Callable[[Effects], None],
        counts: StoreCounts,
    ) -> None:
        self._session = session
        self._clock = clock
        self._on_commit = on_commit
        self._counts = counts
        self._begun_at = 0.0
        self._usual = SHORT
        """The average of the seconds that transactions take."""
        self._entries: list[_Entry] = []
        self._apart: deque[list[_Entry]] = deque()
        """Entries of a transaction that one of them spoiled, divided into others."""
        self.trouble: TakoError | None = None
        """The error that kept the last transaction from being stored, if it came from the file and not from an operation."""
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self.damaged: asyncio.Future[StoreDamaged] = self._loop.create_future()
        """Done once the file is found to be damaged: nothing is written from then on, to prevent more damage."""

    def submit(
        self, operation: Callable[[Transaction], T], *, keep: bool = False, urgent: bool = True, size: int = 1
    ) -> asyncio.Future[T]:
        """A future of the operation's result, done after COMMIT.

        With `keep`, a full or locked disk does not fail the operation: it is tried again until it is stored or we stop. The
        loop runs a short transaction itself if one of its operations is `urgent`; else it has other things to do meanwhile.
        `size` is about how many rows the operation changes at most: many of them are for the thread.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreError("the queue is closed: the daemon is stopping"))
            return future
        if self.damaged.done():
            future.set_exception(self.damaged.result())
            return future
        self._entries.append(_Entry(operation, future, keep, urgent, size))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._begin)  # not now: what this turn of the loop still submits joins the transaction
        return future

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
            _fail([*chain(*self._apart), *self._entries], self.damaged.result())
            self._apart.clear()
            self._entries.clear()
        if self._apart:
            entries = self._apart.popleft()
        else:
            entries, self._entries = self._entries, []
        if entries:
            self._begun_at = self._loop.time()
            if not self._is_for_the_loop(entries) or not self._work_now(entries):
                self._session.start(partial(self._work, entries, self._clock.now()))
        else:
            self._busy = False
            self._idle.set()

    def _is_for_the_loop(self, entries: list[_Entry]) -> bool:
        if self._usual >= SHORT or sum(entry.size for entry in entries) > FEW:
            return False
        return any(entry.urgent for entry in entries)

    def _work_now(self, entries: list[_Entry]) -> bool:
        """On the loop: one transaction, unless it would have to wait."""
        begun = time.perf_counter()
        try:
            committed = self._session.commit_now([entry.operation for entry in entries], self._clock.now())
        except Exception as error:
            self._loop.call_soon(self._failed, entries, error)
            return True
        if committed is not None:
            self._committed(entries, *committed, time.perf_counter() - begun, self._begin_soon)
        return committed is not None

    def _work(self, entries: list[_Entry], now: int) -> None:
        """On the connection's thread: one transaction, whose outcome goes back to the loop in one hop."""
        begun = time.perf_counter()
        try:
            results, effects = self._session.commit([entry.operation for entry in entries], now)
        except Exception as error:
            self._loop.call_soon_threadsafe(self._failed, entries, error)
        else:
            seconds = time.perf_counter() - begun
            self._loop.call_soon_threadsafe(self._committed, entries, results, effects, seconds, self._begin)

    def _begin_soon(self) -> None:
        """Start the next transaction in the next turn of the loop, with what the last one leads to."""
        if self._entries or self._apart:
            self._loop.call_soon(self._begin)
        else:
            self._begin()

    def _committed(
        self, entries: list[_Entry], results: list[Any], effects: Effects, seconds: float, begin: Callable[[], None]
    ) -> None:
        self.trouble = None
        self._usual += (seconds - self._usual) * WEIGHT
        self._counts.committed(len(entries), self._loop.time() - self._begun_at)
        self._notify(effects, NOTIFY_AGAIN)
        try:
            # The last first: a claim comes after what it claims, and its runs are pushed before their clients hear of them.
            for entry, result in zip(reversed(entries), reversed(results), strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)
        finally:
            begin()

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
            _fail(entries, StoreError(str(error)))
            self._begin()
            raise unexpected from error
        if kept:
            self._loop.call_later(RETRY_AFTER, self._try_again, kept)
        else:
            self._begin()

    def _sort_out(self, entries: list[_Entry], error: Exception) -> list[_Entry]:
        """Fail entries or set them aside to run alone; returns those to try again after a pause."""
        kept: list[_Entry] = []
        if self._session.is_of_backend(error):
            self.trouble = self._session.translate(error)
            self._counts.failed(self.trouble)
            self.stop_writing(self.trouble)
            kept = [] if self._closing else [entry for entry in entries if entry.keep]
            _fail([entry for entry in entries if entry not in kept], self.trouble)
        elif len(entries) == 1:
            translated = self._session.translate(error)
            if isinstance(translated, StoreBusy) and entries[0].keep and not self._closing:
                self.trouble = translated
                return entries
            _fail(entries, translated)
        elif (spoiler := self._session.find_spoiler(error)) is not None:
            self._apart.append([*entries[:spoiler], *entries[spoiler + 1 :]])
            self._apart.append([entries[spoiler]])
        else:
            self._apart.extend([entry] for entry in entries)  # one of them caused the error; the others get another try
        return kept

    def _try_again(self, kept: list[_Entry]) -> None:
        self._entries[:0] = kept
        self._begin()


def _fail(entries: list[_Entry], error: TakoError) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)
