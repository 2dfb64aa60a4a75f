"""Forks workers for groups, connects them, and settles their runs once they are dead."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tako_lite.config import GroupSettings
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.environment import withheld, worker_environment
from tako_lite.daemon.events import Events
from tako_lite.daemon.health import Health
from tako_lite.daemon.logs import Logs
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.outcomes import Outcomes, fate
from tako_lite.daemon.worker_session import WorkerSession
from tako_lite.linux import keep_memory_private
from tako_lite.processes.child import Child, Exit, WorkerRecords
from tako_lite.processes.forkserver import ForkServers
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker, exit_cause
from tako_lite.protocol.forkserver import ForkRequest, WorkerTask
from tako_lite.protocol.worker import (
    StopFrame,
)
from tako_lite.secrets import Mask, read

SLOWEST_BEAT: Final = 2.0
"""The longest pause between two heartbeats of a busy worker, in seconds."""


class Spawner:
    """The owner of all groups."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outcomes: Outcomes,
        health: Health,
        logs: Logs,
        events: Events,
        meter: Meter,
        fork_servers: ForkServers,
        records: WorkerRecords,
    ) -> None:
        self.root = Path()
        self.package = Path()
        self.secret_variables: dict[str, str] = {}
        """By the variables of the daemon's environment that are the sources of secrets: the names of these."""
        self._dispatcher = dispatcher
        self._outcomes = outcomes
        self._health = health
        self._logs = logs
        self._events = events
        self._meter = meter
        self._fork_servers = fork_servers
        self._records = records
        self.until: float | None = None
        """Until when workers may live, in seconds of `linux.boottime`; None where that has no end."""
        self.on_change: Callable[[Group], None] = lambda group: None
        self._start_waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    async def spawn(self, worker: Worker, on_death: Callable[[Child], None]) -> Child:
        """Fork a worker of a group and connect to it. Raises CannotStart, and SecretError for a secret that cannot be read."""
        settings = worker.group.settings
        secrets = await asyncio.to_thread(_read_secrets, settings) if settings.secrets else {}
        environment = await self._environment(settings)
        request = self._fork_request(settings, environment, self._dispatcher.catalog.modules(settings.name), worker.slots)
        server = self._fork_servers.get(settings.python, environment)
        child = worker.child = await Child.spawn(server, request, self._records, on_death, private=bool(secrets))
        capture = self._logs.capture(settings.name, child.output, child.pid, Mask(secrets.values()))
        session = WorkerSession(worker, capture, self._outcomes, self._events, self._on_ready)
        child.on_heartbeat = session.on_heartbeat
        self._dispatcher.sessions[worker] = session
        await session.connect(child.link)
        if secrets:
            await child.send_secrets(json.dumps(secrets).encode())
        if self.until is not None:
            child.live_until(self.until)
        self._events.worker_started(worker)
        self._meter.worker_started(settings.name, worker.cause)
        return child

    async def try_fork(self, settings: GroupSettings, modules: list[str], on_death: Callable[[Child], None]) -> Child:
        """Fork a process like a worker of a group, which belongs to the caller and gets no runs. Raises as `spawn` does."""
        secrets = await asyncio.to_thread(_read_secrets, settings) if settings.secrets else {}
        environment = await self._environment(settings)
        server = self._fork_servers.get(settings.python, environment)
        request = self._fork_request(settings, environment, modules, slots=1)
        child = await Child.spawn(server, request, self._records, on_death, private=bool(secrets))
        if secrets:
            await child.send_secrets(json.dumps(secrets).encode())
        return child

    def _fork_request(
        self, settings: GroupSettings, environment: dict[str, str], modules: list[str], slots: int
    ) -> ForkRequest:
        return ForkRequest(
            op="fork",
            name=f"tako-{settings.name}",
            env=environment,
            folder=str(self.root),
            nice=settings.nice,
            limits=dict(settings.limits),
            umask=self._umask,
            task=WorkerTask(
                group=settings.name,
                root=str(self.root),
                package=str(self.package),
                modules=modules,
                setup=settings.setup,
                teardown=settings.teardown,
                slots=slots,
                beat=min(settings.heartbeat_timeout / 4, SLOWEST_BEAT),
                drain=settings.drain_timeout,
                withheld=withheld(os.environ, environment, self.secret_variables),
            ),
        )

    async def _environment(self, settings: GroupSettings) -> dict[str, str]:
        if settings.env_file is None:
            return worker_environment(settings, os.environ, self.secret_variables)
        return await asyncio.to_thread(worker_environment, settings, os.environ, self.secret_variables)

    async def warm_up(self, settings: GroupSettings) -> None:
        """Have the fork server of these settings ready. Raises CannotStart, and ConfigError for a mistake in `env_file`."""
        await self._fork_servers.get(settings.python, await self._environment(settings)).start()

    def ask_to_stop(self, worker: Worker) -> None:
        """Let a worker finish what it has, and end."""
        session = self._dispatcher.sessions.get(worker)
        if session is not None:
            session.send(StopFrame(t="stop"))

    def worker_gone(self, worker: Worker, exit: Exit) -> None:
        """A worker is confirmed dead."""
        session = self._dispatcher.sessions.pop(worker, None)
        self._meter.worker_exited(worker.group.name, exit_cause(worker, exit))
        lines: list[str] = []
        if session is not None:
            with self._events.unexpected.guarded("the reading of a worker's last output"):
                session.capture.finish()
                lines = [line for line in session.capture.last_lines() if line.strip()]
        if lines and worker.start_error is None and not worker.ready_at:
            worker.fail_to_start(f"a worker {exit} before it was ready; its last output: {lines[-1]}")
        if session is not None:
            self._events.worker_gone(worker, exit, len(session.assignments), fate(session))
            self._settle(session, exit, lines)
            session.close()
        self._dispatcher.schedule_pass(worker.group.name)

    def _settle(self, session: WorkerSession, exit: Exit, lines: list[str]) -> None:
        """Store what becomes of the runs of a dead worker, and retry every second until that works."""
        try:
            self._outcomes.worker_gone(session, exit, lines)
            session.assignments.clear()
        except Exception as error:
            self._events.unexpected.raised("what becomes of the runs of a worker that is gone", error)
            asyncio.get_running_loop().call_later(1.0, self._settle, session, exit, lines)

    def group_changed(self, group: Group) -> None:
        """A group failed to start, or its state changed otherwise."""
        self._events.group_changed(group)
        self.on_change(group)
        if group.failures:
            self._health.wake()
            self._resolve_start_waiters(group)
        self._dispatcher.schedule_pass(group.name)

    def expects_work(self, group: Group, *, solo: bool) -> bool:
        """Whether a free slot of a group is about to be filled."""
        return self._dispatcher.expects_work(group, solo=solo)

    async def wait_first_start(self, group: Group, timeout: float) -> None:
        """Wait until a group that was never ready becomes ready or fails."""
        if group.has_been_ready or group.failures or group.paused:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._start_waiters.setdefault(group.name, [])
        waiting.append(future)
        await asyncio.wait([future], timeout=timeout)
        if future in waiting:
            waiting.remove(future)

    def _resolve_start_waiters(self, group: Group) -> None:
        for future in self._start_waiters.pop(group.name, ()):
            if not future.done():
                future.set_result(None)

    def _on_ready(self, worker: Worker) -> None:
        """A worker takes runs."""
        group = worker.group
        self.on_change(group)
        self._events.worker_ready(worker)
        if worker.ready_at:
            self._meter.worker_ready(group.name, worker.ready_at - worker.spawned_at)
        self._resolve_start_waiters(group)
        self._dispatcher.schedule_pass(group.name)


def _read_secrets(settings: GroupSettings) -> dict[str, str]:
    """The current values of a group's secrets. Raises SecretError."""
    keep_memory_private()  # a reload may have added the first secret
    return {name: read(name, source, os.environ) for name, source in settings.secrets.items()}
