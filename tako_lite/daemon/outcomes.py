"""Turns what workers report into transitions of the store; every answer is sent after the commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from tako_lite.clock import Clock
from tako_lite.daemon.commands import Commands
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.events import ending
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.run_reports import RunReports
from tako_lite.daemon.triggers import Triggers
from tako_lite.daemon.worker_session import Assignment, WorkerSession
from tako_lite.errors import NotFound, ProtocolError, TakoError
from tako_lite.named_tuples import new_tuple
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
    RunHeld,
    RunNotImported,
    RunParked,
    RunPostponed,
    RunReleased,
    RunSucceeded,
    SaveStep,
    StepsNotReached,
    read_items,
)
from tako_lite.protocol.worker import (
    Answer,
    AnswersFrame,
    Refused,
)
from tako_lite.reached import sentences
from tako_lite.records import Claimed, Failure, NewRun
from tako_lite.states import AttemptKind
from tako_lite.store.base import Completed, NewWait, SavedStep, Store
from tako_lite.units import counted, was_or_were
from tako_lite.wire import MAX_VALUE

if TYPE_CHECKING:
    from tako_lite.daemon.narrator import Narrator

KINDS: Final[dict[str, AttemptKind | None]] = {
    "found": "succeeded",
    "fail": "failed",
    "broken": "failed",
    "bail": "bailed",
    "later": "postponed",
    "parked": "parked",
    "held": "released",
    "given": "released",
    "cancelled": "cancelled",
    "dropped": None,
}
"""What the items that end an attempt count as; `ok` is counted by the frame."""
STEP_KINDS: Final = {"invoke": "child"}
"""The kinds of steps that requests ask for, where those have another name."""
UNFINISHED: Final = ("parked", "released", "interrupted")
"""The attempts that will continue: their time is observed once they have ended."""
ENDED_BY_KILL: Final[dict[str, AttemptKind]] = {"timeout": "timeout", "cancelled": "cancelled"}


class Outcomes:
    """Stores the items of workers' frames."""

    random: Callable[[], float] = staticmethod(random.random)
    """The jitter of backoffs."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        commands: Commands,
        triggers: Triggers,
        meter: Meter,
        reports: RunReports,
        clock: Clock,
    ) -> None:
        self._reports = reports
        self._commands = commands
        self._triggers = triggers
        self._store = store
        self._dispatcher = dispatcher
        self._meter = meter
        self._clock = clock
        self.narrator: Narrator | None = None
        """Reports steps and ends of runs, if anyone wants to read that."""
        self._ends: dict[str, Callable[[WorkerSession, Assignment, Any], None]] = {
            "found": self._evaluation_ended,
            "fail": self._failed,
            "broken": self._not_imported,
            "bail": self._bailed,
            "later": self._postponed,
            "parked": self._parked,
            "held": self._held,
            "given": self._released,
            "cancelled": self._cancelled,
            "dropped": self._dropped,
        }
        self._requests: dict[str, Callable[[WorkerSession, Any], Awaitable[Any]]] = {
            "wait": self._wait,
            "invoke": self._invoke,
            "enqueue": self._enqueue,
            "call": self._call,
        }

    def read(self, session: WorkerSession, items: Sequence[Sequence[Any]]) -> None:
        """Hand all items of a frame to the store, in one call for all steps and one for all successes.

        Steps go first: the store refuses a step of a run that has ended. If this raises, the runs whose end was not handed to
        the store are still assigned to the worker, and the caller kills the worker.
        """
        freed: dict[str, Assignment] = {}
        try:
            self._take_up(session, items, freed)
        except BaseException:
            session.assignments.update(freed)
            raise
        self._dispatcher.check_idle(session)

    def _take_up(self, session: WorkerSession, raw: Sequence[Sequence[Any]], freed: dict[str, Assignment]) -> None:
        """The same; collects in `freed` the runs that are not handed to the store yet."""
        dispatcher = self._dispatcher
        dispatcher.schedule_pass(session.worker.group.name)
        steps, succeeded, others = read_items(raw)
        if steps:
            self._save(session, steps)
        for item in others:
            if isinstance(item, ANSWERED_ALONE):
                self._request(session, item)
            elif item.kind == "begun":
                dispatcher.watch(self._store.mark_run_begun(item.run_id, item.token), "store the start of a run")
            elif item.kind == "missed":
                self._not_reached(session, item)
            elif item.kind == "progress":
                stored = self._store.set_progress(item.run_id, item.token, item.fraction, item.note)
                dispatcher.watch(stored, "store progress")
            else:
                assignment = dispatcher.end_assignment(session, item.run_id)
                if assignment is not None:
                    freed[item.run_id] = assignment
                    self._ends[item.kind](session, assignment, item)
                    del freed[item.run_id]
                    self._count_end(session, assignment, item)
                    session.worker.group.runs_ended(session.worker, 1)
        if succeeded:
            self._complete(session, succeeded, freed)
        if self._meter.has_minutes:
            self.record_minutes()

    def _complete(self, session: WorkerSession, succeeded: list[RunSucceeded], freed: dict[str, Assignment]) -> None:
        """Store that runs succeeded, in one call; collects them in `freed` until they are handed to the store."""
        dispatcher, group, pid = self._dispatcher, session.worker.group, session.worker.pid
        done: list[Completed] = []
        for _, run_id, _, result in succeeded:
            if not isinstance(result, str) or len(result) > MAX_VALUE:
                raise ProtocolError("a result is JSON text of at most 1 MiB")
            assignment = dispatcher.end_assignment(session, run_id)
            if assignment is not None:
                freed[run_id] = assignment
                done.append(new_tuple(Completed, (run_id, assignment.claimed.token, result, pid)))
        if not done:
            return
        group.runs_ended(session.worker, len(done))
        now = asyncio.get_running_loop().time()
        dispatcher.ahead.of(group.name).took([now - assignment.since for assignment in freed.values()])
        stored = asyncio.ensure_future(self._store.complete_runs(done, urgent=not dispatcher.ahead.has(group.name)))
        dispatcher.watch(stored, "store results")
        if self.narrator is not None:
            stored.add_done_callback(partial(self._report_successes, session, done, dict(freed)))
        self._meter.runs_succeeded(group.name, freed.values(), now)
        freed.clear()

    def _report_successes(
        self, session: WorkerSession, done: list[Completed], ended: dict[str, Assignment], stored: asyncio.Future[None]
    ) -> None:
        if self.narrator is not None and not stored.cancelled() and stored.exception() is None:
            for run in done:
                self.narrator.run_succeeded(session, ended[run.id], run.result)

    def record_minutes(self, *, whole: bool = False) -> None:
        """Store the totals of the minutes that are over, and with `whole` of the current one.

        It is called together with an outcome that is stored anyway, so that it costs no transaction of its own.
        """
        if rows := self._meter.take_all() if whole else self._meter.take_minutes():
            self._dispatcher.watch(self._store.record_minutes(rows), "store the totals of a minute")

    # Ends of attempts

    def _count_end(self, session: WorkerSession, assignment: Assignment, item: Any) -> None:
        """Count the end of an attempt other than by `ok`."""
        kind = KINDS[item.kind]
        if kind == "failed" and item.kind == "fail" and item.failure.get("reason") == "timeout":
            kind = "timeout"
        if kind is not None:
            self._count(session, assignment, kind)
        if self.narrator is not None:
            self.narrator.run_left(session, assignment, item)

    def _count(self, session: WorkerSession, assignment: Assignment, kind: AttemptKind) -> None:
        executed = None if kind in UNFINISHED else assignment.claimed.executed_ms + self._executed_ms(assignment)
        self._meter.attempt_ended(session.worker.group.name, assignment.claimed, kind, executed)

    def _failed(self, session: WorkerSession, assignment: Assignment, item: RunFailed) -> None:
        about = item.failure
        failure = Failure(
            about["type"], about["message"], about.get("traceback"), about.get("reason"), about.get("fingerprint")
        )
        self.attempt_failed(
            session.worker.group.name, assignment.claimed, failure, session.worker.pid, retryable=item.retryable
        )

    def _not_imported(self, session: WorkerSession, assignment: Assignment, item: RunNotImported) -> None:
        self.attempt_failed(
            session.worker.group.name,
            assignment.claimed,
            Failure("CannotImport", item.error, None, "cannot_import"),
            session.worker.pid,
        )

    def attempt_failed(self, group: str, run: Claimed, failure: Failure, pid: int, *, retryable: bool = True) -> None:
        """Schedule another attempt after the backoff, or end the run if none is left."""
        what = f"store the failure of {run.id}"
        if self.narrator is not None:
            self.narrator.attempt_raised(group, run, failure)
        if retryable and run.attempts + 1 < run.max_attempts:
            delay = self._backoff(run)
            run_at = self._clock.now() + round(delay * 1000)
            future = self._store.reschedule_run(run.id, run.token, failure, run_at, pid, charged=True)
            report = partial(self._reports.attempt_failed, group, run, failure, delay, pid)
            self._dispatcher.watch(future, what, report)
        else:
            self._dispatcher.watch(self._store.finish_run(run.id, run.token, "dead", failure, pid, charged=True), what)

    def _backoff(self, run: Claimed) -> float:
        spec = self._dispatcher.catalog.workflows.get(run.workflow)
        return spec.options.backoff.delay(run.attempts + 1, self.random) if spec is not None else 1.0

    def _bailed(self, session: WorkerSession, assignment: Assignment, item: RunBailed) -> None:
        self._finish(session, assignment, "cancelled", Failure("Bailed", item.reason, None, "bailed"), charged=True)

    def _cancelled(self, session: WorkerSession, assignment: Assignment, item: RunCancelled) -> None:
        self._finish(session, assignment, "cancelled", _CANCELLED, charged=False)

    def _finish(
        self,
        session: WorkerSession,
        assignment: Assignment,
        state: Literal["cancelled", "dead"],
        failure: Failure,
        *,
        charged: bool,
    ) -> None:
        run = assignment.claimed
        future = self._store.finish_run(run.id, run.token, state, failure, session.worker.pid, charged=charged)
        self._dispatcher.watch(future, f"end {run.id}")

    def _postponed(self, session: WorkerSession, assignment: Assignment, item: RunPostponed) -> None:
        run = assignment.claimed
        run_at = self._clock.now() + round(item.delay * 1000)
        future = self._store.reschedule_run(run.id, run.token, None, run_at, session.worker.pid, charged=False)
        self._dispatcher.watch(future, f"postpone {run.id}")

    def _parked(self, session: WorkerSession, assignment: Assignment, item: RunParked) -> None:
        run = assignment.claimed
        executed_ms, pid = self._executed_ms(assignment), session.worker.pid
        future = self._store.park_run(run.id, run.token, item.waits, executed_ms, pid)
        self._dispatcher.watch(future, f"park {run.id}")

    def _not_reached(self, session: WorkerSession, item: StepsNotReached) -> None:
        if (assignment := session.assignments.get(item.run_id)) is None:
            return
        run = assignment.claimed
        self._dispatcher.watch(
            self._store.note_not_reached(run.id, run.token, item.steps), f"store what {run.id} did not reach"
        )
        self._reports.steps_not_reached(session.worker.group.name, run, item.steps, item.unknown, session.worker.pid)

    def _held(self, session: WorkerSession, assignment: Assignment, item: RunHeld) -> None:
        run, pid = assignment.claimed, session.worker.pid
        failure = Failure("StepsChanged", "\n".join(sentences(item.steps, item.unknown)))
        future = self._store.hold_run(run.id, run.token, item.steps, failure, self._executed_ms(assignment), pid)
        report = partial(self._reports.held, session.worker.group.name, run, item.steps, item.unknown, pid)
        self._dispatcher.watch(future, f"hold {run.id}", report)

    def _dropped(self, session: WorkerSession, assignment: Assignment, item: RunDropped) -> None:
        """Another attempt owns the run: nothing is stored."""

    def _released(self, session: WorkerSession, assignment: Assignment, item: RunReleased) -> None:
        run = assignment.claimed
        executed_ms, pid = self._executed_ms(assignment), session.worker.pid
        future = self._store.requeue_runs([(run.id, run.token)], None, executed_ms, pid=pid)
        self._dispatcher.watch(future, f"re-queue {run.id}")

    def _evaluation_ended(self, session: WorkerSession, assignment: Assignment, item: EvaluationEnded) -> None:
        run = assignment.claimed
        self._dispatcher.watch(self._triggers.found(run, item.result, session.worker.pid), f"store what {run.workflow} found")

    def _executed_ms(self, assignment: Assignment) -> int:
        return round((asyncio.get_running_loop().time() - assignment.since) * 1000)

    # Requests

    def _save(self, session: WorkerSession, items: Sequence[SaveStep]) -> None:
        now = self._clock.now()
        self._meter.steps_saved(session.worker.group.name, items)
        steps: list[SavedStep] = [
            new_tuple(SavedStep, (
                item.run_id, item.token, item.name, item.step_kind, item.state, item.value, item.error, item.tries,
                item.started_at, now,
            ))
            for item in items
        ]  # fmt: skip

        def answer(finished: asyncio.Future[Any]) -> None:
            if finished.cancelled():
                return
            if error := finished.exception():
                answers = [Answer(item.sequence, self._refusal(error)) for item in items]
            else:
                pairs = zip([item.sequence for item in items], finished.result(), strict=True)
                answers = [new_tuple(Answer, pair) for pair in pairs]
            session.send(AnswersFrame(t="answers", answers=answers))
            if self.narrator is not None and error is None:
                self.narrator.steps_saved(session, items)

        asyncio.ensure_future(self._store.save_steps(steps, session.worker.pid)).add_done_callback(answer)

    def _request(self, session: WorkerSession, item: Request) -> None:
        if not isinstance(item, CallCommand):
            kind = item.step_kind if isinstance(item, AddWait) else item.kind
            self._meter.step_asked_for(session.worker.group.name, STEP_KINDS.get(kind, kind))
        if self.narrator is not None and isinstance(item, AddWait | InvokeChild):
            self.narrator.waits(item)

        async def work() -> Any:
            return await self._requests[item.kind](session, item)

        def answer(finished: asyncio.Future[Any]) -> None:
            if not finished.cancelled():
                error = finished.exception()
                answer = Answer(item.sequence, self._refusal(error) if error else finished.result())
                session.send(AnswersFrame(t="answers", answers=[answer]))

        asyncio.ensure_future(work()).add_done_callback(answer)

    def _refusal(self, error: BaseException) -> Refused:
        """An error as the answer to a request; an unexpected error is also reported."""
        if not isinstance(error, TakoError):
            self._dispatcher.report("the answer to a step", error)
        return _error(error)

    async def _wait(self, session: WorkerSession, item: AddWait) -> Any:
        return await self._store.add_wait(NewWait(item.run_id, item.token, item.name, item.step_kind, item.key, item.wake_at))

    async def _invoke(self, session: WorkerSession, item: InvokeChild) -> Any:
        if (assignment := session.assignments.get(item.run_id)) is None:
            return None
        child = await self._child(assignment.claimed, item)
        return await self._store.invoke_child(item.run_id, item.token, item.name, child)

    async def _enqueue(self, session: WorkerSession, item: EnqueueChild) -> Any:
        if (assignment := session.assignments.get(item.run_id)) is None:
            return None
        child = await self._child(assignment.claimed, item)
        return await self._store.enqueue_child(item.run_id, item.token, item.name, child)

    async def _child(self, parent: Claimed, item: InvokeChild | EnqueueChild) -> NewRun:
        try:
            return self._commands.child(parent, item.workflow, item.payload, item.options)
        except NotFound as error:
            await self._commands.hint_unread(error, item)
            raise

    async def _call(self, session: WorkerSession, item: CallCommand) -> Any:
        return await self._commands.execute(item.command, item.arguments)

    # Deaths

    def worker_gone(self, session: WorkerSession, exit: Exit, last_lines: list[str]) -> None:
        """A worker and all that it started are confirmed dead: charge its run with a crash, or re-queue its runs."""
        runs = [assignment.claimed for assignment in session.assignments.values()]
        for assignment in session.assignments.values():
            for timer in assignment.timers:
                timer.cancel()
        if not runs:
            return
        crashed = _has_crashed(session)
        group = session.worker.group
        if not crashed:
            self._after_our_kill(session, runs)
        elif len(runs) == 1:
            tail = "\n".join(last_lines).strip()
            silent = "silent" in session.kill_reasons.values()
            end = "gave no sign of life and was killed" if silent else ending(session.worker, exit)
            said = f"its worker {end}" + (f"; last lines:\n{tail}" if tail else "")
            failure = Failure("WorkerCrashed", said, None, "crashed")
            run = runs[0]
            future = self._store.charge_crash(run.id, run.token, failure, group.settings.max_crashes, session.worker.pid)
            self._dispatcher.watch(future, f"charge the crash of {run.id}")
        else:
            claims = [(run.id, run.token) for run in runs]
            pid = session.worker.pid
            future = self._store.requeue_runs(claims, "suspect", ended_as="interrupted", pid=pid)
            self._dispatcher.watch(future, "re-queue suspects")
        for assignment in session.assignments.values():
            kind = ENDED_BY_KILL.get(session.kill_reasons.get(assignment.claimed.id, ""), "interrupted")
            self._count(session, assignment, "crashed" if crashed and len(runs) == 1 else kind)

    def _after_our_kill(self, session: WorkerSession, runs: list[Claimed]) -> None:
        others = []
        for run in runs:
            why = session.kill_reasons.get(run.id)
            if why == "timeout":
                failure = Failure(
                    "Timeout", "the attempt took longer than its timeout, and its worker was killed", None, "timeout"
                )
                self.attempt_failed(session.worker.group.name, run, failure, session.worker.pid)
            elif why == "cancelled":
                future = self._store.finish_run(run.id, run.token, "cancelled", _CANCELLED, session.worker.pid, charged=False)
                self._dispatcher.watch(future, f"cancel {run.id}")
            else:
                others.append((run.id, run.token))
        if others:
            requeued = self._store.requeue_runs(others, ended_as="interrupted", pid=session.worker.pid)
            self._dispatcher.watch(requeued, "re-queue runs")


def fate(session: WorkerSession) -> str:
    """What becomes of the runs of a dead worker, for the log."""
    had = len(session.assignments)
    if not had:
        return "it had no runs"
    if not _has_crashed(session):
        others = had - sum(run in session.kill_reasons for run in session.assignments)
        if not others:
            return ""
        return f"its {'other ' if others < had else ''}{counted(others, 'run')} {was_or_were(others)} re-queued"
    if had == 1:
        return f"run {next(iter(session.assignments))} is charged with a crash"
    return f"its {counted(had, 'run')} will run again one at a time, to find the one that did it"


def _has_crashed(session: WorkerSession) -> bool:
    """Whether a dead worker counts as crashed: it ended by itself, or was killed because it was silent."""
    silent = "silent" in session.kill_reasons.values()
    return silent or not (session.worker.asked_to_stop or session.kill_reasons)


_CANCELLED = Failure("Cancelled", "cancelled on request", None, "cancelled")


def _error(error: BaseException) -> Refused:
    if isinstance(error, TakoError):
        return Refused(error=error.as_json())
    return Refused(error={"type": "error", "message": f"{type(error).__name__}: {error}", "hint": None})
