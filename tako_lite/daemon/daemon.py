"""The daemon: makes its parts, starts them in order, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tako_lite import __version__
from tako_lite.catalog import Catalog
from tako_lite.catalog.code import CodeHashes
from tako_lite.clock import Clock, iso
from tako_lite.config import Config, GroupSettings, load
from tako_lite.config.files import SOCKET_NAME, stamp
from tako_lite.daemon.changed_code import ChangedCode, about_held, compare_code
from tako_lite.daemon.commands import Commands
from tako_lite.daemon.control import Control
from tako_lite.daemon.dashboard import Dashboard
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.ending import Ending
from tako_lite.daemon.environment import secret_variables
from tako_lite.daemon.events import Events
from tako_lite.daemon.fallbacks import Fallbacks
from tako_lite.daemon.file_watch import FileWatch
from tako_lite.daemon.health import Health
from tako_lite.daemon.hook_runs import HookRuns
from tako_lite.daemon.idle_exit import write_next_due
from tako_lite.daemon.inherited import InheritedSockets
from tako_lite.daemon.leftovers import UndefinedRuns, UnreadFiles
from tako_lite.daemon.limits import limits_of
from tako_lite.daemon.logs import Logs
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.monitoring import Monitoring
from tako_lite.daemon.outcomes import Outcomes
from tako_lite.daemon.readiness import Readiness
from tako_lite.daemon.run_reports import RunReports
from tako_lite.daemon.run_waiters import RunWaiters
from tako_lite.daemon.scheduler import Scheduler, schedules_of
from tako_lite.daemon.servers import Servers
from tako_lite.daemon.service_manager import ServiceManager
from tako_lite.daemon.spawner import Spawner
from tako_lite.daemon.status import CountsByGroup, snapshot
from tako_lite.daemon.triggers import Triggers, triggers_of
from tako_lite.daemon.why_context import gather_context
from tako_lite.errors import BadInput, StoreError, TakoError
from tako_lite.hook_workflows import hooks_of
from tako_lite.lock import FileLock, Holder, daemon_lock
from tako_lite.processes.child import WorkerRecords
from tako_lite.processes.forkserver import ForkServers
from tako_lite.processes.group import Group
from tako_lite.processes.orphans import Orphans
from tako_lite.project_lint import read_catalog, warnings
from tako_lite.protocol.forkserver import WORKER_ENTRY
from tako_lite.records import NewRun, Run, new_id
from tako_lite.routing import Router
from tako_lite.stamps import file_stamp
from tako_lite.states import RunState
from tako_lite.store.base import Effects, GroupOverride, Hold, Store
from tako_lite.unpack import package_dir
from tako_lite.why import sentence
from tako_lite.wire import PROTOCOL

WORKERS: Final = "workers"
"""The subfolder of the state folder with a record of each worker."""


class Daemon:
    """One project being served."""

    store: Store
    dispatcher_type: type[Dispatcher] = Dispatcher
    logs_type: type[Logs] = Logs
    scheduler_type: type[Scheduler] = Scheduler

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        clock: Clock,
        events: Events,
        locks: Collection[FileLock] = (),
        last: Holder | None = None,
        manager: ServiceManager | None = None,
        sockets: InheritedSockets | None = None,
    ) -> None:
        sockets = sockets or InheritedSockets()
        self.manager = manager or ServiceManager({})
        self.config = config
        self.catalog = catalog
        self.events = events
        asyncio.get_running_loop().set_exception_handler(events.unexpected.from_loop)
        self.boot_id = new_id()
        self.started = time.monotonic()
        self.waiters = RunWaiters()
        self._stopped = False
        self._reloading = asyncio.Lock()
        queue = config.queue
        self.store = queue.location.open(queue.durability, clock, config.server, self.boot_id, self._committed)
        self.clock = self.store.clock
        self.meter = Meter(self.clock.now)
        self.undefined, self.unread = UndefinedRuns(self.store), UnreadFiles()
        self._counted = CountsByGroup(self.store)
        self.code_hashes = CodeHashes()
        self.fork_servers = ForkServers(package_dir() / "tako_lite", config.root, WORKER_ENTRY)
        self.records = WorkerRecords(config.state_dir / WORKERS)
        self._last = last
        self.dashboard = Dashboard(events, sockets.web)
        self.orphans = Orphans(self.records, self.fork_servers, lambda: self.dashboard.pids)
        self.logs = self.logs_type(config.state_dir / "logs", clock, events)
        self.triggers = Triggers(self.store, self.clock, catalog, self.trouble_of)
        self.commands = Commands(self)
        self.dispatcher = self.dispatcher_type(self.store, events, self.meter, catalog, self.ensure_group)
        self.reports = RunReports(events, self.logs)
        self.outcomes = Outcomes(
            self.store, self.dispatcher, self.commands, self.triggers, self.meter, self.reports, self.clock
        )
        self.readiness = Readiness(self.store, self.dispatcher.groups)
        self.health = Health(self.dispatcher, events, config.workflows_path)
        self.router = Router(config.routes, (), self._lost)
        self.scheduler = self.scheduler_type(self.store, self.clock, events, _retention(config), self.router, self.triggers)
        self.scheduler.before_enqueue = self.before_enqueue
        self.monitoring = Monitoring(self, events, sockets.monitor)
        self.ending = Ending(self.kill)
        for part in (self.scheduler, self.triggers, self.readiness, self.monitoring, self.ending):
            self.commands.register(part.handlers())
        self.fallbacks = Fallbacks(self.store, self.clock, events, self._trouble_to_act_on)
        self.spawner = Spawner(
            self.dispatcher, self.outcomes, self.health, self.logs, events, self.meter, self.fork_servers, self.records
        )
        self.servers = Servers(self)
        self.control = Control(config.state_dir / SOCKET_NAME, self.commands.execute, events, sockets.control)
        self.dispatcher.on_push = self.health.wake
        self.hook_runs = HookRuns(self.store, self.clock, config.server, self.before_enqueue, self.dispatcher.watch)
        self.spawner.on_change = self._group_changed
        folders = {config.state_dir, *queue.location.folders()}
        self.file_watch = FileWatch(folders, locks, self.control, self.store, self.health, events)
        self._use(config, catalog)

    def narrate(self) -> None:
        """Log every run, every step and what workers print. Call it before `start`."""
        from tako_lite.daemon.narrator import Narrator  # most daemons have none

        narrator = Narrator(self.events, self.clock, self.config.root)
        self.dispatcher.narrator = self.outcomes.narrator = narrator
        self.logs.listener = narrator.printed

    @property
    def groups(self) -> dict[str, Group]:
        return self.dispatcher.groups

    async def start(self) -> None:
        """Open the queue, recover what the last daemon left, start the groups, and listen."""
        self.orphans.start()
        await self.monitoring.apply(self.config.monitor)
        self.logs.apply(self.config.logs)
        await self.dashboard.apply(self.config)
        survivors = await asyncio.to_thread(self._sweep)
        await self.store.start()
        await self.servers.join()
        recovered = await self.store.recover_runs(self.config.server, self.boot_id)
        self.events.recovered(recovered, self.config.server, survivors)
        await self.store.set_limits(limits_of(self.catalog), self.catalog.workflows)
        self.dispatcher.code = await self._hash_code(self.config, self.catalog)
        await self.store.put_code(self.dispatcher.code)
        await self._start_groups()
        await self.scheduler.start(self.catalog)
        await self.control.start()
        self.file_watch.check_now()
        self.readiness.state = "serving"
        self.events.serving(self.config.name, str(self.config.root), len(self.groups), len(self.catalog.workflows))
        self.manager.ready(self.groups.values())
        self.dispatcher.watch(self._report_undefined_workflows(), "find runs without a workflow")

    async def _report_undefined_workflows(self) -> None:
        """Log which workflows have runs in the queue but are defined in no file."""
        with suppress(TakoError):  # an unreadable queue is reported elsewhere; the daemon may also be stopping
            for about in await self.undefined.sentences(self.catalog):
                self.events.trouble(about)

    async def unread_hint(self, name: str) -> str | None:
        """Where a workflow or trigger is defined that the daemon has not read yet, or None."""
        return await self.unread.hint(name, self.config, self.catalog)

    def _sweep(self) -> list[int]:
        """Kill the workers that outlived the last daemon, which may have served the queue from another folder.

        If a daemon runs in that folder again, it serves another queue, and the recorded workers are its own.
        """
        survivors = self.records.sweep()
        if self._last is not None and self._last.state_dir != os.path.realpath(self.config.state_dir):
            state_dir = Path(self._last.state_dir)
            if not daemon_lock(state_dir).is_held():
                survivors += WorkerRecords(state_dir / WORKERS).sweep()
        return survivors

    async def _start_groups(self) -> None:
        await self._warm_up()
        overrides = await self.store.list_group_overrides()
        for name in filter(self.servers.serves, self.group_names() | set(overrides)):
            group = self.ensure_group(name)
            if name in overrides:
                group.paused, group.scale = overrides[name]
        self.release_held_runs()
        ready, suspects = await self.store.list_groups_with_work()
        for group in self.groups.values():
            group.start()
        for name in ready:
            self._arrived(name)
        for name in suspects:
            self._arrived(name, "suspect")
        self.servers.begin()

    def release_held_runs(self) -> None:
        """Release what may start with the files of now; the store retries this while the disk is full."""
        self.dispatcher.watch(self.store.release_held_runs("no_handler"), "release runs that waited for their workflow")
        self.dispatcher.watch(self.store.release_held_runs("changed_steps"), "release runs that did not fit the code")

    async def _warm_up(self) -> None:
        """Start the fork server before there is work; if it is broken, each group that needs it reports that."""
        try:
            await self.spawner.warm_up(self.config.group("default"))
        except TakoError as error:
            self.events.trouble(error.message)

    async def stop(self) -> None:
        """Start no more runs, let handlers stop at their next step, then close everything; twice is harmless."""
        if self._stopped:
            return
        self._stopped = True
        self.readiness.state = "stopping"
        self.manager.stopping(self.groups.values())
        self.scheduler.stop()
        self.fallbacks.stop()
        await self.commands.bulk.stop()
        await self.dispatcher.stop()
        async with asyncio.TaskGroup() as tasks:
            for group in list(self.groups.values()):
                tasks.create_task(group.stop())
        self.health.stop()
        self.file_watch.stop()
        await self.control.stop()
        self.outcomes.record_minutes(whole=True)
        if self.ending.wakes_up_later:
            with self.events.unexpected.guarded("the time of the next start"):
                await write_next_due(self, self.config.state_dir)
        await self.servers.leave()
        await self.store.stop()
        await self.fork_servers.stop()
        self.orphans.stop()
        self.logs.stop()
        await self.monitoring.stop()
        await self.dashboard.stop()
        self.manager.close()
        self.events.stopped()

    def report(self, what: str, error: BaseException) -> None:
        """Log an unexpected error of a command that no client waits for."""
        self.dispatcher.report(what, error)

    async def wait_fatal(self) -> TakoError:
        """Wait for a fatal error and return it: the queue is damaged, or another daemon serves the project."""
        damaged = asyncio.ensure_future(self.store.wait_until_damaged())
        causes: set[asyncio.Future[TakoError]] = {damaged, self.file_watch.replaced, self.servers.lost}
        try:
            done, _ = await asyncio.wait(causes, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for cause in causes:
                cause.cancel()

    def kill(self) -> None:
        """Kill the workers; their runs are re-queued, uncharged."""
        for group in self.groups.values():
            group.kill()

    def _use(self, config: Config, catalog: Catalog) -> None:
        self.config, self.catalog = config, catalog
        self.control.hello = hello(config)
        self._warnings = [str(warning) for warning in warnings(config, catalog)]
        self.dispatcher.catalog = catalog
        self.dispatcher.counts_runs = bool(limits_of(catalog))
        self.spawner.root, self.spawner.package = config.root, config.workflows_path
        self.spawner.secret_variables = secret_variables(config.secrets)
        self.health.workflows = config.workflows_path
        self.scheduler.keep = _retention(config)
        self.dispatcher.routes = config.routes
        self.triggers.catalog = catalog
        self.router = self.scheduler.router = self.triggers.router = Router(config.routes, self.group_names(), self._lost)
        self.store.set_hooks(hooks_of(catalog, Router(config.routes, self.group_names())))

    def _group_changed(self, group: Group) -> None:
        self.servers.announce()
        self.fallbacks.reevaluate(group)
        self.manager.changed(self.groups.values())
        self.hook_runs.group_changed(group, self.catalog, self.router)

    def _lost(self, group: str) -> str | None:
        """Why a group is not available, or None."""
        if not self.servers.serves(group):
            return self.servers.lost_group(group)
        found = self.groups.get(group)
        trouble = None if found is None else found.trouble
        return None if trouble is not None and self.servers.is_served_elsewhere(group) else trouble

    def _trouble_to_act_on(self, group: str) -> str | None:
        """As `_lost`, for runs that are queued already: they outlast the restart of the only server of their group."""
        return self._lost(group) if self.servers.serves(group) else self.servers.abandoned_group(group)

    def apply_overrides(self) -> None:
        """Another server changed a group, a schedule or a trigger: read again what is kept of them here."""
        self.dispatcher.watch(self._apply_overrides(), "read what was changed on another server")

    async def _apply_overrides(self) -> None:
        overrides = await self.store.list_group_overrides()
        for name, group in self.groups.items():
            paused, scale = overrides.get(name, GroupOverride(False, None))
            if paused != group.paused:
                group.pause(paused)
            if scale != group.scale:
                group.resize(scale)
        await self.scheduler.read_again()
        await self.store.read_limits_again()

    def work_found(self, group: str, *, suspects: bool) -> None:
        """A group may have due runs, as another server told or a look found."""
        self._arrived(group, "suspect" if suspects else None)

    def group_changed_elsewhere(self) -> None:
        """Other servers began or ceased to serve a group: apply the fallbacks of those that are lost now."""
        for name in self.group_names():
            self.fallbacks.reevaluate(self.ensure_group(name))

    def _committed(self, effects: Effects) -> None:
        self.servers.committed(effects)
        for group in effects.ready:
            self._arrived(group)
        for group in effects.suspects:
            self._arrived(group, "suspect")
        if effects.due is not None:
            self.scheduler.wake_by(effects.due)
        if effects.triggers is not None:
            self.scheduler.triggers_are_due(effects.triggers)
        if effects.resolved or effects.cancelling:
            # Two turns later: a run that the same transaction claimed has its worker by then. See dispatcher.py.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._notify_workers, effects)
        for new in effects.enqueued:
            self.meter.runs_enqueued(*new)
        for run in effects.ended:
            self.meter.run_ended(run)
            if run.state == "dead":
                self.reports.died(run)
        if effects.ended or effects.succeeded:
            self.scheduler.something_ended()
            self.waiters.resolve(run.run_id for run in effects.ended)
            self.waiters.resolve(effects.succeeded)

    def _notify_workers(self, effects: Effects) -> None:
        for resolved in effects.resolved:
            with self.events.unexpected.guarded("the message to a worker that a wait is over"):
                self.dispatcher.resolved(resolved)
        for run in effects.cancelling:
            with self.events.unexpected.guarded("the cancelling of a run"):
                self.dispatcher.cancel(run.run_id)

    # For commands

    def group_names(self) -> set[str]:
        """Every group that tako.toml or a workflow file names."""
        return {"default", *self.config.groups, *self.catalog.groups}

    def ensure_group(self, name: str) -> Group:
        """The group of this name; made if only runs from before a change of the files name it."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(self._settings(name), self.spawner)
        return group

    def _settings(self, name: str) -> GroupSettings:
        """The settings of a group; one that no file names any more keeps no idle worker."""
        settings = self.config.group(name)
        return settings if name in self.group_names() else replace(settings, workers=0, idle_timeout=0.0)

    def before_enqueue(self, run: NewRun) -> None:
        """Call before a run, or many like it, is enqueued: if it is due at once, the same transaction claims it."""
        if run.refusal is None and run.run_at <= self.clock.now():
            self.dispatcher.work_arrived(run.group, due_order=run.run_at - run.priority * 1000)
            if (group := self._unavailable(run.group)) is not None:
                self.fallbacks.waits_in(group)

    def recheck_due(self, run: NewRun) -> None:
        """Re-check a delayed run, or many like it, after it was stored: it may have become due meanwhile."""
        if run.refusal is None and run.run_at <= self.clock.now():
            self._arrived(run.group)

    def wake(self, groups: Iterable[str], due: int | None, signals: bool) -> None:
        """A client has stored due runs in these groups, delayed runs of which the first is due then, or signals."""
        self._committed(Effects(ready={*groups}, due=due))
        if signals:
            self.servers.deliver_signals()

    def due_elsewhere(self, moment: int) -> None:
        """A run that another program stored is due then."""
        self.scheduler.wake_by(moment)

    def serves(self, group: str) -> bool:
        """Whether this server serves a group."""
        return self.servers.serves(group)

    def clear_pending_work(self, group: str) -> None:
        """Clear the marks of pending work of a group; the next commit that makes its runs due sets them again."""
        self.dispatcher.clear_pending(group)

    def release_ahead(self, group: str) -> None:
        """Re-queue the runs of a group that are claimed and that no worker has."""
        self.dispatcher.ahead.release(group)

    def _arrived(self, name: str, hold: Hold | None = None) -> None:
        """A group may have due runs: dispatch them, or apply their fallbacks if the group is unavailable."""
        self.dispatcher.work_arrived(name, hold)
        if (group := self._unavailable(name)) is not None:
            self.fallbacks.reevaluate(group)

    def _unavailable(self, name: str) -> Group | None:
        """A group that takes no work on any server, or None."""
        if self.servers.serves(name):
            group = self.groups.get(name)
            return None if group is None or group.available or self._lost(name) is None else group
        return None if self.servers.abandoned_group(name) is None else self.ensure_group(name)

    async def wait_first_start(self, group: str, timeout: float) -> str | None:
        """Why a group cannot start, or None; waits up to `timeout` seconds for the first start of its first worker."""
        if self.servers.serves(group):
            await self.spawner.wait_first_start(self.ensure_group(group), timeout)
        return self.trouble_of(group)

    def trouble_of(self, group: str) -> str | None:
        """Why a group takes no work now, or None."""
        if not self.servers.serves(group):
            return self.servers.lost_group(group)
        found = self.groups.get(group)
        if found is None:
            return None
        if found.paused:
            return f"group {group} is paused; the run waits for: tako-lite resume {group}"
        if found.failures:
            return f"group {group} cannot start: {found.last_error}"
        return None

    async def status(self) -> dict[str, Any]:
        daemon = {
            "pid": os.getpid(),
            "zygote_pid": self.fork_servers.pid,
            "server": self.config.server,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self.started, 3),
            "config": str(self.config.file) if self.config.file else None,
            "root": self.control.hello["root"],
            "queue": self.control.hello["queue"],
            "monitor": self.monitoring.as_json(),
            "errors": self.events.unexpected.count,
        }
        names = self.group_names() | {name for name, group in self.groups.items() if group.workers or group.paused}
        self.store.check_file()
        self.outcomes.record_minutes()  # an idle daemon stores no outcome that they could come along with
        warnings = list(self._warnings)
        if self.monitoring.trouble is not None:
            warnings.append(f"[monitor] is not served: {self.monitoring.trouble}")
        if self.dashboard.trouble is not None:
            warnings.append(self.dashboard.trouble)
        if (trouble := self.store.trouble) is not None:
            warnings.append(trouble.message)
        if self.servers.trouble is not None:
            warnings.append(f"the lease of this server is not renewed: {self.servers.trouble}")
        try:
            warnings = [*warnings, *await self.undefined.sentences(self.catalog)]
            warnings += map(about_held, await self.store.list_held_for_code(sorted({*names, *self.groups})))
        except StoreError as error:  # a damaged page that this query reads must not hide the rest of the status
            warnings = [*warnings, error.message]
        shape = await snapshot(
            self.store,
            self._counted,
            self.dispatcher,
            self.meter,
            names,
            self.config,
            daemon,
            warnings,
            self.clock.now(),
        )
        return self.servers.add_to(shape)

    def awaits(self, run_id: str) -> None:
        """A client waits for the end of a run, which another server may have."""
        self.servers.awaits(run_id)

    async def prune(self) -> dict[str, int]:
        """Delete ended runs that are past their retention; returns how many, by state."""
        before: dict[str, int] = (await self.store.get_stats())["pruned"]
        await self.scheduler.prune_now()
        after: dict[str, int] = (await self.store.get_stats())["pruned"]
        return {state: count - before.get(state, 0) for state, count in after.items()}

    async def why(self, run: Run) -> str:
        self.store.check_file()
        now = self.clock.now()
        context = await gather_context(run, self.store, self.dispatcher, now, is_stopping=self._stopped)
        if run.hold == "no_handler":
            context = replace(context, unread=await self.unread_hint(run.workflow))
        return sentence(run, self.servers.explain(run, context))

    def with_worker_pid(self, run: Run) -> dict[str, Any]:
        """A run as JSON, with the pid of the worker that is executing it."""
        shape = run.as_json()
        if run.state == "running" and (session := self.dispatcher.find(run.id)):
            shape["worker_pid"] = session.worker.pid
        return shape

    async def list_in_flight(self, run: Run) -> list[dict[str, Any]]:
        """The steps of a run that its worker executes now, as JSON."""
        session = self.dispatcher.find(run.id) if run.state == "running" else None
        found = [] if session is None else await session.list_in_flight()
        return [{"name": step.step, "started_at": iso(step.started_at)} for step in found if step.run_id == run.id]

    # Reload

    async def reload_and_say(self) -> None:
        """Reload on SIGHUP: a mistake is logged, and changes nothing. A socket that was removed is created again."""
        with self.events.unexpected.guarded("the check of the socket, the locks and the queue file"):
            self.file_watch.check_now()
        with self.events.unexpected.guarded("the reload"):
            try:
                await self.reload()
            except TakoError as error:
                self.events.trouble(f"not reloaded: {error.message}")

    async def reload(self) -> dict[str, Any]:
        """Read configuration and catalog again, all or nothing, and replace the workers of groups that changed."""
        async with self._reloading:
            if self._stopped:
                raise TakoError("the daemon is stopping")
            self.manager.reloading()
            try:
                return await self._reload()
            finally:
                self.manager.ready(self.groups.values())

    async def _reload(self) -> dict[str, Any]:
        config, catalog = await self._read_again()
        if config.state_dir != self.config.state_dir:
            raise BadInput("state_dir cannot change while the daemon runs", hint="restart tako-lite serve")
        if config.queue.location != self.config.queue.location or config.queue.durability != self.config.queue.durability:
            raise BadInput("[queue] url and durability cannot change while the daemon runs", hint="restart tako-lite serve")
        old_catalog = self.catalog
        code = await self._hash_code(config, catalog)
        schedules = await self.store.put_catalog(  # first, in one transaction: this may fail, and what follows cannot
            limits_of(catalog), schedules_of(catalog), self.clock.now(), triggers_of(catalog), code
        )
        self._use(config, catalog)
        self.dispatcher.code = code
        self.dispatcher.ahead.release_all()  # they were claimed as runs of the code before
        await self.monitoring.apply(config.monitor)
        self.logs.apply(config.logs)
        await self.dashboard.apply(config)
        self.scheduler.take(catalog, schedules)
        changed = [name for name, group in self.groups.items() if self._has_changed(group, old_catalog)]
        for name in filter(self.servers.serves, self.group_names() - set(self.groups)):
            self.ensure_group(name).start()
            changed.append(name)
        for name in changed:
            self.groups[name].replace(self._settings(name))
            self.fallbacks.reevaluate(self.groups[name])
            self.dispatcher.schedule_pass(name)
        self.servers.announce()
        self.release_held_runs()
        self.events.reloaded(changed)
        about_queue: list[str] = []
        under_way = ChangedCode([], [])
        with suppress(TakoError):  # the reload itself is done
            about_queue = await self.undefined.sentences(catalog)
            under_way = await compare_code(self.store, old_catalog, catalog)
        for about in under_way.sentences():
            self.events.code_changed(about)
        return {"changed": sorted(changed), "warnings": [*self._warnings, *about_queue], **under_way.as_json()}

    async def _read_again(self) -> tuple[Config, Catalog]:
        return await asyncio.to_thread(_read, self.config)

    async def _hash_code(self, config: Config, catalog: Catalog) -> dict[str, str]:
        return await asyncio.to_thread(self.code_hashes.of, catalog, config.workflows_path)

    def _has_changed(self, group: Group, old: Catalog) -> bool:
        if self._settings(group.name) != group.settings or self.catalog.modules(group.name) != old.modules(group.name):
            return True
        return bool(group.failures) or any(file_stamp(file) != stamp for file, stamp in group.loaded.items())


def _read(old: Config) -> tuple[Config, Catalog]:
    config = replace(load(old.file, server=old.server), served=old.served)
    return config, read_catalog(config)


def hello(config: Config) -> dict[str, Any]:
    """How the daemon greets a client: its identity and what it serves, so that a client of another project does not use it.

    `stamp` is that of tako.toml: as long as it holds, a client of this file has no need to read it. `takes_by` says that
    requests may name their sender under `by`, which older releases refuse.
    """
    return {
        "hello": "tako-lite",
        "version": __version__,
        "protocol": PROTOCOL,
        "takes_by": True,
        "pid": os.getpid(),
        "server": config.server,
        "project": config.document.tables.get("name") if config.document else None,
        "config": str(config.file) if config.file else None,
        "stamp": stamp(config.file) if config.file else None,
        "root": os.path.realpath(config.root),
        "queue": config.queue.location.address,
    }


def _retention(config: Config) -> dict[RunState, int | None]:
    """Retention in milliseconds, by state."""
    ages: dict[RunState, int | None] = {}
    for state in ("succeeded", "cancelled", "dead"):
        seconds = config.queue.keep.get(state)
        ages[state] = None if seconds is None else round(seconds * 1000)
    return ages
