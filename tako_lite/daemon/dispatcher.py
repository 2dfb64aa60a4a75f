"""Claims due runs for free slots, and pushes them to workers.

The dispatcher never knows how long the queue is. It marks a group as pending where due runs may be, with the number of the
latest arrival. A claim asks for as many runs as there are free slots, and its result says whether more are due. The mark goes
when a claim found no more and nothing has arrived since that claim was made. Slots that become free while a claim is in
flight are claimed for at once, by a claim of their own. Groups with short runs claim some more, ahead: see `ahead`.

What happens in which turn of the event loop:

    turn 1    A frame of a worker or a request of a client arrives. `schedule_pass` is called first, and only then is the
              change handed to the store. Both wait for the next turn, in this order.
    turn 2    `_pass` submits a claim for each group that changed. Then the store begins one transaction with the change and
              the claims: a slot that became free is filled by the commit that stores the result of its last run.
    turn 3    The transaction is committed, on the store's thread. The store reports the effects: groups with due runs are
              marked as pending and scheduled. It also sets the results of the futures.
    turn 4    The callbacks of those futures run: `_claimed` assigns the runs to workers and pushes them.
    turn 5    Workers get the frames for waits that are over and for runs that are cancelled (`Daemon._committed` delays this
              by two turns): a run that the same transaction claimed has its worker by now.

So the calls of `schedule_pass` and `work_arrived` come before the call of the store that they belong to. After it, the claim
would need a transaction of its own, which costs an fsync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

from tako_lite.catalog import Catalog, WorkflowSpec
from tako_lite.daemon.ahead import ClaimsAhead
from tako_lite.daemon.events import Events
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.worker_session import Assignment, WorkerSession
from tako_lite.errors import TakoError
from tako_lite.named_tuples import new_tuple
from tako_lite.options import OnChangedSteps
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker
from tako_lite.protocol.worker import (
    NO_ENV,
    CancelFrame,
    PriorStep,
    PushedRun,
    ResolvedFrame,
    RunExtra,
    RunFacts,
)
from tako_lite.records import Claimed
from tako_lite.routing import Routes
from tako_lite.store.base import Claims, Hold, Resolved, Store

if TYPE_CHECKING:
    from tako_lite.daemon.narrator import Narrator

GRACE: Final = 6.0
"""Seconds between a run's timeout or cancel and the kill of its worker.

One more than the worker gives to the `finally` blocks of the handler, so that the two never race.
"""
PAUSE_AFTER_TROUBLE: Final = 0.5
"""Seconds until a failed claim of a group is tried again."""


class Dispatcher:
    """Matches due runs with free slots."""

    claims_ahead: bool = True
    """Whether runs may be claimed before a slot is free for them."""

    def __init__(
        self, store: Store, events: Events, meter: Meter, catalog: Catalog, ensure_group: Callable[[str], Group]
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.sessions: dict[Worker, WorkerSession] = {}
        self.catalog = catalog
        self.routes = Routes()
        self.counts_runs = False
        """Whether a workflow has a limit or a rate, which counts every claimed run: then none is claimed ahead."""
        self.code: Mapping[str, str] = {}
        """The hash of the code of each workflow."""
        self._store = store
        self._events = events
        self._meter = meter
        self._due: dict[Hold | None, dict[str, int]] = {None: {}, "suspect": {}}
        """The groups that may have due runs, each with the number of its latest arrival."""
        self._arrivals = 0
        self.ahead = ClaimsAhead(self._requeue, lambda group: self._claims_in_flight.get((group, None), 0) > 0)
        self._claims_in_flight: dict[tuple[str, Hold | None], int] = {}
        self._dirty: set[str] = set()
        self._scheduled = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._ensure_group = ensure_group
        self.on_push: Callable[[], None] = lambda: None
        self.serves: Callable[[str], bool] = lambda group: True
        """Whether this server serves a group."""
        self.claims_made = self.claims_done = 0
        self.in_doubt = False
        """Whether this server may not renew its lease in time: then it claims nothing."""
        self.narrator: Narrator | None = None
        """Reports the runs that start, if anyone wants to read that."""

    # Pending work

    def work_arrived(self, group: str, hold: Hold | None = None, due_order: int | None = None) -> None:
        """A group may have due runs. `due_order` is the place in the order of those that are about to be stored."""
        if self.serves(group):
            if due_order is not None and self.ahead.has(group) and self.ahead.of(group).starts_after(due_order):
                self.ahead.release(group)
            self._arrivals += 1
            self._due[hold][group] = self._arrivals
            self.schedule_pass(group)

    def clear_pending(self, group: str) -> None:
        """Clear the marks of a group; the next commit that makes its runs due sets them again."""
        for due in self._due.values():
            due.pop(group, None)
        self.ahead.release(group)

    def schedule_pass(self, group: str) -> None:
        """Claim for a group in the next turn of the loop. Call it before the change goes to the store: see above."""
        self._dirty.add(group)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pass)

    def expects_work(self, group: Group, *, solo: bool) -> bool:
        """Whether a claim for free slots of a group is in flight, or will be made."""
        hold: Hold | None = "suspect" if solo else None
        if not solo and self.ahead.has(group.name):
            return True
        return self._claims_in_flight.get((group.name, hold), 0) > 0 or (group.name in self._due[hold] and not group.paused)

    def resume_claims(self) -> None:
        """Claim for every group with due runs, after a doubt is over."""
        self.in_doubt = False
        for group in {*chain(*self._due.values()), *self.ahead.groups()}:
            self.schedule_pass(group)

    @property
    def arrivals(self) -> int:
        """How often work has arrived."""
        return self._arrivals

    @property
    def is_busy(self) -> bool:
        """Whether a run is executing, a worker is starting, or runs are due in a group that is not paused."""
        if any(self._claims_in_flight.values()) or any(session.assignments for session in self.sessions.values()):
            return True
        if self.ahead.groups():
            return True
        if any(worker.state == "starting" for group in self.groups.values() for worker in group.workers):
            return True
        return any(not self._ensure_group(name).paused for due in self._due.values() for name in due)

    async def stop(self) -> None:
        """Push nothing more, and wait for the claims in flight, whose runs are re-queued."""
        self._stopping = True
        self.ahead.release_all()
        while any(self._claims_in_flight.values()):  # noqa: ASYNC110 -- once, at the end
            await asyncio.sleep(0.002)

    def _pass(self) -> None:
        self._scheduled = False
        dirty, self._dirty = self._dirty, set()
        if self._stopping or self.in_doubt:
            return
        for name in dirty:
            for hold in (None, "suspect"):
                if name in self._due[hold] or (hold is None and self.ahead.has(name)):
                    try:
                        self._serve(name, hold)
                    except Exception as error:  # it must not stop the other groups
                        self._failed(name, f"the claim of runs for group {name}", error)

    def _failed(self, group: str, what: str, error: Exception) -> None:
        """Report an unexpected error, and retry the group after a pause."""
        self._events.unexpected.raised(what, error)
        self._loop.call_later(PAUSE_AFTER_TROUBLE, self.schedule_pass, group)

    def _serve(self, name: str, hold: Hold | None) -> None:
        group = self._ensure_group(name)
        if group.paused:
            self.ahead.release(name)
            return
        free = self.free_slots(group, hold)
        ahead = self.ahead.of(name) if hold is None else None
        if ahead is not None and ahead.runs and free > 0:
            taken = self.ahead.take(name, free)
            free -= len(taken)
            try:
                self._assign(group, hold, taken)
            except Exception:
                self._release(group, hold, taken)
                raise
        asked = self._claims_in_flight.get((name, hold), 0)
        arrival = self._due[hold].get(name)
        wanted = free - asked
        if ahead is not None and ahead.settles:
            return
        if ahead is not None and arrival is not None and asked == 0:
            extra = ahead.wanted(self._slots(group)) if self.claims_ahead and not self.counts_runs else 0
            missing = extra - len(ahead.runs)
            if free > 0 or 2 * missing > extra:
                wanted += max(missing, 0)
        if arrival is not None and wanted > 0:
            urgent = ahead is None or not ahead.runs
            allowed = self.routes.policy_of(name).allowed
            future = asyncio.ensure_future(self._store.claim_runs(name, wanted, hold, allowed, urgent=urgent))
            self._claims_in_flight[name, hold] = asked + wanted
            self.claims_made += 1
            releases = 0 if ahead is None else ahead.releases
            future.add_done_callback(partial(self._claimed, group, hold, wanted, arrival, releases))
        if free <= 0 and asked <= 0:
            group.demand(solo=hold == "suspect")

    def free_slots(self, group: Group, hold: Hold | None) -> int:
        """How many more runs of this hold the workers of a group can take."""
        return sum(session.free_slots for session in self._sessions(group, hold))

    def _slots(self, group: Group) -> int:
        return sum(session.worker.slots for session in self._sessions(group, None) if session.worker.takes_work)

    def _sessions(self, group: Group, hold: Hold | None) -> list[WorkerSession]:
        """The workers of a group for such runs: solo workers for suspects, the pool for all others."""
        solo = hold == "suspect"
        return [self.sessions[worker] for worker in group.workers if worker.solo == solo and worker in self.sessions]

    def _claimed(
        self, group: Group, hold: Hold | None, asked: int, arrival: int, releases: int, future: asyncio.Future[Claims]
    ) -> None:
        self._claims_in_flight[group.name, hold] -= asked
        self.claims_done += 1
        if hold is None and not self._claims_in_flight[group.name, hold]:
            self.ahead.of(group.name).settles = False
        if future.cancelled():
            return
        if error := future.exception():
            self._events.trouble(f"cannot claim runs for group {group.name}: {_message(error)}")
            self._loop.call_later(PAUSE_AFTER_TROUBLE, self.schedule_pass, group.name)
            return
        claims = future.result()
        due = self._due[hold]
        if not claims.more and due.get(group.name) == arrival:
            del due[group.name]  # nothing has arrived since the claim was made
        runs = claims.runs
        if runs:
            try:
                if hold is None:
                    runs = self._keep_ahead(group, runs, releases)
                self._assign(group, hold, runs)
            except Exception as error:
                self._release(group, hold, runs)
                self._failed(group.name, f"the push of runs to group {group.name}", error)
                return
        if group.name in due:
            self.schedule_pass(group.name)

    def _keep_ahead(self, group: Group, runs: list[Claimed], releases: int) -> list[Claimed]:
        """Keep what was claimed ahead; returns the runs for which slots are free.

        If others have been released since the claim was made, these are released too: they come later in the order.
        """
        if group.paused or self._stopping or releases != self.ahead.of(group.name).releases:
            self._requeue(runs, None)
            return []
        return self.ahead.keep(group.name, runs, self.free_slots(group, None))

    # Pushing

    def _assign(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Assign each run to the worker with the most free slots; re-queue those that no worker can take."""
        free = {session: session.free_slots for session in self._sessions(group, hold)}
        pushes: dict[WorkerSession, list[PushedRun]] = {session: [] for session in free}
        placed: list[Claimed] = []
        unplaced: list[Claimed] = []
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
                unplaced.append(run)
            else:
                free[session] -= 1
                timeout = spec.options.timeout
                if timeout is not None:
                    timeout = _time_left(timeout, run)
                self._begin(session, run, timeout, now)
                placed.append(run)
                pushes[session].append(self._pushed(run, spec, timeout, has_hooks=session.has_hooks))
        for session, pushed in pushes.items():
            if not pushed:
                continue
            session.worker.become_busy()
            session.push(pushed)
            if self.narrator is not None:
                self.narrator.runs_started(session, [session.assignments[run.run_id].claimed for run in pushed])
        if placed:
            self._meter.runs_started(group.name, placed)
            self.on_push()
        if unplaced:
            self._requeue(unplaced, None)
        if missing:
            membership = self._store.membership
            elsewhere = frozenset[str]() if membership is None else membership.elsewhere
            self._requeue([run for run in missing if run.workflow not in elsewhere], "no_handler")
            self._requeue([run for run in missing if run.workflow in elsewhere], None)

    def _pushed(self, run: Claimed, spec: WorkflowSpec, timeout: float | None, *, has_hooks: bool) -> PushedRun:
        """A run as its worker gets it."""
        steps = [PriorStep(*step) for step in run.stored] if run.stored else ()
        is_rated = spec.options.rate is not None and run.executed_ms == 0
        changed: OnChangedSteps | None = None
        if steps and run.code is not None and self.code.get(run.workflow, run.code) != run.code:
            changed = spec.options.on_changed_steps
        extra = None
        if run.tenant is not None or is_rated or has_hooks or changed is not None:
            table = None if run.tenant is None else self.routes.tenants.get(run.tenant)
            env = NO_ENV if table is None else dict(table.env)
            facts = RunFacts(run.max_attempts, run.parent, run.trace) if has_hooks else None
            extra = RunExtra(run.tenant, env, is_rated, facts, changed)
        fields = (run.id, run.workflow, spec.module, run.token, run.attempts + 1, timeout, run.payload, steps, extra)
        return cast("PushedRun", new_tuple(PushedRun, fields))

    def _release(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Re-queue claimed runs after a failed push, and kill the workers that may have received some of them."""
        for session in self._sessions(group, hold):
            if any(run.id in session.assignments for run in runs):
                session.worker.kill_uncharged("daemon")
        self._requeue([run for run in runs if self.find(run.id) is None], hold)

    def _requeue(self, runs: list[Claimed], hold: Hold | None = None) -> None:
        if not runs:
            return
        self.watch(self._store.requeue_runs([(run.id, run.token) for run in runs], hold, ended_as=None), "re-queue runs")

    def _begin(self, session: WorkerSession, run: Claimed, timeout: float | None, now: float) -> None:
        if not session.assignments:
            session.last_heard = now  # an idle worker has no heartbeat
        assignment = session.assignments[run.id] = Assignment(run, now)
        if timeout is not None:
            assignment.timers = (self._loop.call_later(timeout + GRACE, session.kill_for, run.id, "timeout"),)

    # Assignments

    def end_assignment(self, session: WorkerSession, run_id: str) -> Assignment | None:
        """Free the slot of a run whose end was reported; None if the worker does not have that run."""
        assignment = session.assignments.pop(run_id, None)
        if assignment is not None:
            for timer in assignment.timers:
                timer.cancel()
        return assignment

    def check_idle(self, session: WorkerSession) -> None:
        """Make a worker idle that has no runs left."""
        if not session.assignments:
            session.worker.group.idle(session.worker)

    def find(self, run_id: str) -> WorkerSession | None:
        """The session of the worker that has a run."""
        return next((session for session in self.sessions.values() if run_id in session.assignments), None)

    def has(self, run_id: str) -> bool:
        """Whether a worker has a run, or it is claimed ahead."""
        return self.find(run_id) is not None or self.ahead.group_of(run_id) is not None

    def cancel(self, run_id: str) -> None:
        """Ask the worker that has a run to cancel it, and kill the worker if the handler ignores that."""
        session = self.find(run_id)
        if session is None:
            if (group := self.ahead.group_of(run_id)) is not None:
                self.ahead.release(group)  # which cancels it
        else:
            session.send(CancelFrame(t="cancel", id=run_id))
            timer = self._loop.call_later(GRACE, session.kill_for, run_id, "cancelled")
            session.assignments[run_id].timers += (timer,)

    def resolved(self, resolved: Resolved) -> None:
        """Tell the worker that has a run that a wait is over."""
        session = self.find(resolved.run_id)
        if session is not None:
            frame = ResolvedFrame(
                t="resolved", id=resolved.run_id, name=resolved.name, state=resolved.state, text=resolved.text
            )
            session.send(frame)

    def report(self, what: str, error: BaseException) -> None:
        """Report an unexpected error."""
        self._events.unexpected.raised(what, error)

    def watch(self, future: Any, what: str, then: Callable[[], None] | None = None) -> None:
        """Log the failure of a transition; the store has retried it where that makes sense. `what` follows "cannot".

        `then` is called once the transition is stored, unless the claim was stale.
        """

        def done(finished: asyncio.Future[Any]) -> None:
            if finished.cancelled():
                return
            if error := finished.exception():
                if isinstance(error, TakoError):
                    self._events.trouble(f"cannot {what}: {_message(error)}")
                else:
                    self.report(f"the attempt to {what}", error)
            elif then is not None and finished.result():
                then()

        asyncio.ensure_future(future).add_done_callback(done)


def _time_left(timeout: float, run: Claimed) -> float:
    """What is left of a run's timeout: the time that its attempt executed before it parked counts, its waits do not."""
    return max(timeout - run.executed_ms / 1000, 0.001)


def _message(error: BaseException) -> str:
    if isinstance(error, TakoError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return str(error)
