"""The thread whose event loop executes everything of one `Tako`."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TurningLoop(asyncio.SelectorEventLoop):
    """A loop that says whether anything is left to do at once."""

    _ready: collections.deque[asyncio.Handle]

    @property
    def is_quiet(self) -> bool:
        """Whether only a timer, another thread or a descriptor can make anything happen, apart from the caller."""
        return not self._ready


class LoopThread:
    """An event loop in a thread of its own, so that tests may be plain functions, or coroutines of any framework."""

    def __init__(self, *, serves_caller: bool = False) -> None:
        """With `serves_caller`, this thread executes what `offer` hands it, while it waits in `call`."""
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] | None = queue.SimpleQueue() if serves_caller else None
        self._is_free = self._is_serving = False
        self._caller = threading.current_thread()
        self.loop = TurningLoop()
        self._thread = threading.Thread(target=self._run, name="tako-test", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        asyncio.set_event_loop(None)

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the loop itself."""
        return threading.current_thread() is self._thread

    def call(
        self,
        coroutine: Coroutine[Any, Any, T],
        limit: float,
        on_limit: Callable[[], str],
        progress: Callable[[], int] = lambda: 0,
    ) -> T:
        """Run a coroutine on the loop and return its result.

        Raises AssertionError with `on_limit()` once `progress()` has not changed for `limit` seconds.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        jobs = self._jobs if threading.current_thread() is self._caller and not self._is_serving else None
        if jobs is not None:
            future.add_done_callback(lambda _: jobs.put(None))
        before = progress()
        while not self._wait(future, limit, jobs):
            if (now := progress()) == before:
                where = self._where()
                future.cancel()
                raise AssertionError(f"nothing ended within {limit:g} s of real time\n{on_limit()}\n{where}")
            before = now
        return future.result()

    def _wait(self, future: concurrent.futures.Future[Any], limit: float, jobs: queue.SimpleQueue[Any] | None) -> bool:
        """Wait until a future is done, for so many seconds at most, and execute jobs meanwhile; whether it is done."""
        if jobs is None:
            return bool(concurrent.futures.wait([future], limit).done)
        self._is_serving = True
        try:
            self._serve(jobs, limit)
        finally:
            self._is_serving = False
        return future.done()

    def _serve(self, jobs: queue.SimpleQueue[Any], limit: float) -> None:
        """Execute the jobs that are offered, until there is an end mark or the time is over."""
        give_up = time.monotonic() + limit
        while True:
            self._is_free = True
            try:
                job = jobs.get(timeout=max(give_up - time.monotonic(), 0.0))
            except queue.Empty:
                return
            finally:
                self._is_free = False
            if job is None:
                return
            job()

    def offer(self, job: Callable[[], None]) -> bool:
        """Have the waiting thread execute a job; False if there is none, or if it is busy."""
        if self._jobs is None or not self._is_free:
            return False
        self._is_free = False
        self._jobs.put(job)
        return True

    def read(self, coroutine: Coroutine[Any, Any, T], limit: float) -> T:
        """The same for a coroutine that never waits; on the loop itself it is run at once."""
        if not self.is_current:
            return self.call(coroutine, limit, str)
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        coroutine.close()
        raise RuntimeError("this method of a Tako cannot be called by a handler")

    def _where(self) -> str:
        """Where the thread is, if a handler blocks it."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        lines = traceback.format_stack(frame)[-3:] if frame is not None else []
        return f"the thread of the event loop is at:\n{''.join(lines)}".rstrip()

    def stop(self) -> None:
        """End the thread and close the loop; twice is harmless."""
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
