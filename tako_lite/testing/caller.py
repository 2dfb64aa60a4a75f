"""Executes plain functions in the thread of the test, so that they see its database transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from tako_lite.testing.thread import LoopThread
from tako_lite.worker.threads import RunThreads

P = ParamSpec("P")
T = TypeVar("T")


class CallerThreads(RunThreads):
    """The threads of a worker, of which the first is that of the test. While it is busy, calls get others."""

    def __init__(self, slots: int, thread: LoopThread) -> None:
        super().__init__(slots)
        self._caller = thread
        _serve_async_orm(thread, self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._offer(lambda: fn(*args, **kwargs)) or super().submit(fn, *args, **kwargs)

    def submit_handler(self, call: Callable[[], T]) -> Future[T]:
        return self._offer(call) or super().submit_handler(call)

    def _offer(self, call: Callable[[], T]) -> Future[T] | None:
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        return future if self._caller.offer(job) else None


def _serve_async_orm(thread: LoopThread, threads: CallerThreads) -> None:
    """Have Django's asynchronous queries use the thread of the test too."""
    asgiref: Any = sys.modules.get("asgiref.sync")
    if asgiref is not None:
        asgiref.AsyncToSync.loop_thread_executors[thread.loop] = threads
