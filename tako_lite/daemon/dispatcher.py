"""Pushes due runs to free slots the moment both exist.

The queue's length is never in memory: a group is marked where due work may be, a claim asks for as many runs as slots are
free, and its answer says whether more is due. Slots that come free meanwhile are claimed for without waiting for that answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tako_lite.catalog import Catalog
from tako_lite.daemon.events import Events
from tako_lite.daemon.link import WorkerLink
from tako_lite.errors import TakoError
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker
from tako_lite.records import Claimed
from tako_lite.routing import Routes
from tako_lite.store.base import Claims, Hold, Resolved, Store

GRACE: Final = 6.0
"""Seconds that a handler has to notice its time-out or a cancel, before its worker is killed.

One more than the worker gives to its `finally` blocks, so that the two never race.
"""


PAUSE_AFTER_TROUBLE: Final = 0.5
"""Seconds until a failed claim of a group is tried again."""


@dataclass(slots=True)
class Running:
    """A run that a worker has."""

    claimed: Claimed
    since: float
    timers: tuple[asyncio.TimerHandle, ...] = ()


class Post:
    """A worker with its link and the runs that it has."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.link: WorkerLink | None = None
        self.running: dict[str, Running] = {}
        self.blamed: dict[str, str] = {}
        """Runs because of which we kill this worker, and why: `timeout`, `cancelled` or `silent`."""
        self.last_heard = 0.0
        self.cpu_mark: float | None = None
        """The processor time that it had used when its silence was first noticed."""

    @property
    def free(self) -> int:
        return self.worker.slots - len(self.running) if self.worker.takes_work else 0

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame, if the worker can be talked to."""
        if self.link is not None:
            self.link.send(frame)


class Dispatcher:
    """Who runs what."""

    def __init__(self, store: Store, events: Events, catalog: Catalog, ensure_group: Callable[[str], Group]) -> None:
        self.groups: dict[str, Group] = {}
        self.posts: dict[Worker, Post] = {}
        self.catalog = catalog
        self.routes = Routes()
        self._store = store
        self._events = events
        self._due: dict[Hold | None, dict[str, int]] = {None: {}, "suspect": {}}
        """The groups that may have due runs, each with the number of its latest arrival."""
        self._arrivals = 0
        self._asked: dict[tuple[str, Hold | None], int] = {}
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
        self.look_at(group)

    def forget(self, group: str) -> None:
        """Believe in no work of a group until it is told of again."""
        for due in self._due.values():
            due.pop(group, None)

    def look_at(self, group: str) -> None:
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
        return self._asked.get((group.name, hold), 0) > 0 or (group.name in self._due[hold] and not group.paused)

    async def stop(self) -> None:
        """Push nothing more, and wait for the claims that are under way to be given back."""
        self._stopping = True
        while any(self._asked.values()):  # noqa: ASYNC110 -- once, at the end
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
        self._loop.call_later(PAUSE_AFTER_TROUBLE, self.look_at, group)

    def _serve(self, name: str, hold: Hold | None) -> None:
        group = self._ensure_group(name)
        if group.paused:
            return
        asked = self._asked.get((name, hold), 0)
        free = sum(post.free for post in self._posts(group, hold)) - asked
        if free > 0:
            future = asyncio.ensure_future(self._store.claim_runs(name, free, hold, self.routes.policy_of(name).allowed))
            self._asked[name, hold] = asked + free
            future.add_done_callback(partial(self._claimed, group, hold, free, self._due[hold][name]))
        elif not asked:
            group.demand(solo=hold == "suspect")

    def _posts(self, group: Group, hold: Hold | None) -> list[Post]:
        """The workers for such runs: solo ones for suspects, the pool for all others."""
        solo = hold == "suspect"
        return [self.posts[worker] for worker in group.workers if worker.solo == solo and worker in self.posts]

    def _claimed(self, group: Group, hold: Hold | None, asked: int, arrival: int, future: asyncio.Future[Claims]) -> None:
        self._asked[group.name, hold] -= asked
        if future.cancelled():
            return
        if error := future.exception():
            self._events.trouble(f"cannot claim runs for {group.name}: {_says(error)}")
            self._loop.call_later(PAUSE_AFTER_TROUBLE, self.look_at, group.name)
            return
        claims = future.result()
        due = self._due[hold]
        if not claims.more and due.get(group.name) == arrival:
            del due[group.name]  # nothing has arrived since it was asked
        if claims.runs:
            try:
                self._assign(group, hold, claims.runs)
            except Exception as error:
                self._take_back(group, hold, claims.runs)
                self._failed(group.name, f"the push of runs to group {group.name}", error)
                return
        if group.name in due:
            self.look_at(group.name)

    # Pushing

    def _assign(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Give each run to the worker with the most free slots."""
        free = {post: post.free for post in self._posts(group, hold)}
        rows: dict[Post, list[list[Any]]] = {post: [] for post in free}
        back: list[Claimed] = []
        missing: list[Claimed] = []
        specs = self.catalog.workflows
        now = self._loop.time()
        post = next(iter(free), None)
        for run in runs:
            if len(free) > 1:
                post = max(free, key=free.__getitem__)
            spec = specs.get(run.workflow) or self.catalog.evaluated(run.workflow)
            if spec is None:
                missing.append(run)
            elif post is None or free[post] <= 0 or self._stopping:
                back.append(run)
            else:
                free[post] -= 1
                timeout = _time_left(spec.options.timeout, run)
                self._take(post, run, timeout, now)
                row = [run.id, run.workflow, spec.module, run.token, run.attempts + 1, timeout, run.payload, run.stored]
                is_rated = spec.options.rate is not None and run.executed_ms == 0
                if run.tenant is not None or is_rated:
                    table = self.routes.tenants.get(run.tenant) if run.tenant is not None else None
                    row += [run.tenant, {} if table is None else dict(table.env), is_rated]
                rows[post].append(row)
        for post, pushed in rows.items():
            if not pushed:
                continue
            group.busy(post.worker)
            if post.link is not None:
                post.link.push(pushed)
        if any(rows.values()):
            self.on_push()
        if back:
            self._give_back(back, None)
        if missing:
            self._give_back(missing, "no_handler")

    def _take_back(self, group: Group, hold: Hold | None, runs: list[Claimed]) -> None:
        """Release claimed runs that no worker has, and end the workers that may or may not have got theirs."""
        for post in self._posts(group, hold):
            if any(run.id in post.running for run in runs):
                post.worker.asked_to_stop = True
                group.kill_worker(post.worker, "daemon")
        self._give_back([run for run in runs if self.find(run.id) is None], hold)

    def _give_back(self, runs: list[Claimed], hold: Hold | None) -> None:
        self.watch(self._store.requeue_runs([(run.id, run.token) for run in runs], hold, begun=False), "give runs back")

    def _take(self, post: Post, run: Claimed, timeout: float | None, now: float) -> None:
        if not post.running:
            post.last_heard = now  # an idle worker has no heartbeat
        running = post.running[run.id] = Running(run, now)
        if timeout is not None:
            running.timers = (self._loop.call_later(timeout + GRACE, self.blame, post, run.id, "timeout"),)

    # What workers give up

    def free(self, post: Post, run_id: str) -> Running | None:
        """A worker reported the outcome of a run; None where it had no such run."""
        running = post.running.pop(run_id, None)
        if running is not None:
            for timer in running.timers:
                timer.cancel()
            post.worker.group.ran(post.worker)
        return running

    def settled(self, post: Post) -> None:
        """After a worker's frame: it may be idle now."""
        if not post.running:
            post.worker.group.idle(post.worker)

    def find(self, run_id: str) -> Post | None:
        """The worker that has a run."""
        return next((post for post in self.posts.values() if run_id in post.running), None)

    def cancel(self, run_id: str) -> None:
        """Ask the worker that has a run to cancel it; after a while, do it the hard way."""
        post = self.find(run_id)
        if post is not None:
            post.send({"t": "cancel", "id": run_id})
            timer = self._loop.call_later(GRACE, self.blame, post, run_id, "cancelled")
            post.running[run_id].timers += (timer,)

    def resolved(self, resolved: Resolved) -> None:
        """A wait is over; if a worker has the run, it goes on there."""
        post = self.find(resolved.run_id)
        if post is not None:
            post.send({"t": "resolved", "id": resolved.run_id, "name": resolved.name, "state": resolved.state,
                       "text": resolved.text})  # fmt: skip

    def blame(self, post: Post, run_id: str, why: str) -> None:
        """Kill a worker because of one of its runs; the others are given back for free."""
        if run_id in post.running and post.worker.child is not None:
            post.blamed[run_id] = why
            self._events.killing(post, run_id, why)
            post.worker.asked_to_stop = True
            post.worker.state = "draining"
            post.worker.killed_for = post.worker.killed_for or run_id
            post.worker.group.kill_worker(post.worker, why)

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


def _time_left(timeout: float | None, run: Claimed) -> float | None:
    """What is left of a run's time-out: the time that its attempt waited does not count, what it executed does."""
    return None if timeout is None else max(timeout - run.executed_ms / 1000, 0.001)


def _says(error: BaseException) -> str:
    if isinstance(error, TakoError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return str(error)
