"""What workers report, turned into transitions of the store; every answer follows its COMMIT."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from tako_lite.clock import Clock
from tako_lite.daemon.commands import Commands
from tako_lite.daemon.dispatcher import Dispatcher, Post, Running
from tako_lite.daemon.events import ending
from tako_lite.daemon.triggers import Triggers
from tako_lite.errors import ProtocolError, TakoError
from tako_lite.processes.child import Exit
from tako_lite.protocol.items import (
    ANSWERED_ALONE,
    AddWait,
    CallCommand,
    EnqueueChild,
    EvaluationEnded,
    InvokeChild,
    Request,
    RunBailed,
    RunCancelled,
    RunDropped,
    RunFailed,
    RunNotImported,
    RunParked,
    RunPostponed,
    RunReleased,
    SaveStep,
    read_items,
)
from tako_lite.protocol.worker import (
    Answer,
    AnswersFrame,
    Refused,
)
from tako_lite.records import Claimed, Failure
from tako_lite.store.base import Completed, NewWait, SavedStep, Store
from tako_lite.units import counted, was_or_were
from tako_lite.wire import MAX_VALUE


class Outcomes:
    """Reads the items of workers' frames."""

    def __init__(self, store: Store, dispatcher: Dispatcher, commands: Commands, triggers: Triggers, clock: Clock) -> None:
        self._commands = commands
        self._triggers = triggers
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._ends: dict[str, Callable[[Post, Running, Any], None]] = {
            "found": self._evaluation_ended,
            "fail": self._failed,
            "broken": self._not_imported,
            "bail": self._bailed,
            "later": self._postponed,
            "parked": self._parked,
            "given": self._released,
            "cancelled": self._cancelled,
            "dropped": self._dropped,
        }
        self._requests: dict[str, Callable[[Post, Any], Awaitable[Any]]] = {
            "wait": self._wait,
            "invoke": self._invoke,
            "enqueue": self._enqueue,
            "call": self._call,
        }

    def read(self, post: Post, items: Sequence[Sequence[Any]]) -> None:
        """Take up all items of a frame; those of one kind share one call of the store.

        Steps come first: once the end of its run is stored, a step would be refused. Where an error leaves this, runs whose end
        was not handed to the store are still the worker's, which the caller ends.
        """
        freed: dict[str, Running] = {}
        try:
            self._take_up(post, items, freed)
        except BaseException:
            post.running.update(freed)
            raise
        self._dispatcher.settled(post)

    def _take_up(self, post: Post, raw: Sequence[Sequence[Any]], freed: dict[str, Running]) -> None:
        """Do so; `freed` has the runs that are not handed to the store yet."""
        done: list[Completed] = []
        dispatcher = self._dispatcher
        dispatcher.look_at(post.worker.group.name)
        pid = post.worker.pid
        steps, others = read_items(raw)
        if steps:
            self._save(post, steps)
        for item in others:
            if item.kind == "ok":
                _, run_id, _, result = item
                if not isinstance(result, str) or len(result) > MAX_VALUE:
                    raise ProtocolError("a result is JSON text of at most 1 MiB")
                running = dispatcher.free(post, run_id)
                if running is not None:
                    freed[run_id] = running
                    done.append(Completed(run_id, running.claimed.token, result, pid))
            elif isinstance(item, ANSWERED_ALONE):
                self._request(post, item)
            elif item.kind == "begun":
                dispatcher.watch(self._store.mark_run_begun(item.run_id, item.token), "store the start of a run")
            elif item.kind == "progress":
                stored = self._store.set_progress(item.run_id, item.token, item.fraction, item.note)
                dispatcher.watch(stored, "store progress")
            else:
                running = dispatcher.free(post, item.run_id)
                if running is not None:
                    freed[item.run_id] = running
                    self._ends[item.kind](post, running, item)
                    del freed[item.run_id]
        if done:
            dispatcher.watch(self._store.complete_runs(done), "store results")
            freed.clear()

    # Ends of attempts

    def _failed(self, post: Post, running: Running, item: RunFailed) -> None:
        about = item.failure
        failure = Failure(about["type"], about["message"], about.get("traceback"), about.get("reason"))
        self.attempt_failed(running.claimed, failure, post.worker.pid, retryable=item.retryable)

    def _not_imported(self, post: Post, running: Running, item: RunNotImported) -> None:
        self.attempt_failed(running.claimed, Failure("CannotImport", item.error, None, "cannot_import"), post.worker.pid)

    def attempt_failed(self, run: Claimed, failure: Failure, pid: int, *, retryable: bool = True) -> None:
        """An attempt failed: another one after a while, or the end."""
        if retryable and run.attempts + 1 < run.max_attempts:
            delay = self._backoff(run)
            run_at = self._clock.now() + round(delay * 1000)
            future = self._store.reschedule_run(run.id, run.token, failure, run_at, pid, charged=True)
        else:
            future = self._store.finish_run(run.id, run.token, "dead", failure, pid, charged=True)
        self._dispatcher.watch(future, f"store the failure of {run.id}")

    def _backoff(self, run: Claimed) -> float:
        spec = self._dispatcher.catalog.workflows.get(run.workflow)
        return spec.options.backoff.delay(run.attempts + 1, random.random) if spec is not None else 1.0

    def _bailed(self, post: Post, running: Running, item: RunBailed) -> None:
        self._finish(post, running, "cancelled", Failure("Bailed", item.reason, None, "bailed"), charged=True)

    def _cancelled(self, post: Post, running: Running, item: RunCancelled) -> None:
        self._finish(post, running, "cancelled", _CANCELLED, charged=False)

    def _finish(
        self, post: Post, running: Running, state: Literal["cancelled", "dead"], failure: Failure, *, charged: bool
    ) -> None:
        run = running.claimed
        future = self._store.finish_run(run.id, run.token, state, failure, post.worker.pid, charged=charged)
        self._dispatcher.watch(future, f"end {run.id}")

    def _postponed(self, post: Post, running: Running, item: RunPostponed) -> None:
        run = running.claimed
        run_at = self._clock.now() + round(item.delay * 1000)
        future = self._store.reschedule_run(run.id, run.token, None, run_at, post.worker.pid, charged=False)
        self._dispatcher.watch(future, f"put {run.id} off")

    def _parked(self, post: Post, running: Running, item: RunParked) -> None:
        run = running.claimed
        future = self._store.park_run(run.id, run.token, item.waits, self._executed_ms(running))
        self._dispatcher.watch(future, f"park {run.id}")

    def _dropped(self, post: Post, running: Running, item: RunDropped) -> None:
        """Another attempt owns the run: nothing is stored."""

    def _released(self, post: Post, running: Running, item: RunReleased) -> None:
        run = running.claimed
        future = self._store.requeue_runs([(run.id, run.token)], None, self._executed_ms(running))
        self._dispatcher.watch(future, f"give {run.id} back")

    def _evaluation_ended(self, post: Post, running: Running, item: EvaluationEnded) -> None:
        run = running.claimed
        self._dispatcher.watch(self._triggers.found(run, item.result, post.worker.pid), f"store what {run.workflow} found")

    def _executed_ms(self, running: Running) -> int:
        return round((asyncio.get_running_loop().time() - running.since) * 1000)

    # Requests that are answered

    def _save(self, post: Post, items: Sequence[SaveStep]) -> None:
        now = self._clock.now()
        steps = [
            SavedStep(
                item.run_id, item.token, item.name, item.step_kind, item.state, item.value, item.error, item.tries,
                item.started_at, now,
            )
            for item in items
        ]  # fmt: skip

        def answer(finished: asyncio.Future[Any]) -> None:
            if finished.cancelled():
                return
            if error := finished.exception():
                answers = [Answer(item.sequence, self._refusal(error)) for item in items]
            else:
                answers = [Answer(item.sequence, outcome) for item, outcome in zip(items, finished.result(), strict=True)]
            post.send(AnswersFrame(t="answers", answers=answers))

        asyncio.ensure_future(self._store.save_steps(steps)).add_done_callback(answer)

    def _request(self, post: Post, item: Request) -> None:
        async def work() -> Any:
            return await self._requests[item.kind](post, item)

        def answer(finished: asyncio.Future[Any]) -> None:
            if not finished.cancelled():
                error = finished.exception()
                answer = Answer(item.sequence, self._refusal(error) if error else finished.result())
                post.send(AnswersFrame(t="answers", answers=[answer]))

        asyncio.ensure_future(work()).add_done_callback(answer)

    def _refusal(self, error: BaseException) -> Refused:
        """An error as an answer; an unexpected one is reported too."""
        if not isinstance(error, TakoError):
            self._dispatcher.report("the answer to a step", error)
        return _error(error)

    async def _wait(self, post: Post, item: AddWait) -> Any:
        return await self._store.add_wait(NewWait(item.run_id, item.token, item.name, item.step_kind, item.key, item.wake_at))

    async def _invoke(self, post: Post, item: InvokeChild) -> Any:
        if (running := post.running.get(item.run_id)) is None:
            return None
        child = self._commands.child(running.claimed, item.workflow, item.payload, item.options)
        return await self._store.invoke_child(item.run_id, item.token, item.name, child)

    async def _enqueue(self, post: Post, item: EnqueueChild) -> Any:
        if (running := post.running.get(item.run_id)) is None:
            return None
        child = self._commands.child(running.claimed, item.workflow, item.payload, item.options)
        return await self._store.enqueue_child(item.run_id, item.token, item.name, child)

    async def _call(self, post: Post, item: CallCommand) -> Any:
        return await self._commands.execute(item.command, item.arguments)

    # Deaths

    def worker_gone(self, post: Post, exit: Exit, last_lines: list[str]) -> None:
        """A worker and all that it started are confirmed dead: its runs go back, and the culprit is charged."""
        runs = [running.claimed for running in post.running.values()]
        for running in post.running.values():
            for timer in running.timers:
                timer.cancel()
        if not runs:
            return
        group = post.worker.group
        silent = "silent" in post.blamed.values()
        if (post.worker.asked_to_stop or post.blamed) and not silent:
            self._after_our_kill(post, runs)
        elif len(runs) == 1:
            tail = "\n".join(last_lines).strip()
            end = "gave no sign of life and was killed" if silent else ending(post.worker, exit)
            said = f"its worker {end}" + (f"; last lines:\n{tail}" if tail else "")
            failure = Failure("WorkerCrashed", said, None, "crashed")
            run = runs[0]
            future = self._store.charge_crash(run.id, run.token, failure, group.settings.max_crashes, post.worker.pid)
            self._dispatcher.watch(future, f"charge the crash of {run.id}")
        else:
            claims = [(run.id, run.token) for run in runs]
            self._dispatcher.watch(self._store.requeue_runs(claims, "suspect"), "give suspects back")

    def _after_our_kill(self, post: Post, runs: list[Claimed]) -> None:
        innocent = []
        for run in runs:
            why = post.blamed.get(run.id)
            if why == "timeout":
                failure = Failure(
                    "Timeout", "the attempt took longer than its timeout, and its worker was killed", None, "timeout"
                )
                self.attempt_failed(run, failure, post.worker.pid)
            elif why == "cancelled":
                future = self._store.finish_run(run.id, run.token, "cancelled", _CANCELLED, post.worker.pid, charged=False)
                self._dispatcher.watch(future, f"cancel {run.id}")
            else:
                innocent.append((run.id, run.token))
        if innocent:
            self._dispatcher.watch(self._store.requeue_runs(innocent), "give runs back")


def fate(post: Post) -> str:
    """What becomes of the runs of a worker that is dead, for the log."""
    running = len(post.running)
    if not running:
        return "it had no runs"
    silent = "silent" in post.blamed.values()
    if (post.worker.asked_to_stop or post.blamed) and not silent:
        others = running - sum(run in post.blamed for run in post.running)
        if not others:
            return ""
        return f"its {'other ' if others < running else ''}{counted(others, 'run')} {was_or_were(others)} re-queued"
    if running == 1:
        return f"run {next(iter(post.running))} is charged with a crash"
    return f"its {counted(running, 'run')} will run again one at a time, to find the one that did it"


_CANCELLED = Failure("Cancelled", "cancelled on request", None, "cancelled")


def _error(error: BaseException) -> Refused:
    if isinstance(error, TakoError):
        return Refused(error=error.as_json())
    return Refused(error={"type": "error", "message": f"{type(error).__name__}: {error}", "hint": None})
