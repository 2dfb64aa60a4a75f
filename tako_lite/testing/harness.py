"""The life of a `Tako`: opens and closes its parts, carries commands, runs what is due, and lets time pass."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from tako_lite import secrets
from tako_lite.client import link
from tako_lite.clock import milliseconds
from tako_lite.errors import BadInput
from tako_lite.hooks import attempt_hooks, step_hooks, teardown_hooks
from tako_lite.testing.clock import START, VirtualClock
from tako_lite.testing.daemon import LocalDaemon
from tako_lite.testing.environment import environment
from tako_lite.testing.output import RunLogHandler
from tako_lite.testing.project import Handle, LoadedProject, load_project
from tako_lite.testing.run import TestRun
from tako_lite.testing.script import Script
from tako_lite.testing.thread import LoopThread
from tako_lite.units import counted

T = TypeVar("T")
Mode = Literal["manual", "inline", "off"]

LIMIT: Final = 10.0
"""Seconds of real time that one call of a test may take."""
CLIENT_LIMIT: Final = 60.0
"""The same for a call of a client: in the mode inline, it runs workflows."""
_SHM: Final = Path("/dev/shm")  # noqa: S108 -- in memory; the folder that is made there is private


class Harness(ABC):
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
        freeze: bool = False,
    ) -> None:
        self._given: dict[str, Any] = {
            "project": project, "config": config, "workflows": workflows, "start": start, "env": env, "tenant": tenant,
            "caller_thread": caller_thread,
            "freeze": freeze,
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
        opened.enter_context(environment(env))
        opened.enter_context(_kept_hooks())
        if self._given["freeze"]:
            self.script.clock.on_move = opened.enter_context(_frozen(self.script.clock.time))
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
        link.use(_Link(self._command, self._thread.loop, self._thread))
        opened.callback(link.use, before)

    async def _start_daemon(self) -> LocalDaemon:
        self._running = asyncio.Lock()
        daemon = LocalDaemon(self.loaded, self.script, self.folder)
        await daemon.start()
        return daemon

    def _stop_daemon(self) -> None:
        async def stop() -> None:
            await self.daemon.stop()
            for executor in self.script.executors:
                await executor.dispose()

        self._thread.call(stop(), self.limit, lambda: "the harness did not stop")

    def reload(self, workflows: Sequence[Handle] | None = None) -> None:
        """Deploy other code under the runs of the queue, as `tako-lite reload` does: what the files of the project are now.

        `workflows` are the handles to use from now on, for a `Tako` of handles.
        """
        if workflows is not None:
            self._given["workflows"] = workflows
        loaded = load_project(self._given["project"], self._given["config"], self._given["workflows"])
        self._opened.enter_context(loaded.imports.applied())
        self._do(self._take(loaded))
        self.loaded = loaded

    async def _take(self, loaded: LoadedProject) -> None:
        async with self._running:
            await self.daemon.take(loaded)

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
        return self._thread.call(coroutine, self.limit, self._describe, self._progress)

    def _progress(self) -> int:
        """How many runs have ended."""
        return len(self.daemon.ended) if hasattr(self, "daemon") else 0

    def _describe(self) -> str:
        """The states of all runs, for the message of a call that took too long."""
        return "its runs are not known"

    def command(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of the control socket."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._do(self.daemon.commands.execute(command, given))

    def _read(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer to a command that never waits."""
        if self.is_closed:
            raise RuntimeError("this Tako is closed")
        return self._thread.read(self.daemon.commands.execute(command, arguments), self.limit)

    def read_run(self, id: str) -> dict[str, Any]:
        """A run in the format of `show`."""
        run: dict[str, Any] = self._read("get", {"run_id": id})["run"]
        order = self.script.begun.get(id, {})
        run["steps"].sort(key=lambda step: order.get(step["name"], len(order)))
        return run

    def list_runs(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The runs that match, the oldest first, in the format of `runs`."""
        found: list[dict[str, Any]] = []
        before: dict[str, Any] = {}
        while True:
            page = self._read("runs", {**filters, **before})["runs"]
            if not page:
                return found[::-1]
            found += page
            before = {"before": page[-1]["id"]}

    @abstractmethod
    async def _command(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A command that a client sends, in a handler or in the code under test."""

    def children(self, run: TestRun | str) -> list[TestRun]:
        """The runs that a run started with `step.invoke` and `step.enqueue`, the oldest first."""
        parent = run if isinstance(run, str) else run.id
        return [TestRun(self, shown["id"]) for shown in self.list_runs({"parent": parent})]

    def log_of(self, id: str) -> list[str]:
        """The lines that a run printed and logged."""
        return self.daemon.logs.of(id)

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self.script.clock.time


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


@contextmanager
def _frozen(start: datetime) -> Iterator[Callable[[datetime], object]]:
    """Have `time.time()` and `datetime.now()` stand still in this block; yields what moves them. Raises BadInput."""
    try:
        import time_machine
    except ModuleNotFoundError:
        raise BadInput("freeze=True needs the package time-machine", hint="pip install time-machine") from None
    with time_machine.travel(start, tick=False) as traveller:
        yield traveller.move_to


def _restore(hooks: list[Any], before: list[Any]) -> None:
    hooks[:] = before


class _Link(link.HandlerLink):
    """A link whose callers execute what their thread is offered, see `caller`."""

    thread: LoopThread

    def __new__(cls, sender: link.Sender, loop: asyncio.AbstractEventLoop, thread: LoopThread) -> Self:
        made = super().__new__(cls, sender, loop, os.getpid(), for_all=True)
        made.thread = thread
        return made

    def ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.thread.is_current:
            return super().ask(command, arguments)  # which refuses it
        return self.thread.call(self.sender(command, arguments), CLIENT_LIMIT, str)
