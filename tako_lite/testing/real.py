"""`TestProject`: a real daemon with real workers in a temporary folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import tomlkit

from tako_lite.client import Client, link
from tako_lite.clock import milliseconds
from tako_lite.config.files import DEFAULT_PATH, FILE_NAME, STATE_DIR
from tako_lite.errors import TakoError
from tako_lite.states import TERMINAL
from tako_lite.testing.moved_clock import MovedClock
from tako_lite.testing.names import DEATHS, ENTRY, FOLDER, POINTS, SETUP
from tako_lite.units import duration

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle

    AnyWorkflow = str | WorkflowHandle[..., Any]

T = TypeVar("T")
LIMIT: Final = 15.0
"""Seconds of real time that one call waits."""
_LOG: Final = "daemon.log"
_NOT_LINKED: Final = frozenset({FILE_NAME, STATE_DIR, FOLDER, ".git", ".venv", "__pycache__"})
_NOT_COPIED: Final = ("queue", "state_dir", "web", "monitor", "servers")
"""What tako.toml says of one daemon on one machine."""


class TestProject:
    """A project in a folder of its own, served by a real daemon with real workers.

    `folder` is an empty folder. With `project`, it gets links to the files of that project and a copy of its tako.toml, but a
    queue of its own. The daemon and the workers use a clock that `advance` moves.
    """

    __test__ = False  # for pytest

    def __init__(self, folder: Path, *, project: str | Path | None = None) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._own = folder / FOLDER
        self._own.mkdir(parents=True)
        link.spared.add(str(folder))
        self.clock = MovedClock(self._own)
        if project is not None:
            source = Path(project).resolve()
            self._link(source if source.is_dir() else source.parent)
            file = source / FILE_NAME if source.is_dir() else source
            self.configure(file.read_text() if file.exists() else "")
        else:
            (folder / DEFAULT_PATH).mkdir()
            self.configure("")

    def _link(self, source: Path) -> None:
        for entry in source.iterdir():
            if entry.name not in _NOT_LINKED and entry != self.folder:
                (self.folder / entry.name).symlink_to(entry)

    # Files

    def configure(self, toml: str) -> None:
        """Write tako.toml."""
        document = tomlkit.parse(textwrap.dedent(toml))
        for key in _NOT_COPIED:
            document.pop(key, None)
        workflows = document.setdefault("workflows", tomlkit.table())
        for name, table in [("", workflows), *workflows.items()]:
            if isinstance(table, Mapping) and name not in ("env", "secrets", "limits"):
                _take_over_setup(table, is_root=not name)
        (self.folder / FILE_NAME).write_text(tomlkit.dumps(document))

    def workflow(self, name: str, source: str) -> Path:
        """Write a workflow file."""
        file = self.folder / DEFAULT_PATH / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
        return file

    # The daemon

    def serve(self, **environment: str) -> int:
        """Start the daemon, and wait until it answers; returns its pid."""
        with (self._own / _LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tako_lite.testing.serve"],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,  # its end tells the daemon that the test is gone
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until(self._answers, "the daemon answers")
        return self._process.pid

    def _answers(self) -> bool:
        assert self._process is not None  # noqa: S101
        if self._process.poll() is not None:
            raise AssertionError(f"the daemon has ended:\n{self.daemon_log()}")
        try:
            with self.client() as client:
                daemon = client.status()["daemon"]
        except TakoError:
            return False
        return daemon is not None and daemon["pid"] == self._process.pid

    def stop(self) -> int | None:
        """End the daemon in order; returns its exit code, or None if none runs."""
        return self._end(signal.SIGTERM)

    def kill_daemon(self) -> None:
        """Kill the daemon with SIGKILL; its workers die with it. `serve` starts the next one."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int | None:
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            code = process.wait(LIMIT)
            process.communicate()  # closes the pipe
            return code
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the daemon did not end within {LIMIT:g} s:\n{self.daemon_log()}") from None

    def kill_worker(self, group: str = "default") -> int:
        """Kill a worker of a group with SIGKILL, one that has runs if there is one; returns its pid."""
        with self.client() as client:
            groups = {shown["name"]: shown for shown in client.status()["groups"]}
        workers = sorted(groups[group]["workers"], key=lambda worker: not worker["running"]) if group in groups else []
        if not workers:
            raise AssertionError(f"group {group} has no worker")
        pid = int(workers[0]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def close(self) -> None:
        """Stop the daemon, if it runs; closing twice is harmless."""
        self.stop()
        link.spared.discard(str(self.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    # Runs

    def client(self) -> Client:
        """A client of this project."""
        return Client(self.folder)

    def enqueue(self, workflow: AnyWorkflow, payload: Any = None, **options: Any) -> str:
        """Enqueue a run; returns its id."""
        with self.client() as client:
            return client.enqueue(workflow, payload, **options).id

    def get(self, id: str) -> dict[str, Any]:
        """A run in the format of `tako-lite show --json`."""
        with self.client() as client:
            return client.get(id)

    def wait(self, id: str, limit: float = LIMIT) -> dict[str, Any]:
        """A run after its end."""
        with self.client() as client:
            return client.wait(id, timeout=limit)

    def run(self, workflow: AnyWorkflow, payload: Any = None, **options: Any) -> dict[str, Any]:
        """Enqueue a run, and wait for its end."""
        return self.wait(self.enqueue(workflow, payload, **options))

    def await_state(self, id: str, state: str) -> dict[str, Any]:
        """A run once it is in a state."""
        return self.until(lambda: (run := self.get(id))["state"] == state and run, f"{id} is {state}") or {}

    def signal(self, event: str, payload: Any = True) -> int:
        """Send a signal; returns the number of waits that it ended."""
        with self.client() as client:
            return client.signal(event, payload)

    def until(self, condition: Callable[[], T], what: str, limit: float = LIMIT) -> T:
        """The first true answer of a condition. Raises AssertionError after `limit` seconds."""
        give_up = time.monotonic() + limit
        while not (answer := condition()):
            if time.monotonic() > give_up:
                raise AssertionError(f"waited {limit:g} s in vain: {what}\n{self.daemon_log()}")
            time.sleep(0.01)
        return answer

    def until_idle(self) -> None:
        """Wait until no run is being executed or due."""

        def is_idle() -> bool:
            with self.client() as client:
                live = list(client.runs(state=["pending", "running"]))
            return not any(run["state"] == "running" or milliseconds(run["run_at"]) <= self.clock.now() for run in live)

        self.until(is_idle, "nothing is due")

    def settle(self) -> None:
        """Wait until the daemon has noticed the time, and nothing is due."""

        def is_noticed() -> bool:
            moment = self._next_moment()
            return moment is None or moment > self.clock.now()

        self.until(is_noticed, "the daemon notices the time")
        self.until_idle()

    # Time

    @property
    def now(self) -> datetime:
        """The time of the daemon and the workers."""
        return datetime.fromtimestamp(self.clock.now() / 1000, UTC)

    def advance(self, by: float | timedelta | str) -> None:
        """Let time jump. The daemon notices it within a moment."""
        self.clock.move(round(duration(by) * 1000))

    def skip(self, id: str) -> dict[str, Any]:
        """Let time jump to what a run and its children wait for, until it has ended; returns it."""
        while True:
            self.until_idle()
            run = self.get(id)
            if run["state"] in TERMINAL or (moment := self._next_moment()) is None:
                return run
            self.clock.move(max(moment - self.clock.now(), 0))
            self.until(lambda before=moment: self._next_moment() != before, "the daemon notices the time")  # type: ignore[misc]

    def _next_moment(self) -> int | None:
        """When the next run or wait is due."""
        with self.client() as client:
            live = [client.get(run["id"]) for run in client.runs(state=["pending", "waiting"])]
        moments = [run["run_at"] for run in live if run["state"] == "pending"]
        moments += [wait["wake_at"] for run in live for wait in run["waits"] if wait["wake_at"] is not None]
        return min(map(milliseconds, moments), default=None)

    # What happened

    def logs(self) -> str:
        """What the handlers printed and logged."""
        files = sorted((self.folder / STATE_DIR / "logs").glob("*.jsonl"))
        return "\n".join(json.loads(line)["text"] for file in files for line in file.read_text().splitlines())

    def daemon_log(self) -> str:
        """What the daemon printed."""
        file = self._own / _LOG
        return file.read_text() if file.exists() else ""

    # Points, for `kill_at_every_step`

    def die_at(self, workflow: str, points: list[str]) -> None:
        """Have the worker of a run of a workflow die at these points, one after the other."""
        (self._own / POINTS).unlink(missing_ok=True)
        (self._own / DEATHS).write_text(json.dumps({"workflow": workflow, "at": points}))

    def points(self, run: str) -> list[dict[str, Any]]:
        """The points that a run has reached, and the bodies that it has executed."""
        file = self._own / POINTS
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if line["run"] == run]


def _take_over_setup(table: Any, *, is_root: bool) -> None:
    """Have a table of a group call `in_worker.install`, which then calls its own `setup`."""
    own = table.get("setup")
    if own == ENTRY or (own is None and not is_root):
        return
    table["setup"] = ENTRY
    if own is not None:
        table.setdefault("env", tomlkit.inline_table())[SETUP] = own
