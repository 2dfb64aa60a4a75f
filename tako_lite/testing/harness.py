"""The life of a `Tako`: opens and closes its parts, carries commands, runs what is due, and lets time pass."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from unittest.mock import patch

from tako_lite import secrets
from tako_lite.client import link
from tako_lite.clock import iso, milliseconds
from tako_lite.errors import WaitTimeout
from tako_lite.hooks import attempt_hooks, step_hooks, teardown_hooks
from tako_lite.records import Claimed
from tako_lite.states import TERMINAL
from tako_lite.testing.clock import START, VirtualClock
from tako_lite.testing.daemon import Gate, LocalDaemon
from tako_lite.testing.output import RunLogHandler
from tako_lite.testing.project import Handle, LoadedProject, load_project
from tako_lite.testing.script import Script
from tako_lite.testing.thread import LoopThread
from tako_lite.units import counted
from tako_lite.worker.run import current_run

T = TypeVar("T")
Mode = Literal["manual", "inline", "off"]

LIMIT: Final = 10.0
"""Seconds of real time that one call of a test may take."""
MOST_STARTS: Final = 10_000
"""Attempts that one `run_until_idle` starts before it counts as a loop."""
MOST_STARTS_ADVANCING: Final = 100_000
YEAR: Final = 365 * 86_400_000
_SHM: Final = Path("/dev/shm")  # noqa: S108 -- in memory; the folder that is made there is private


class Harness:
    """What is below the methods of a `Tako`."""

    def __init__(
        self,
        project: str | Path = ".",
        *,
        config: str | None = None,
        workflows: Sequence[Handle] | None = None,
        start: datetime = START,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        tenant: str | None = None,
        strict: bool = True,
        caller_thread: bool = False,
    ) -> None:
        self._given: dict[str, Any] = {
            "project": project, "config": config, "workflows": workflows, "start": start, "env": env, "tenant": tenant,
            "caller_thread": caller_thread,
        }  # fmt: skip
        loaded = load_project(project, config, workflows)
        self.mode: Mode = "manual"
        self.raise_errors = True
        self.strict = strict
        self.looked_at: set[str] = set()
        """The dead runs that the test has looked at."""
        self.is_closed = False
        self.limit = LIMIT
        self._start = milliseconds(start)
        self._tenant = tenant
        self._secrets = dict(secrets or {})
        self.folder = Path(tempfile.mkdtemp(prefix="tako-", dir=_SHM if os.access(_SHM, os.W_OK) else None))
        self.script = Script(VirtualClock(self._start))
        self._opened = ExitStack()
        try:
            self._open(loaded, {**_env_of(loaded), **(env or {})})
        except BaseException:
            self._opened.close()
            raise

    def _open(self, loaded: LoadedProject, env: Mapping[str, str]) -> None:
        opened = self._opened
        opened.callback(shutil.rmtree, self.folder, ignore_errors=True)
        opened.enter_context(loaded.imports.applied())
        opened.enter_context(patch.dict(os.environ, env))
        opened.enter_context(_kept_hooks())
        self.loaded = loaded
        caller = self._given["caller_thread"]
        self._thread = LoopThread(serves_caller=caller)
        self.script.caller = self._thread if caller else None
        opened.callback(self._thread.stop)
        self.daemon = self._do(self._start_daemon())
        opened.callback(self._stop_daemon)
        opened.enter_context(secrets.installed("default", self._secrets))
        handler = RunLogHandler(self.daemon.logs)
        handler.install()
        opened.callback(handler.remove)
        before = link.current()
        link.use_link(self._command, self._thread.loop, for_all=True)
        opened.callback(_use_again, before)

    async def _start_daemon(self) -> LocalDaemon:
        self._running = asyncio.Lock()
        daemon = LocalDaemon(self.loaded.config, self.loaded.catalog, self.loaded.loader, self.script, self.folder)
        await daemon.start()
        return daemon

    def _stop_daemon(self) -> None:
        async def stop() -> None:
            await self.daemon.stop()
            for executor in self.script.executors:
                await executor.dispose()

        self._thread.call(stop(), self.limit, lambda: "the harness did not stop")

    @property
    def has_own_handles(self) -> bool:
        """Whether the workflows are handles that the test passed, and not those of files."""
        return self._given["workflows"] is not None

    def close(self) -> None:
        """End everything. Raises AssertionError for what `strict` forbids; closing twice is harmless."""
        if self.is_closed:
            return
        problems = self.problems() if self.strict else []
        self.abandon()
        if problems:
            raise AssertionError("\n".join(problems))

    def abandon(self) -> None:
        """End everything without checks."""
        if not self.is_closed:
            self.is_closed = True
            self._opened.close()

    def problems(self) -> list[str]:
        """What a strict test must not leave behind."""
        found = [*self.script.violations, *self.script.unused()]
        for shown in self.list_runs({"states": ["dead"]}):
            if shown["id"] not in self.looked_at:
                error = shown["error"] or {}
                about = f"run {shown['id'][-8:]} of {shown['workflow']} died, and the test did not look at it"
                found.append(f"{about}: {error.get('type')}: {error.get('message')}\n{error.get('traceback') or ''}".rstrip())
        unexpected = self.daemon.events.unexpected.count
        return [*found, *([f"tako-lite had {counted(unexpected, 'unexpected error')}; see the log"] if unexpected else [])]

    def _install_secrets(self) -> None:
        secrets.install("default", self._secrets)

    # Calls from the test

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the harness. Raises AssertionError if it takes too long."""
        if self.is_closed:
            coroutine.close()
            raise RuntimeError("this Tako is closed")
        if self._thread.is_current:
            coroutine.close()
            raise RuntimeError("a handler cannot call this method of a Tako: use the step, or `Client`")
        return self._thread.call(coroutine, self.limit, self._describe)

    def _describe(self) -> str:
        """The states of all runs, for the message of a call that took too long."""
        return "its runs are not known"

    def command(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of the control socket."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._do(self.daemon.commands.execute(command, given))

    def read_run(self, id: str) -> dict[str, Any]:
        """A run in the format of `show`."""
        answer = self._thread.read(self.daemon.commands.execute("get", {"run_id": id}), self.limit)
        run: dict[str, Any] = answer["run"]
        return run

    def list_runs(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The runs that match, the oldest first, in the format of `runs`."""
        found: list[dict[str, Any]] = []
        before: dict[str, Any] = {}
        while True:
            page = self._thread.read(self.daemon.commands.execute("runs", {**filters, **before}), self.limit)["runs"]
            if not page:
                return found[::-1]
            found += page
            before = {"before": page[-1]["id"]}

    async def _command(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A command that a client sends, in a handler or in the code under test."""
        outside = current_run.get() is None
        if outside and self._tenant is not None and command in ("enqueue", "enqueue_many"):
            arguments = {"tenant": self._tenant, **arguments}
        if outside and command == "wait":
            return await self._wait(arguments)
        answer: dict[str, Any] = json.loads(json.dumps(await self.daemon.commands.execute(command, arguments)))
        if outside and self.mode == "inline" and command in ("enqueue", "enqueue_many"):
            await self._run_due(Gate())
            self._raise_errors(answer.get("ids") or [answer["id"]])
        return answer

    async def _wait(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The end of a run, if it ends now: nothing else would let time pass."""
        if self.mode != "off":
            await self._run_due(Gate())
        answer = await self.daemon.commands.execute("get", {"run_id": arguments["run_id"]})
        if answer["run"]["state"] not in TERMINAL:
            about = f"run {arguments['run_id']} is {answer['run']['state']}, and time stands still"
            raise WaitTimeout(about, hint="enqueue, then advance the time with tako.advance(…), and only then wait")
        return answer

    def _raise_errors(self, ids: Sequence[str]) -> None:
        """Raise what the first of these runs died of."""
        if not self.raise_errors:
            return
        for shown in (self.read_run(id) for id in ids):
            if shown["state"] == "dead":
                self.looked_at.add(shown["id"])
                error = shown["error"] or {}
                raise self.script.errors.get(shown["id"]) or RuntimeError(f"{error.get('type')}: {error.get('message')}")

    # Runs and time

    async def _run_due(self, gate: Gate, workflow: str | None = None) -> None:
        """Start what is due now, and what follows from it."""
        async with self._running:
            with self.daemon.logs.reading_streams(), self.daemon.only(workflow):
                await self.daemon.scheduler.work()
                await self.daemon.drain(gate)
            if workflow is not None:
                await self.daemon.store.release_held_runs("no_handler")
        if gate.left <= 0 and gate.fails:
            raise AssertionError(_looping(gate.started))

    async def _skip(self, gate: Gate, workflow: str | None, limit: int) -> None:
        """Let time pass to each moment at which something is due, until nothing is."""
        last = self.script.clock.moment + limit
        while (moment := await self.daemon.next_moment(retention=False)) is not None:
            if moment > last:
                raise AssertionError(f"something is due at {iso(moment)}, which is beyond the limit of this call")
            self._move(moment)
            await self._run_due(gate, workflow)

    async def _clear(self) -> None:
        """Delete what the queue has, and what the test has said and seen."""
        store = self.daemon.store
        await store.empty()
        self.daemon.dispatcher.forget_work()
        for part in (self.daemon.ended, self.looked_at, self.daemon.logs.lines):
            part.clear()
        self.script.clear()
        await self.daemon.put_catalog()

    async def _advance(self, target: int, *, schedules: bool, most: int) -> None:
        """Let time pass to a moment, and run what is due on the way."""
        scheduler, gate = self.daemon.scheduler, Gate(left=most)
        if self.mode != "off":
            await self._run_due(gate)
        if schedules:
            scheduler.skip_missed()
        scheduler.fires = schedules
        try:
            while (moment := await self.daemon.next_moment()) is not None and moment <= target:
                self._move(moment)
                await self._arrive(gate)
            self._move(target)
            await self._arrive(gate)
        finally:
            scheduler.fires = False

    async def _arrive(self, gate: Gate) -> None:
        if self.mode == "off":
            await self.daemon.scheduler.work()
        else:
            await self._run_due(gate)

    def _move(self, moment: int) -> None:
        self.script.clock.moment = max(self.script.clock.moment, moment)

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return datetime.fromtimestamp(self.script.clock.moment / 1000, UTC)


def _looping(started: Sequence[Claimed]) -> str:
    """The error for too many attempts: which workflows made most of them."""
    ((name, most), *_) = Counter(run.workflow for run in started).most_common(1)
    about = f"{len(started):,} attempts were started, {most:,} of them of {name}: does it start itself, or retry forever?"
    return f"{about} Pass max_runs= for more"


def _env_of(loaded: LoadedProject) -> dict[str, str]:
    """The variables that the groups set; the first group that sets one wins."""
    env: dict[str, str] = {}
    for name in sorted({"default", *loaded.config.groups, *loaded.catalog.groups}, key=lambda name: name != "default"):
        env = {**loaded.config.group(name).env, **env}
    return env


def _kept_hooks() -> ExitStack:
    """Restores the hooks at the end of the block: `setup` functions may register some."""
    stack = ExitStack()
    for hooks in (attempt_hooks, step_hooks, teardown_hooks):
        stack.callback(_restore, hooks, list(hooks))
    return stack


def _restore(hooks: list[Any], before: list[Any]) -> None:
    hooks[:] = before


def _use_again(before: link.HandlerLink | None) -> None:
    if before is None:
        link.use_link(None)
    else:
        link.use_link(before.sender, before.loop, for_all=before.for_all)
