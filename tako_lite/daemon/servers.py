"""This server among the others that serve the same queue: its lease, and what they hear of each other.

Only a store with a membership has other servers. Then:

- Each renewal says until when the workers may live. The fork server and the guard threads of the workers hear that too, so that
  they end even if this process stands still.
- From half of the lease without a renewal on, nothing more is claimed. At the deadline the workers are killed, and the daemon
  starts over under a new boot id.
- What a commit changed that concerns others is told to them, as a hint. Each look finds what they have not heard.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from tako_lite import __version__
from tako_lite.catalog import Catalog
from tako_lite.clock import iso
from tako_lite.config import Config
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.events import Events
from tako_lite.daemon.run_waiters import RunWaiters
from tako_lite.daemon.spawner import Spawner
from tako_lite.errors import LeaseLost, TakoError
from tako_lite.linux import boot_id, boottime
from tako_lite.processes.forkserver import ForkServers
from tako_lite.processes.group import Group
from tako_lite.records import Run
from tako_lite.store.base import Effects, Resolved, Store
from tako_lite.store.lease import deadline, doubt
from tako_lite.store.membership import GroupState, Listener, News, OtherServer, ServerFacts
from tako_lite.why import WhyContext

SERVER_ID: Final = "server-id"
"""The file in the state folder that tells the daemons of one folder from all others."""
ANNOUNCES_EVERY: Final = 5.0
"""Seconds between two announcements of the groups."""
LOOKS_AGAIN_AFTER: Final = (0.25, 1.0)
"""Seconds after a program has said that it stores more runs than it sends notifications; its transaction commits in between."""
MOST_AWAITED: Final = 200
"""How many runs that clients wait for are looked up at once."""


class ServersHost(Protocol):
    """The members of the daemon that this uses."""

    config: Config
    catalog: Catalog
    store: Store
    events: Events
    dispatcher: Dispatcher
    spawner: Spawner
    fork_servers: ForkServers
    waiters: RunWaiters
    boot_id: str

    @property
    def groups(self) -> dict[str, Group]: ...
    def group_names(self) -> set[str]: ...
    def apply_overrides(self) -> None: ...
    def work_found(self, group: str, *, suspects: bool) -> None: ...
    def due_elsewhere(self, moment: int) -> None: ...
    def group_changed_elsewhere(self) -> None: ...
    def release_held_runs(self) -> None: ...


class Servers:
    """The membership of this server."""

    def __init__(self, host: ServersHost) -> None:
        self._host = host
        self._membership = host.store.membership
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[TakoError] = self._loop.create_future()
        """Done once the workers had to be killed because the lease could not be renewed."""
        self._timers: list[asyncio.TimerHandle] = []
        self._watch_timer: asyncio.TimerHandle | None = None
        self._again: list[asyncio.TimerHandle] = []
        self._awaited: dict[str, None] = {}
        """Runs that clients of other servers wait for, the oldest first."""
        self._unknown: dict[tuple[str, int], int] = {}
        """Runs that the queue says this server has and that no worker has, each with the number of claims made at that look."""
        self._served_elsewhere: frozenset[str] = frozenset()
        self._unserved: dict[str, float] = {}
        """Since when no live server serves a group, by the clock of the loop."""
        self._joined_at = 0
        """When this server joined, in milliseconds since 1970."""
        self._lease_ends = 0.0
        """When its lease ends without another renewal, in seconds of `linux.boottime`."""
        self._trouble: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_left = False
        self._has_begun = False
        if self._membership is not None:
            host.dispatcher.serves = self.serves

    @property
    def has_joined(self) -> bool:
        """Whether this server is one of several."""
        return self._joined_at > 0

    @property
    def trouble(self) -> str | None:
        """Why the lease cannot be renewed, or None."""
        return self._trouble

    @property
    def others(self) -> tuple[OtherServer, ...]:
        """The other servers that live."""
        return () if self._membership is None else self._membership.others

    def serves(self, group: str) -> bool:
        """Whether this server serves a group."""
        served = self._host.config.served
        return self._membership is None or served is None or group in served

    def is_served_elsewhere(self, group: str) -> bool:
        """Whether another live server takes work of a group."""
        return any(
            other.serves(group) and ((state := other.states.get(group)) is None or state.available) for other in self.others
        )

    def lost_group(self, group: str) -> str | None:
        """Why a group that this server does not serve is unavailable, or None."""
        if self.is_served_elsewhere(group):
            return None
        for other in self.others:
            if other.serves(group) and (state := other.states.get(group)) is not None and state.trouble:
                return f"on {other.name}: {state.trouble}"
        return f"no live server serves {group}"

    def abandoned_group(self, group: str) -> str | None:
        """As `lost_group`, but only once that has lasted for a lease: a server that restarts takes no longer."""
        since, membership = self._unserved.get(group), self._membership
        if since is None or membership is None or self._loop.time() - since < membership.lease:
            return None
        return self.lost_group(group)

    async def join(self) -> None:
        """Become a server of the queue. Raises AlreadyServing, StoreError."""
        if self._membership is None:
            return
        host = self._host
        facts = ServerFacts(
            server_id=await asyncio.to_thread(server_id, host.config.state_dir),
            name=host.config.server,
            host=os.uname().nodename,
            program=__version__,
            groups=host.config.served,
            workflows=self._workflows(),
        )
        listener = Listener(
            self._renewed, self._was_lost, self._heard, self._looked, host.release_held_runs, self._set_trouble, self._unsent
        )
        await self._membership.join(facts, listener, host.events.trouble)
        self._watch()

    def begin(self) -> None:
        """Act on what is heard and found from now on: limits and groups are known."""
        self._has_begun = True
        self.announce()

    async def leave(self) -> None:
        """End the lease, once no worker lives any more."""
        self._has_left = True
        for timer in (*self._timers, *self._again, self._watch_timer):
            if timer is not None:
                timer.cancel()
        if self._membership is not None:
            await self._membership.leave()

    def announce(self) -> None:
        """Tell the others which workflows and groups this server has."""
        if self._membership is not None:
            states = {name: _state(group) for name, group in self._host.groups.items() if self.serves(name)}
            self._membership.announce(self._workflows(), states)

    def awaits(self, run_id: str) -> None:
        """A client of this server waits for a run, which another server may have."""
        if self._membership is not None and self.others:
            self._membership.tell(News(awaited=[run_id]))

    def committed(self, effects: Effects) -> None:
        """Tell the others what a commit changed that concerns them."""
        if self._membership is None:
            return
        own = self._host.boot_id
        news = News(changed=effects.overrides)
        news.work = {group for group in effects.ready | effects.arrived if self._needs_others(group)}
        news.suspects = {group for group in effects.suspects if not self.serves(group)}
        news.cancel = [run.run_id for run in effects.cancelling if run.boot_id != own]
        news.resolved = [(wait.run_id, wait.name) for wait in effects.resolved if wait.boot_id not in (None, own)]
        if self._awaited:
            ended = [*effects.succeeded, *(run.run_id for run in effects.ended)]
            news.ended = [id for id in ended if self._awaited.pop(id, self) is None]
        if news:
            self._membership.tell(news)

    def as_json(self) -> list[dict[str, Any]]:
        """Every live server, this one first, in the shape of `status`."""
        if self._membership is None:
            return []
        host, now = self._host, self._host.store.clock.now()
        own = {
            "name": host.config.server,
            "host": os.uname().nodename,
            "groups": sorted(name for name in host.group_names() if self.serves(name)),
            "workers": sum(len(group.workers) for group in host.groups.values()),
            "started_at": iso(self._joined_at),
            "lease_until": iso(now + round((self._lease_ends - boottime()) * 1000)),
            "version": __version__,
        }
        return [own, *(other.as_json(host.group_names()) for other in self.others)]

    def add_to(self, status: dict[str, Any]) -> dict[str, Any]:
        """Add the servers to a status, and to each group the names of those that serve it."""
        if self._membership is None:
            return {**status, "servers": []}
        for group in status["groups"]:
            own = [self._host.config.server] if self.serves(group["name"]) else []
            group["servers"] = [*own, *(other.name for other in self.others if other.serves(group["name"]))]
        return {**status, "servers": self.as_json()}

    def explain(self, run: Run, context: WhyContext) -> WhyContext:
        """Add to the context of a run what other servers have to do with it."""
        if self._membership is None:
            return context
        elsewhere = run.server if run.state == "running" and run.server != self._host.config.server else None
        if self.serves(run.group):
            return replace(context, runs_on=elsewhere)
        names = tuple(other.name for other in self.others if other.serves(run.group))
        unserved = None if names else f"no live server serves {run.group}"
        return replace(context, runs_on=elsewhere, unserved=unserved, served_by=names)

    def deliver_signals(self) -> None:
        """End the waits for signals that transactions of users have stored."""
        self._start(self._host.store.deliver_signals())

    # Calls of the membership

    def _renewed(self, sent_at: float) -> None:
        if self._membership is None or self._has_left or self.lost.done():
            return
        host, lease = self._host, self._membership.lease
        if not self._joined_at:
            self._joined_at = host.store.clock.now()
        self._lease_ends = sent_at + lease
        until = host.spawner.until = deadline(sent_at, lease)
        for timer in self._timers:
            timer.cancel()
        now = boottime()
        self._timers = [
            self._loop.call_later(max(doubt(sent_at, lease) - now, 0.0), self._doubt),
            self._loop.call_later(max(until - now, 0.0), self._deadline),
        ]
        self._start(host.fork_servers.live_until(until))
        for session in host.dispatcher.sessions.values():
            if session.worker.child is not None:
                session.worker.child.live_until(until)
        if host.dispatcher.in_doubt:
            host.dispatcher.resume_claims()

    def _doubt(self) -> None:
        self._host.dispatcher.in_doubt = True
        self._host.events.trouble("the lease of this server was not renewed for half of its time: nothing more is claimed")

    def _deadline(self) -> None:
        if boottime() < (self._host.spawner.until or 0.0):
            return
        self._was_lost(None)

    def _was_lost(self, error: TakoError | None) -> None:
        if self.lost.done() or self._has_left:
            return
        if self._membership is not None:
            self._membership.abandon()
        why = error.message if error is not None else "the database did not answer in time"
        self.lost.set_result(LeaseLost(f"the lease of this server is lost: {why}; its workers are killed"))

    def _set_trouble(self, trouble: str | None) -> None:
        if trouble is not None:
            self._host.events.trouble(f"cannot renew the lease of this server: {trouble}")
        self._trouble = trouble

    def _unsent(self, why: str) -> None:
        consequence = "they find new work when they next look at the queue, up to 5 s later"
        self._host.events.trouble(f"cannot notify the other servers: {why}; {consequence}; tako-lite doctor shows more")

    def _heard(self, news: News) -> None:
        if not self._has_begun:
            return  # the look at the beginning finds it
        if news.again:
            self._look_again()
        # Anyone may send a notification: what it says of runs and of groups that are not known here is read first.
        known = self._host.group_names() | self._host.groups.keys()
        if not known >= news.work | news.suspects or any(map(self._host.dispatcher.has, news.cancel)):
            self._look_now()
        news.work, news.suspects, news.cancel = news.work & known, news.suspects & known, []
        self._apply(news)
        for run_id, name in news.resolved:
            if self._host.dispatcher.find(run_id) is not None:
                self._start(self._resolve(run_id, name))
        self._host.waiters.resolve(news.ended)
        for id in news.awaited:
            self._awaited[id] = None
        while len(self._awaited) > MOST_AWAITED * 50:
            del self._awaited[next(iter(self._awaited))]
        if news.awaited:
            self._start(self._tell_ended(news.awaited))

    def _looked(self, news: News) -> None:
        if not self._has_begun:
            return
        self._apply(news)
        if news.orphans:
            self._start(self._recover())
        self._reconcile(news.claims)
        if self._host.waiters.waiting:
            self._start(self._look_up_awaited())
        self._watch_groups()

    def _watch_groups(self) -> None:
        """Note which groups are served; have fallbacks applied where that has changed, or has been missing for a lease."""
        names = self._host.group_names()
        served = frozenset(name for name in names if self.is_served_elsewhere(name))
        now = self._loop.time()
        unserved = {name for name in names if not self.serves(name) and self.lost_group(name) is not None}
        self._unserved = {name: self._unserved.get(name, now) for name in unserved}
        if served != self._served_elsewhere or any(map(self.abandoned_group, unserved)):
            self._served_elsewhere = served
            self._host.group_changed_elsewhere()

    def _apply(self, news: News) -> None:
        if self._has_left or self.lost.done():
            return
        for group in news.work:
            self._host.work_found(group, suspects=False)
        for group in news.suspects:
            self._host.work_found(group, suspects=True)
        if news.due:
            self._host.due_elsewhere(min(news.due))
        if news.signals:
            self.deliver_signals()
        for id in news.cancel:
            if self._host.dispatcher.has(id):
                self._host.dispatcher.cancel(id)
        if news.changed:
            self._host.apply_overrides()

    def _look_now(self) -> None:
        if self._membership is not None:
            self._membership.look_soon()

    def _look_again(self) -> None:
        """Look again soon: a program stores more runs than it sends notifications."""
        for timer in self._again:
            timer.cancel()
        self._again = [self._loop.call_later(seconds, self._look_now) for seconds in LOOKS_AGAIN_AFTER]

    async def _resolve(self, run_id: str, name: str) -> None:
        """Tell the worker of a run that a wait has ended, if it has."""
        step = await self._host.store.get_wait_outcome(run_id, name)
        if step is not None:
            self._host.dispatcher.resolved(Resolved(run_id, name, step.state, step.text, None))

    async def _recover(self) -> None:
        server = self._host.config.server
        self._host.events.recovered(await self._host.store.recover_runs(server, self._host.boot_id), server)

    def _reconcile(self, claims: Sequence[tuple[str, int]]) -> None:
        """Re-queue the runs that the queue says this server has, and that no worker has.

        Their claim was stored, but its answer was lost with the connection. Those count that were unknown at an earlier look,
        when all claims made by then have been answered.
        """
        dispatcher = self._host.dispatcher
        made, done = dispatcher.claims_made, dispatcher.claims_done
        unknown = {claim: self._unknown.get(claim, made) for claim in claims if not dispatcher.has(claim[0])}
        lost = sorted(claim for claim, number in unknown.items() if claim in self._unknown and number <= done)
        self._unknown = unknown
        if lost and not self._has_left:
            self._start(self._host.store.requeue_runs(lost, None, ended_as=None))

    async def _look_up_awaited(self) -> None:
        waiting = self._host.waiters.waiting[:MOST_AWAITED]
        self._host.waiters.resolve([id for id in waiting if await self._has_ended(id)])

    async def _tell_ended(self, ids: list[str]) -> None:
        """Tell about runs that had ended before anyone asked."""
        ended = [id for id in ids if await self._has_ended(id)]
        for id in ended:
            self._awaited.pop(id, None)
        if ended and self._membership is not None:
            self._membership.tell(News(ended=ended))

    async def _has_ended(self, id: str) -> bool:
        run = await self._host.store.get_run(id)
        return run is None or run.state in ("succeeded", "dead", "cancelled")

    # Parts

    def _needs_others(self, group: str) -> bool:
        """Whether another server should look for work of a group: this one does not serve it, or has no slot for it."""
        if not self.serves(group):
            return True
        found = self._host.groups.get(group)
        return found is None or not found.available or self._host.dispatcher.free_slots(found, None) <= 0

    def _workflows(self) -> frozenset[str]:
        catalog = self._host.catalog
        return frozenset((*catalog.workflows, *(f"@{name}" for name in catalog.triggers)))

    def _watch(self) -> None:
        if self._membership is None or self._has_left:
            return
        with self._host.events.unexpected.guarded("the watch of the lease"):
            self.announce()
        self._watch_timer = self._loop.call_later(ANNOUNCES_EVERY, self._watch)

    def _start(self, work: Any) -> None:
        """Do something in a task, whose failure is logged; each look tries again."""

        async def guarded() -> None:
            try:
                await work
            except TakoError:
                return  # the store or the lease says what is wrong
            except Exception as error:
                self._host.events.unexpected.raised("the work for other servers", error)

        task = self._loop.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def server_id(state_dir: Path) -> str:
    """What tells the daemons of this folder on this boot of this machine from all others."""
    file = state_dir / SERVER_ID
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(os.urandom(16).hex())
    about = state_dir.stat()
    return f"{file.read_text(encoding='utf-8').strip()} {boot_id()} {about.st_dev}:{about.st_ino}"


def _state(group: Group) -> GroupState:
    workers = len(group.workers)
    facts = group.as_json()
    busy = sum(worker.state == "busy" for worker in group.workers)
    slots = group.settings.concurrency
    return GroupState(group.available, group.trouble, facts["state"], workers, facts["max_workers"], slots, busy)
