"""Pushes due runs to free slots the moment both exist.

The queue's length is never in memory: a group is marked where due work may be, a claim asks for as many runs as slots are
free, and its answer says whether more is due. Slots that come free meanwhile are claimed for without waiting for that answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tako_lite.catalog import Catalog, WorkflowSpec
from tako_lite.daemon.events import Events
from tako_lite.daemon.worker_session import Assignment, WorkerSession
from tako_lite.errors import TakoError
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker
from tako_lite.protocol.worker import (
    NO_ENV,
    CancelFrame,
    PriorStep,
    PushedRun,
    ResolvedFrame,
)
from tako_lite.records import Claimed
from tako_lite.routing import Routes
from tako_lite.store.base import Claims, Hold, Resolved, Store

GRACE: Final = 6.0
"""Seconds that a handler has to notice its time-out or a cancel, before its worker is killed.

One more than the worker gives to its `finally` blocks, so that the two never race.
"""


PAUSE_AFTER_TROUBLE: Final = 0.5
"""Seconds until a failed claim of a group is tried again."""


class Dispatcher:
    """Who runs what."""

    def __init__(self, store: Store, events: Events, catalog: Catalog, ensure_group: Callable[[str], Group]) -> None:
        self.groups: dict[str, Group] = {}
        self.sessions: dict[Worker, WorkerSession] = {}
        self.catalog = catalog
        self.routes = Routes()
        self._store = store
        self._events = events
        self._due: dict[Hold | None, dict[str, int]] = {None: {}, "suspect": {}}
        """The groups that may have due runs, each with the number of its latest arrival."""
        self._arrivals = 0
        self._claims_in_flight: dict[tuple[str, Hold | None], int] = {}
        self._dirty: set[str] = set()
        self._scheduled = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._ensure_group = ensure_group
        self.on_push: Callable[[], None] = lambda: None

    # Where work may be

    def work_arrived(self, group: str, hold: Hold | None = None) -> None:
        """A group may have due runs."""
        self._arrivals += 1
        self._due[hold][group] = self._arrivals
        self.schedule_pass(group)

    def clear_pending(self, group: str) -> None:
        """Believe in no work of a group until it is told of again."""
        for due in self._due.values():
            due.pop(group, None)

    def schedule_pass(self, group: str) -> None:
        """Something about a group changed: look at it in the next turn of the loop.

        Called before a change is submitted to the store, so that what is claimed after it shares its transaction.
        """
        self._dirty.add(group)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pass)

    def expects_work(self, group: Group, *, solo: bool) -> bool:
        """Whether a free slot of a group is about to be filled: runs are being claimed, or will be."""
        hold: Hold | None = "suspect" if solo else None
        return self._claims_in_flight.get((group.name, hold), 0) > 0 or (group.name in self._due[hold] and not group.paused)

    async def stop(self) -> None:
        """Push nothing more, and wait for the claims that are under way to be given back."""
        self._stopping = True
        while any(self._claims_in_flight.values()):  # noqa: ASYNC110 -- once, at the end
            await asyncio.sleep(0.002)

    def _pass(self) -> None:
        self._scheduled = False
        dirty, self._dirty = self._dirty, set()
        if self._stopping:
            return
        for name in dirty:
            for hold in (None, "suspect"):
                if name in self._due[hold]:
                    try:
                        self._serve(name, hold)
                    except Exception as error:  # the other groups are to be served
                        self._failed(name, f"the claim of runs for group {name}", error)

    def _failed(self, group: str, what: str, error: Exception) -> None:
        """Report an unexpected error, and try the group again after a pause."""
        self._events.unexpected.raised(what, error)
        self._loop.call_later(PAUSE_AFTER_TROUBLE, self.schedule_pass, group)

    def _serve(self, name: str, hold: Hold | None) -> None:
        group = self._ensure_group(name)
        if group.paused:
            return
        asked = self._claims_in_flight.get((name, hold), 0)
        free = sum(session.free_slots for session in self._sessions(group, hold)) - asked
        if free > 0:
            future = asyncio.ensure_future(self._store.claim_runs(name, free, hold, self.routes.gate(name).allowed))
            self._claims_in_flight[name, hold] = asked + free
            future.add_done_callback(partial(self._claimed, group, hold, free, self._due[hold][name]))
        elif not asked:
            group.demand(solo=hold == "suspect")

    def _sessions(self, group: Group, hold: Hold | None) -> list[WorkerSession]:
        """The workers for such runs: solo ones for suspects, the pool for all others."""
        solo = hold == "suspect"
        return [self.sessions[worker] for worker in group.workers if worker.solo == solo and worker in self.sessions]

    def _claimed(self, group: Group, hold: Hold | None, asked: int, arrival: int, future: asyncio.Future[Claims]) -> None:
        self._claims_in_flight[group.name, hold] -= asked
        if future.cancelled():
            return
        if error := future.exception():
            self._events.trouble(f"cannot claim runs for {group.name}: {_says(error)}")
            self._loop.call_later(PAUSE_AFTER_TROUBLE, self.schedule_pass, group.name)
            return
        claims = future.result()
        due = self._due[hold]
        if not claims.more and due.get(group.name) == arrival:
            del due[group.name]  # nothing has arrived since it was asked
        if claims.runs:
            try:
                self._assign(group, hold, claims.runs)
            except Exception as error:
                self._release(group, hold, claims.runs)
                self._failed(group.name, f"the push of runs to group {group.name}", error)
                return
        if group.name in due:
            self.schedule_pass(group.name)

    # Pushing

    def _assign(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Give each run to the worker with the most free slots."""
        free = {session: session.free_slots for session in self._sessions(group, hold)}
        pushes: dict[WorkerSession, list[PushedRun]] = {session: [] for session in free}
        back: list[Claimed] = []
        missing: list[Claimed] = []
        specs = self.catalog.workflows
        now = self._loop.time()
        session = next(iter(free), None)
        for run in runs:
            if len(free) > 1:
                session = max(free, key=free.__getitem__)
            spec = specs.get(run.workflow) or self.catalog.evaluated(run.workflow)
            if spec is None:
                missing.append(run)
            elif session is None or free[session] <= 0 or self._stopping:
                back.append(run)
            else:
                free[session] -= 1
                timeout = spec.options.timeout
                if timeout is not None:
                    timeout = _time_left(timeout, run)
                self._begin(session, run, timeout, now)
                pushes[session].append(self._pushed(run, spec, timeout))
        for session, pushed in pushes.items():
            if not pushed:
                continue
            session.worker.become_busy()
            session.push(pushed)
        if any(pushes.values()):
            self.on_push()
        if back:
            self._requeue(back, None)
        if missing:
            self._requeue(missing, "no_handler")

    def _pushed(self, run: Claimed, spec: WorkflowSpec, timeout: float | None) -> PushedRun:
        """A run as its worker gets it."""
        steps = [PriorStep(*step) for step in run.stored] if run.stored else ()
        is_rated = spec.options.rate is not None and run.executed_ms == 0
        if run.tenant is None and not is_rated:
            return PushedRun(run.id, run.workflow, spec.module, run.token, run.attempts + 1, timeout, run.payload, steps)
        table = None if run.tenant is None else self.routes.tenants.get(run.tenant)
        env = NO_ENV if table is None else dict(table.env)
        return PushedRun(
            run.id,
            run.workflow,
            spec.module,
            run.token,
            run.attempts + 1,
            timeout,
            run.payload,
            steps,
            run.tenant,
            env,
            is_rated,
        )

    def _release(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Release claimed runs that no worker has, and end the workers that may or may not have got theirs."""
        for session in self._sessions(group, hold):
            if any(run.id in session.assignments for run in runs):
                session.worker.kill_uncharged("daemon")
        self._requeue([run for run in runs if self.find(run.id) is None], hold)

    def _requeue(self, runs: list[Claimed], hold: Hold | None) -> None:
        self.watch(self._store.requeue_runs([(run.id, run.token) for run in runs], hold, begun=False), "give runs back")

    def _begin(self, session: WorkerSession, run: Claimed, timeout: float | None, now: float) -> None:
        if not session.assignments:
            session.last_heard = now  # an idle worker has no heartbeat
        assignment = session.assignments[run.id] = Assignment(run, now)
        if timeout is not None:
            assignment.timers = (self._loop.call_later(timeout + GRACE, session.kill_for, run.id, "timeout"),)

    # What workers give up

    def end_assignment(self, session: WorkerSession, run_id: str) -> Assignment | None:
        """A worker reported the outcome of a run; None where it had no such run."""
        assignment = session.assignments.pop(run_id, None)
        if assignment is not None:
            for timer in assignment.timers:
                timer.cancel()
            session.worker.group.run_ended(session.worker)
        return assignment

    def check_idle(self, session: WorkerSession) -> None:
        """After a worker's frame: it may be idle now."""
        if not session.assignments:
            session.worker.group.idle(session.worker)

    def find(self, run_id: str) -> WorkerSession | None:
        """The worker that has a run."""
        return next((session for session in self.sessions.values() if run_id in session.assignments), None)

    def cancel(self, run_id: str) -> None:
        """Ask the worker that has a run to cancel it; after a while, do it the hard way."""
        session = self.find(run_id)
        if session is not None:
            session.send(CancelFrame(t="cancel", id=run_id))
            timer = self._loop.call_later(GRACE, session.kill_for, run_id, "cancelled")
            session.assignments[run_id].timers += (timer,)

    def resolved(self, resolved: Resolved) -> None:
        """A wait is over; if a worker has the run, it goes on there."""
        session = self.find(resolved.run_id)
        if session is not None:
            frame = ResolvedFrame(
                t="resolved", id=resolved.run_id, name=resolved.name, state=resolved.state, text=resolved.text
            )
            session.send(frame)

    def report(self, what: str, error: BaseException) -> None:
        """Report an unexpected error."""
        self._events.unexpected.raised(what, error)

    def watch(self, future: Any, what: str) -> None:
        """Say so if a transition fails; the store has tried again where that makes sense."""

        def done(finished: asyncio.Future[Any]) -> None:
            if not finished.cancelled() and (error := finished.exception()):
                if isinstance(error, TakoError):
                    self._events.trouble(f"cannot {what}: {_says(error)}")
                else:
                    self.report(f"the attempt to {what}", error)

        asyncio.ensure_future(future).add_done_callback(done)


def _time_left(timeout: float, run: Claimed) -> float:
    """What is left of a run's time-out: the time that its attempt waited does not count, what it executed does."""
    return max(timeout - run.executed_ms / 1000, 0.001)


def _says(error: BaseException) -> str:
    if isinstance(error, TakoError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return str(error)
