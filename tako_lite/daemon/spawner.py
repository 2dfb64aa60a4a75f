"""Brings workers up for groups, listens to them, and sees them off."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tako_lite.config import GroupSettings
from tako_lite.config.values import PASSED, PASSED_FAMILIES
from tako_lite.daemon.dispatcher import Dispatcher, Post
from tako_lite.daemon.events import Events
from tako_lite.daemon.health import Health
from tako_lite.daemon.link import WorkerLink
from tako_lite.daemon.logs import Capture, Logs
from tako_lite.daemon.outcomes import Outcomes, fate
from tako_lite.linux import keep_memory_private
from tako_lite.processes.child import Child, Exit, Records
from tako_lite.processes.forkserver import ForkServers
from tako_lite.processes.group import Group
from tako_lite.processes.worker import Worker
from tako_lite.protocol.forkserver import ForkRequest, WorkerTask
from tako_lite.protocol.worker import (
    FromWorker,
    StopFrame,
)
from tako_lite.secrets import Mask, read
from tako_lite.stamps import FileStamp, file_stamp

ENTRY: Final = "tako_lite.worker.main:main"
SLOWEST_BEAT: Final = 2.0
"""The most seconds between two heartbeats of a busy worker."""


class Spawner:
    """The owner of all groups."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outcomes: Outcomes,
        health: Health,
        logs: Logs,
        events: Events,
        zygotes: ForkServers,
        records: Records,
    ) -> None:
        self.root = Path()
        self.package = Path()
        self._dispatcher = dispatcher
        self._outcomes = outcomes
        self._health = health
        self._logs = logs
        self._events = events
        self._zygotes = zygotes
        self._records = records
        self._captures: dict[Worker, Capture] = {}
        self.on_change: Callable[[Group], None] = lambda group: None
        self._proofs: dict[str, list[asyncio.Future[None]]] = {}
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    async def spawn(self, worker: Worker, on_death: Callable[[Child], None]) -> Child:
        """Fork a worker of a group and connect to it. Raises CannotStart, and SecretError where a secret cannot be read."""
        settings = worker.group.settings
        secrets = await asyncio.to_thread(_read_secrets, settings) if settings.secrets else {}
        environment = worker_environment(settings, os.environ)
        request = self._fork_request(worker, environment)
        server = self._zygotes.get(settings.python, environment)
        child = worker.child = await Child.spawn(server, request, self._records, on_death, private=bool(secrets))
        post = Post(worker)
        post.last_heard = asyncio.get_running_loop().time()
        link = post.link = WorkerLink(
            partial(self._on_frame, post), partial(self._on_lost, post), partial(self._on_error, post)
        )
        child.heard = partial(self._heard, post)
        self._captures[worker] = self._logs.capture(settings.name, child.output, child.pid, Mask(secrets.values()))
        self._dispatcher.posts[worker] = post
        await asyncio.get_running_loop().create_connection(lambda: link, sock=child.link)
        if secrets:
            await child.tell(json.dumps(secrets).encode())
        self._events.worker_started(worker)
        return child

    def _fork_request(self, worker: Worker, environment: dict[str, str]) -> ForkRequest:
        settings = worker.group.settings
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
                modules=self._dispatcher.catalog.modules(settings.name),
                slots=worker.slots,
                beat=min(settings.heartbeat_timeout / 4, SLOWEST_BEAT),
                drain=settings.drain_timeout,
            ),
        )

    async def warm_up(self, settings: GroupSettings) -> None:
        """Have the fork server of these settings ready. Raises CannotStart."""
        await self._zygotes.get(settings.python, worker_environment(settings, os.environ)).start()

    def ask_to_stop(self, worker: Worker) -> None:
        """Let a worker finish what it has, and end."""
        post = self._dispatcher.posts.get(worker)
        if post is not None:
            post.send(StopFrame(t="stop"))

    def worker_gone(self, worker: Worker, exit: Exit) -> None:
        """A worker is confirmed dead."""
        post = self._dispatcher.posts.pop(worker, None)
        capture = self._captures.pop(worker, None)
        lines: list[str] = []
        if capture is not None:
            with self._events.unexpected.guarded("the reading of what a worker printed last"):
                capture.finish()
                lines = [line for line in capture.last_lines() if line.strip()]
        if lines and worker.trouble is None and not worker.ready_at:
            worker.trouble = f"a worker {exit} before it was ready; it said last: {lines[-1]}"
        if post is not None:
            self._events.worker_gone(worker, exit, len(post.running), fate(post))
            self._settle(post, exit, lines)
            if post.link is not None:
                post.link.close()
        self._dispatcher.look_at(worker.group.name)

    def _settle(self, post: Post, exit: Exit, lines: list[str]) -> None:
        """Store what becomes of the runs of a worker that is gone, again until it is accepted."""
        try:
            self._outcomes.worker_gone(post, exit, lines)
            post.running.clear()
        except Exception as error:
            self._events.unexpected.raised("what becomes of the runs of a worker that is gone", error)
            asyncio.get_running_loop().call_later(1.0, self._settle, post, exit, lines)

    def group_changed(self, group: Group) -> None:
        """A group failed to start, or something else about it is new."""
        self._events.group_changed(group)
        self.on_change(group)
        if group.failures:
            self._health.wake()
            self._tell(group)
        self._dispatcher.look_at(group.name)

    def expects_work(self, group: Group, *, solo: bool) -> bool:
        """Whether a free slot of a group is about to be filled."""
        return self._dispatcher.expects_work(group, solo=solo)

    async def proven(self, group: Group, timeout: float) -> None:
        """Wait until a group that never got ready has done so, or has failed."""
        if group.proven or group.failures or group.paused:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._proofs.setdefault(group.name, [])
        waiting.append(future)
        await asyncio.wait([future], timeout=timeout)
        if future in waiting:
            waiting.remove(future)

    def _tell(self, group: Group) -> None:
        for future in self._proofs.pop(group.name, ()):
            if not future.done():
                future.set_result(None)

    def _on_frame(self, post: Post, frame: FromWorker) -> None:
        post.last_heard = asyncio.get_running_loop().time()
        if frame["t"] == "out":
            before = list(post.running)
            self._outcomes.read(post, frame["items"])
            ended = [run for run in before if run not in post.running]
            if ended:
                self._captures[post.worker].runs_ended(ended)
        elif frame["t"] == "ready":
            self._ready(post, frame["files"])
        elif frame["t"] == "files":
            if post.worker.takes_work:
                post.worker.group.loaded |= _stamps(frame["files"])
        elif frame["t"] == "broken":
            post.worker.group.broken(post.worker, str(frame["error"]))

    def _ready(self, post: Post, files: Mapping[str, Sequence[int]]) -> None:
        group = post.worker.group
        secrets = [source.place for source in group.settings.secrets.values() if source.kind == "file"]
        loaded = _stamps(files) | {file: stamp for file in secrets if (stamp := file_stamp(file)) is not None}
        if any(worker.takes_work for worker in group.workers):
            loaded |= group.loaded  # an older worker runs what was read before an edit
        group.loaded = loaded
        group.ready(post.worker)
        self.on_change(group)
        self._events.worker_ready(post.worker)
        self._tell(group)
        self._dispatcher.look_at(group.name)

    def _on_lost(self, post: Post, reason: str | None) -> None:
        """The link closed: a worker that does not end by itself now has lost its mind."""
        child = post.worker.child
        if child is None or post.worker.state == "exited":
            return
        post.worker.is_dead = True  # as good as: what is pushed from now on never arrives, and would be charged with its end
        if reason is not None:
            self._events.trouble(f"worker {child.pid} of group {post.worker.group.name} {reason}")
            post.worker.group.kill_worker(post.worker, "nonsense")
        else:
            asyncio.get_running_loop().call_later(1.0, self._kill_if_alive, post.worker)

    def _on_error(self, post: Post, error: Exception) -> None:
        """We failed at what a worker reported, and part of it may be lost: its runs are treated as after a crash, so that
        one which has this effect each time comes to an end."""
        self._events.unexpected.raised(f"the reading of a report of group {post.worker.group.name}", error)
        post.worker.is_dead = True
        post.worker.group.kill_worker(post.worker, "daemon")

    def _kill_if_alive(self, worker: Worker) -> None:
        if worker.state != "exited":
            worker.group.kill_worker(worker, "unreachable")

    def _heard(self, post: Post) -> None:
        post.last_heard = asyncio.get_running_loop().time()
        post.cpu_mark = None


def _stamps(files: Mapping[str, Sequence[int]]) -> dict[str, FileStamp]:
    """What a worker says of the files that it imported."""
    return {file: FileStamp(*stamp) for file, stamp in files.items()}


def _read_secrets(settings: GroupSettings) -> dict[str, str]:
    """The values of a group's secrets as they are now. Raises SecretError."""
    keep_memory_private()  # a reload may have brought the first ones
    return {name: read(name, source, os.environ) for name, source in settings.secrets.items()}


def worker_environment(settings: GroupSettings, ours: Mapping[str, str]) -> dict[str, str]:
    """The least environment, what the group is to have of ours, and what it was given."""
    passed = {*PASSED, *settings.env_pass}
    environment = {name: value for name, value in ours.items() if name in passed or name.startswith(PASSED_FAMILIES)}
    return {**environment, **settings.env}
