"""The threads of a worker: no run can use up the threads that another run needs.

asyncio's default executor is one queue for a fixed number of threads, so a run with many blocking calls delays the calls of
all others. Here each run has a limit of its own, and within that limit a call gets a thread at once, an idle or a new one.
"""

from __future__ import annotations

import os
import threading
import weakref
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
"""Threads that one run may use at a time; its further calls wait for its own threads."""
KEPT: Final = 32
"""Idle threads that are kept; a worker with more slots keeps one for each slot."""

Call = tuple["Future[Any]", Callable[[], Any], "_RunCalls | None"]


class _RunCalls:
    """The calls of one run: how many are executing, and which wait."""

    __slots__ = ("busy", "key", "waiting")

    def __init__(self, key: object) -> None:
        self.key = key
        self.busy = 0
        self.waiting: deque[Call] = deque()


class RunThreads(ThreadPoolExecutor):
    """The default executor of a worker's loop. A call belongs to the run in whose context it is submitted.

    It is a ThreadPoolExecutor only because asyncio accepts no other class; it uses nothing of it.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(PER_RUN)
        self._max_idle = max(slots, KEPT)
        self._made = self._idle = 0
        self._open = True
        self._reset()
        reset = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: (call := reset()) is not None and call())

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a thread, within the limit of the run that asks, if a run asks."""
        future: Future[T] = Future()
        call = fn if not args and not kwargs else lambda: fn(*args, **kwargs)
        key = current_run.get()
        with self._guard:
            calls = self._runs.get(key)
            if calls is None:
                calls = self._runs[key] = _RunCalls(key)
            if calls.busy == PER_RUN:
                calls.waiting.append((future, call, calls))
                return future
            calls.busy += 1
            try:
                self._hand_out((future, call, calls))
            except BaseException:
                self._vacate(calls)
                raise
        return future

    def submit_handler(self, call: Callable[[], T]) -> Future[T]:
        """Call a plain handler in a thread, without a limit: there are no more handlers than slots."""
        future: Future[T] = Future()
        with self._guard:
            self._hand_out((future, call, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let threads end once they are idle; twice is harmless."""
        with self._guard:
            self._open = False
            if cancel_futures:
                for calls in self._runs.values():
                    while calls.waiting:
                        future, *_ = calls.waiting.popleft()
                        future.cancel()
            for _ in range(self._idle):
                self._calls.put(None)
            self._idle = 0
            threads = list(self._alive)
        if wait:
            for thread in threads:
                thread.join()

    def _reset(self) -> None:
        """Begin without threads and calls, at the start and in a process that a handler forked."""
        self._guard = threading.Lock()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._runs: dict[object, _RunCalls] = {}
        self._idle = 0
        self._alive: set[threading.Thread] = set()

    def _hand_out(self, call: Call) -> None:
        """Hand a call to an idle thread, at most one each, or to a new one. Raises RuntimeError."""
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
        except BaseException:  # the system refused a thread
            self._alive.discard(thread)
            raise

    def _work(self, call: Call | None) -> None:
        queue = self._calls
        while call is not None:
            future, function, calls = call
            value, error = None, None
            started = future.set_running_or_notify_cancel()
            if started:
                try:
                    value = function()
                except BaseException as raised:
                    error = raised
            if queue is not self._calls:
                end_fork(error)
            following, stays = self._leave(
                calls
            )  # before the loop learns of the result, since it may submit the next call at once
            if error is not None:
                future.set_exception(error)
            elif started:
                future.set_result(value)
            del call, future, function, calls, value, error  # a waiting thread must not keep objects of a run alive
            call = following or (queue.get() if stays else None)
            del following
        with self._guard:
            self._alive.discard(threading.current_thread())

    def _vacate(self, calls: _RunCalls) -> None:
        """Free a thread of a run, and forget a run that has no thread left."""
        calls.busy -= 1
        if not calls.busy:
            self._runs.pop(calls.key, None)

    def _leave(self, calls: _RunCalls | None) -> tuple[Call | None, bool]:
        """After a call: the next call of its run, if any, and whether the thread is to wait for another one."""
        with self._guard:
            if calls is not None:
                if calls.waiting:
                    return calls.waiting.popleft(), True
                self._vacate(calls)
            stays = self._open and self._idle < self._max_idle
            self._idle += stays
            return None, stays
