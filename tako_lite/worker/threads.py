"""The threads of a worker: no run can take those that another one needs.

asyncio's default executor is one queue before a fixed number of threads, so a run with many blocking calls keeps the calls of
all others waiting. Here each run has a bound of its own, and within it a call finds a thread at once, an idle or a new one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

from tako_lite.worker.forked import end_fork
from tako_lite.worker.run import current_run

P = ParamSpec("P")
T = TypeVar("T")
PER_RUN: Final = 32
"""Threads that one run may occupy at a time; its further calls wait for its own."""
KEPT: Final = 32
"""Threads that stay when they have nothing to do, at the least; a worker with more slots keeps one for each."""

Call = tuple["Future[Any]", Callable[[], Any], "_Lane | None"]


class _Lane:
    """What one run has under way."""

    __slots__ = ("busy", "key", "waiting")

    def __init__(self, key: object) -> None:
        self.key = key
        self.busy = 0
        self.waiting: deque[Call] = deque()


class RunThreads(ThreadPoolExecutor):
    """The default executor of a worker's loop. A call belongs to the run in whose context it is submitted.

    It is a ThreadPoolExecutor because asyncio takes no other; of that class it uses nothing.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(PER_RUN)
        self._kept = max(slots, KEPT)
        self._made = self._idle = 0
        self._open = True
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a thread of the run that asks, or of none."""
        future: Future[T] = Future()
        call = fn if not args and not kwargs else lambda: fn(*args, **kwargs)
        key = current_run.get()
        with self._guard:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(key)
            if lane.busy == PER_RUN:
                lane.waiting.append((future, call, lane))
                return future
            lane.busy += 1
            try:
                self._give((future, call, lane))
            except BaseException:
                self._vacate(lane)
                raise
        return future

    def submit_handler(self, call: Callable[[], T]) -> Future[T]:
        """Call a plain handler in a thread; there are no more of them than slots."""
        future: Future[T] = Future()
        with self._guard:
            self._give((future, call, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; threads end when they have nothing left to do. Twice is harmless."""
        with self._guard:
            self._open = False
            if cancel_futures:
                for lane in self._lanes.values():
                    while lane.waiting:
                        lane.waiting.popleft()[0].cancel()
            for _ in range(self._idle):
                self._calls.put(None)
            self._idle = 0
            threads = list(self._alive)
        if wait:
            for thread in threads:
                thread.join()

    def _reset(self) -> None:
        """No threads and nothing to do, at the start and in a process that a handler forked."""
        self._guard = threading.Lock()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._lanes: dict[object, _Lane] = {}
        self._idle = 0
        self._alive: set[threading.Thread] = set()

    def _give(self, call: Call) -> None:
        """Hand a call to an idle thread, each of which is promised one at most, or to a new one. Raises RuntimeError."""
        if not self._open:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._idle:
            self._idle -= 1
            self._calls.put(call)
            return
        self._made += 1
        thread = threading.Thread(target=self._work, args=(call,), name=f"tako-{self._made}", daemon=False)
        self._alive.add(thread)
        try:
            thread.start()
        except BaseException:  # no thread to be had
            self._alive.discard(thread)
            raise

    def _work(self, call: Call | None) -> None:
        calls = self._calls
        while call is not None:
            future, function, lane = call
            value, error = None, None
            started = future.set_running_or_notify_cancel()
            if started:
                try:
                    value = function()
                except BaseException as raised:
                    error = raised
            if calls is not self._calls:
                end_fork(error)
            following, stays = self._leave(lane)  # before the loop hears of it, which may have the next call at once
            if error is not None:
                future.set_exception(error)
            elif started:
                future.set_result(value)
            del call, future, function, lane, value, error  # while it waits, a thread must hold nothing of the run's
            call = following or (calls.get() if stays else None)
            del following
        with self._guard:
            self._alive.discard(threading.current_thread())

    def _vacate(self, lane: _Lane) -> None:
        """A thread of a run is free; of a run that has none nothing is kept."""
        lane.busy -= 1
        if not lane.busy:
            self._lanes.pop(lane.key, None)

    def _leave(self, lane: _Lane | None) -> tuple[Call | None, bool]:
        """A call is over: the next one of its run, and whether the thread waits for another where there is none."""
        with self._guard:
            if lane is not None:
                if lane.waiting:
                    return lane.waiting.popleft(), True
                self._vacate(lane)
            stays = self._open and self._idle < self._kept
            self._idle += stays
            return None, stays
