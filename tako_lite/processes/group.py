"""A worker group: the pool of worker processes of one name. It grows, shrinks, backs off and recycles.

The life of a worker (`worker.py` draws its states):

1. *Spawned*, because always-on workers are missing (`_fill`) or due runs find no free slot (`demand`). At most one worker is
   on its way at a time for due runs. `_bring_up` has the owner fork it, under the deadline of startup_timeout.
2. *Ready*: the worker has imported its modules. The group forgets its failures and brings up what is still missing.
   *Broken* instead: the imports failed, and the worker ends by itself within drain_timeout.
3. *Busy and idle* in turn. The owner reports both, and each run that ends: past max_runs or max_memory the worker drains.
   A worker that was idle for idle_timeout is retired, down to the always-on ones. A solo worker, which runs one suspect run
   alone, is retired as soon as it is idle.
4. *Retired*: asked to stop, and killed if it has not ended by itself within drain_timeout.
5. *Dead*: its pidfd or guard socket reports the end (`_died`). The worker takes no more work from then on. `_reap` kills what
   is left of its session and waits until all of it is confirmed gone; only then does the owner learn of the death and settle
   the worker's runs. So no run ever executes twice at the same time.
6. *Removed*: a worker that died before it was ready, or idle right after that, is a failed start. The group then waits before
   it retries (`RESTART`), and is unhealthy from the fifth failure on. After any other end it brings up what is missing.

The group does not know what its workers do. Its owner says when runs wait and when a worker became idle.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any, Final

from tako_lite.backoff import Backoff
from tako_lite.config import GroupSettings
from tako_lite.processes.child import Exit
from tako_lite.processes.worker import Owner, RetireReason, StartCause, Worker
from tako_lite.stamps import FileStamp
from tako_lite.states import GroupState

RESTART: Final = Backoff(base=0.2, max=30)
UNHEALTHY_AFTER: Final = 5
RECHECK_AFTER: Final = 0.05
"""Re-check delay in seconds for a worker whose idle timeout expired while a claim for it was in flight."""
SETTLED_AFTER: Final = 1.0
"""A worker that exits idle within this many seconds of becoming ready counts as a failed start."""


class Group:
    """The workers of one name."""

    def __init__(self, settings: GroupSettings, owner: Owner) -> None:
        self.name = settings.name
        self.settings = settings
        self.workers: list[Worker] = []
        self.paused = False
        self.scale: int | None = None
        self.failures = 0
        self.last_error: str | None = None
        self.has_been_ready = False
        """Whether a worker has become ready since the settings or files last changed."""
        self.loaded: dict[str, FileStamp] = {}
        """The stamps of the files that the newest worker imported."""
        self._owner = owner
        self._wanted: set[bool] = set()
        self._stopping = False
        self._killed = False
        self._gone = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None
        self._idle_check: asyncio.Handle | None = None
        self._idle_check_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def min_workers(self) -> int:
        """The always-on workers, by the settings or by `scale`."""
        return self.settings.workers if self.scale is None else self.scale

    @property
    def max_workers(self) -> int:
        """The maximum number of workers, solo ones not counted."""
        return max(self.settings.max_workers, self.min_workers)

    @property
    def available(self) -> bool:
        """Whether the group takes work. A group without workers does, and so does one that failed to start a few times."""
        return not self.paused and not self.is_unhealthy

    @property
    def is_unhealthy(self) -> bool:
        """Whether so many starts in a row have failed that the group takes no work."""
        return self.failures >= UNHEALTHY_AFTER

    @property
    def trouble(self) -> str | None:
        """Why the group is not available, or None."""
        if self.paused:
            return f"group {self.name} is paused"
        return None if self.available else f"group {self.name} is unhealthy: {self.last_error}"

    @property
    def state(self) -> GroupState:
        if self.paused:
            return "paused"
        if self.is_unhealthy:
            return "unhealthy"
        if self.failures:
            return "backoff"
        if any(worker.takes_work or worker.state == "draining" for worker in self.workers):
            return "active"
        return "starting" if self.workers else "zero"

    @property
    def next_try_at(self) -> float | None:
        """When, by the loop's clock, the group retries to start a worker; None if no retry is scheduled."""
        return None if self._retry is None else self._retry.when()

    # Events that the owner reports

    def start(self) -> None:
        """Bring up the always-on workers."""
        self._fill("always_on")

    def demand(self, *, solo: bool = False) -> None:
        """Grow by one worker because due runs find no free slot, unless the group is full or a worker is starting."""
        if self._stopping or self.paused:
            return
        if self._retry is not None:
            self._wanted.add(solo)
            return
        alike = [worker for worker in self.workers if worker.solo == solo and worker.state != "draining"]
        if len(alike) < self.max_workers and not any(worker.state == "starting" for worker in alike):
            self._spawn(solo, "demand")

    def ready(self, worker: Worker) -> None:
        """A worker is ready; that of a worker which is being killed for being too slow comes too late and is ignored."""
        if worker.state != "starting" or worker.start_error is not None:
            return
        worker.become_ready()
        self.has_been_ready = True
        if self.failures:
            self.failures = 0
            self.last_error = None
        self.idle(worker)
        self._fill("always_on")

    def broken(self, worker: Worker, error: str) -> None:
        """A worker could not import its modules: it ends by itself, and gets drain_timeout for its exit handlers."""
        if worker.state != "starting" or worker.start_error is not None:
            return
        worker.fail_to_start(error)
        worker.set_deadline(self.settings.drain_timeout, partial(worker.kill, "drain"))

    def idle(self, worker: Worker) -> None:
        """A worker has no runs."""
        if worker.state == "draining":
            self.retire(worker, "idle")
            return
        worker.become_idle()
        if worker.solo or len(self._pool()) > self.min_workers:
            self._check_idle_in(0 if worker.solo else self.settings.idle_timeout)

    def runs_ended(self, worker: Worker, count: int) -> None:
        """Runs of a worker ended: past `max_runs` or `max_memory` the worker takes no more."""
        worker.runs_done += count
        settings = self.settings
        if settings.max_runs is None and settings.max_memory is None:
            return
        over = settings.max_runs is not None and worker.runs_done >= settings.max_runs
        over_memory = False
        if not over and settings.max_memory is not None and worker.child is not None:
            over_memory = (worker.child.resident_bytes or 0) > settings.max_memory
        if (over or over_memory) and worker.takes_work:
            was_idle = worker.state == "idle"
            reason: RetireReason = "max_memory" if over_memory else "max_runs"
            worker.drain(reason)
            self._fill("replace")
            if was_idle:
                self.retire(worker, reason)

    def retry_now(self) -> None:
        """Retry at once to start a group that failed to, because something changed that may have fixed it."""
        if self.failures and not self._stopping:
            self._cancel_retry()
            self._try_again()

    def pause(self, paused: bool) -> None:
        """A paused group takes no work; its workers stay."""
        self.paused = paused
        if not paused:
            self.retry_now()
        self._owner.group_changed(self)

    def resize(self, scale: int | None) -> None:
        """Override the number of always-on workers; None returns to the settings."""
        self.scale = scale
        self._fill("always_on")
        pool = sorted(self._pool(), key=lambda worker: worker.state == "busy")
        for worker in pool[: max(len(pool) - self.max_workers, 0)]:
            self.retire(worker, "scale")
        self._shrink()

    def replace(self, settings: GroupSettings) -> None:
        """Take new settings, and replace every worker, because its settings or its files changed."""
        self.settings = settings
        self.failures, self.last_error, self.has_been_ready = 0, None, False
        self.loaded = {}
        self._cancel_retry()
        for worker in list(self.workers):
            self.retire(worker, "reload")
        self._fill("reload")

    def retire(self, worker: Worker, reason: RetireReason) -> None:
        """Have a worker take no more work and end once its runs are over, at the latest after `drain_timeout`."""
        if worker.retire(reason):
            self._ask_to_stop(worker)

    def _ask_to_stop(self, worker: Worker) -> None:
        worker.set_deadline(self.settings.drain_timeout, partial(worker.kill, "drain"))
        self._owner.ask_to_stop(worker)

    async def stop(self) -> None:
        """Retire every worker, and wait until the last one is removed; twice is harmless."""
        self._stopping = True
        self._cancel_retry()
        if self._idle_check is not None:
            self._idle_check.cancel()
        for worker in list(self.workers):
            self.retire(worker, "stop")
        while self.workers:
            self._gone.clear()
            await self._gone.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def kill(self) -> None:
        """Kill every worker."""
        self._stopping = True
        self._killed = True
        for worker in list(self.workers):
            worker.kill_uncharged("stop")

    # Growth

    def _pool(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.solo and worker.state != "draining"]

    def _fill(self, cause: StartCause) -> None:
        """Bring the pool up to its always-on size."""
        if self._stopping or self._retry is not None:
            return
        missing = self.min_workers - len(self._pool())
        for _ in range(missing):
            self._spawn(solo=False, cause=cause)

    def _spawn(self, solo: bool, cause: StartCause) -> None:
        worker = Worker(self, 1 if solo else self.settings.concurrency, solo, cause)
        self.workers.append(worker)
        task = self._loop.create_task(self._bring_up(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_up(self, worker: Worker) -> None:
        worker.set_deadline(self.settings.startup_timeout, partial(self._too_slow, worker))
        try:
            worker.child = await self._owner.spawn(worker, lambda _: self._died(worker))
        except Exception as error:  # of any kind: the group must not wait for a worker that will never start
            worker.fail_to_start(str(error) or type(error).__name__)
            if worker.child is None:
                self._remove(worker, Exit(None))
            else:
                worker.kill("daemon")  # it was forked, so it is removed once it is confirmed dead
        else:
            if self._killed:
                worker.kill("stop")
            elif worker.asked_to_stop and worker.state != "exited":
                self._ask_to_stop(worker)  # it was retired before it was connected

    def _too_slow(self, worker: Worker) -> None:
        worker.fail_to_start(f"was not ready within startup_timeout = {self.settings.startup_timeout:g} s")
        worker.kill("startup")

    # Ends

    def _died(self, worker: Worker) -> None:
        worker.lose_link()  # its slots would count as free until it is reaped
        task = self._loop.create_task(self._reap(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reap(self, worker: Worker) -> None:
        assert worker.child is not None  # noqa: S101
        while True:
            try:
                exit = await worker.child.reap()
                break
            except Exception as error:  # no thread, no /proc: its runs are re-queued only once it is confirmed dead
                self._report(f"the confirmation that worker {worker.pid} of group {self.name} is dead", error)
                await asyncio.sleep(1)
        self._remove(worker, exit)

    def _remove(self, worker: Worker, exit: Exit) -> None:
        started = worker.state != "starting" and worker.start_error is None
        lived = self._loop.time() - worker.ready_at
        by_itself = not worker.asked_to_stop
        was_idle = worker.state == "idle"
        worker.exit()
        self.workers.remove(worker)
        self._gone.set()
        try:
            self._owner.worker_gone(worker, exit)
        except Exception as error:
            self._report(f"what follows the end of a worker of group {self.name}", error)
        if by_itself and (not started or (was_idle and lived < SETTLED_AFTER)):
            self._failed(worker.start_error or f"a worker {exit} before it took any work")
        else:
            self._fill("crash" if by_itself else "replace")
        self._owner.group_changed(self)

    def _failed(self, error: str) -> None:
        if self._retry is not None:
            return  # workers that fail together count as one failure of the group
        self.failures += 1
        self.last_error = error
        pause = RESTART.delay(self.failures, random.random) if self.failures < UNHEALTHY_AFTER else RESTART.max
        if not self._stopping:
            self._retry = self._loop.call_later(float(pause), self._try_again)

    def _try_again(self) -> None:
        """Bring up the workers that are missing, and those that were demanded during the pause."""
        self._retry = None
        wanted, self._wanted = self._wanted, set()
        try:
            self._fill("retry")
        finally:
            for solo in wanted:
                self.demand(solo=solo)

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # Idle timeout

    def _check_idle_in(self, seconds: float) -> None:
        when = self._loop.time() + seconds
        if self._idle_check is not None and not self._idle_check.cancelled():
            if self._idle_check_at <= when:
                return
            self._idle_check.cancel()
        self._idle_check_at = when  # uvloop's handle of a call that is due at once does not know its time
        self._idle_check = self._loop.call_at(when, self._shrink)

    def _shrink(self) -> None:
        """Retire the workers that were idle for `idle_timeout`, down to the always-on ones."""
        self._idle_check = None
        if self._stopping:
            return
        try:
            self._retire_idle()
        except Exception:
            self._check_idle_in(max(self.settings.idle_timeout, 1.0))
            raise

    def _retire_idle(self) -> None:
        now = self._loop.time()
        spare = len(self._pool()) - self.min_workers
        next_check: float | None = None
        for worker in sorted(self.workers, key=lambda worker: worker.idle_since):
            if worker.state != "idle" or (not worker.solo and spare <= 0):
                continue
            left = worker.idle_since + (0 if worker.solo else self.settings.idle_timeout) - now
            if left <= 0 and self._owner.expects_work(self, solo=worker.solo):
                left = RECHECK_AFTER
            if left <= 0:
                spare -= not worker.solo
                self.retire(worker, "idle")
            else:
                next_check = left if next_check is None else min(next_check, left)
        if next_check is not None:
            self._check_idle_in(next_check)

    def _report(self, what: str, error: Exception) -> None:
        """Pass an unexpected error to the event loop's handler, which counts and logs it."""
        self._loop.call_exception_handler({"message": what, "exception": error})

    def as_json(self) -> dict[str, Any]:
        """What `status` shows of the pool."""
        return {
            "name": self.name,
            "state": self.state,
            "min_workers": self.min_workers,
            "max_workers": self.max_workers,
            "concurrency": self.settings.concurrency,
            "last_error": self.last_error,
        }
