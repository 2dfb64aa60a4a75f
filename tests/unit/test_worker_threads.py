"""The threads of a worker: a bound for each run, idle ones used again, none left at the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextvars import Context
from typing import Any, cast

import pytest

from tako_lite.worker.run import ActiveRun, current_run
from tako_lite.worker.threads import KEPT, PER_RUN, RunThreads

LIMIT = 20


@pytest.fixture
def threads() -> Iterator[RunThreads]:
    made = RunThreads(1)
    yield made
    made.shutdown()


def submit(threads: RunThreads, run: str, function: Any, *arguments: Any) -> Any:
    """Submit as a run."""

    def call() -> Any:
        current_run.set(cast("ActiveRun", run))
        return threads.submit(function, *arguments)

    return Context().run(call)


def test_a_run_has_no_more_calls_under_way_than_its_bound_and_keeps_none_of_another_waiting(threads: RunThreads) -> None:
    go, begun = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        go.wait(LIMIT)

    held = [submit(threads, "one", hold) for _ in range(PER_RUN + 5)]
    for _ in range(PER_RUN):
        assert begun.acquire(timeout=LIMIT)
    assert submit(threads, "other", abs, -1).result(LIMIT) == 1
    assert not begun.acquire(blocking=False)
    assert held[-1].cancel()
    go.set()
    for future in held[:-1]:
        future.result(LIMIT)


def test_a_thread_is_used_again_and_those_beyond_the_kept_ones_end(threads: RunThreads) -> None:
    names = {submit(threads, str(number), lambda: threading.current_thread().name).result(LIMIT) for number in range(200)}
    assert len(names) <= 3
    barrier = threading.Barrier(KEPT + 20)
    for future in [submit(threads, str(number), barrier.wait, LIMIT) for number in range(KEPT + 20)]:
        future.result(LIMIT)
    threads.shutdown()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("tako-")] == []


def test_an_error_of_a_call_is_its_own(threads: RunThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        submit(threads, "one", divmod, 1, 0).result(LIMIT)
    with pytest.raises(SystemExit):
        submit(threads, "one", lambda: exit(1)).result(LIMIT)
    assert submit(threads, "one", abs, -1).result(LIMIT) == 1


def test_nothing_is_taken_after_the_end(threads: RunThreads) -> None:
    submit(threads, "one", abs, -1).result(LIMIT)
    threads.shutdown()
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(abs, -1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads, which is what is tried
def test_a_fork_has_threads_of_its_own(threads: RunThreads) -> None:
    submit(threads, "one", abs, -1).result(LIMIT)
    child = os.fork()
    if child == 0:
        value = 1
        try:
            value = submit(threads, "one", abs, 0).result(LIMIT)
        finally:
            os._exit(value)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_call_for_which_no_thread_can_be_had_leaves_nothing_of_its_run(
    threads: RunThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        submit(threads, "a", int)
    assert not threads._runs
