"""A project in a folder of its own, served by a real daemon."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from tako_lite.cli.main import main
from tako_lite.client import Client
from tako_lite.config.files import SOCKET_NAME, STATE_DIR
from tako_lite.linux import read_process, session_members
from tests.support.backends import Backend, SqliteBackend
from tests.support.checker import by_run
from tests.support.event_log import LOG, EventLog
from tests.support.recording_client import RecordingClient
from tests.support.warm_start import WarmProcess, start_daemon

T = TypeVar("T")
LIMIT = 15.0
REPOSITORY = Path(__file__).parents[2]


def wait_until(condition: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """The first true answer of a condition; fails after `limit` seconds.

    It asks every 10 ms at first, and less often the longer it waits: most conditions ask the daemon, and cost it time.
    """
    begun = time.monotonic()
    while True:
        answer = condition()
        if answer:
            return answer
        waited = time.monotonic() - begun
        assert waited < limit, f"waited {limit:g} s in vain: {what}"
        time.sleep(min(max(waited / 20, 0.01), 0.05))


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; nobody may have collected it yet."""
    process = read_process(pid)
    return process is None or process.state in "ZX"


def zombies(parent: int) -> list[int]:
    """The dead children that a process has not collected."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(ppid) == parent:
            found.append(int(stat.parent.name))
    return found


class Project:
    """`tako.toml`, workflow files and a witness log, with a daemon that can be started, stopped and killed."""

    def __init__(self, root: Path, backend: Backend | None = None) -> None:
        self.root = root
        self.backend = backend or SqliteBackend()
        self.witness = root / "witness.jsonl"
        self.process: subprocess.Popen[bytes] | WarmProcess | None = None
        self.started: list[int] = []
        self.name = "here"
        """The name of this server."""
        self.log_root = root
        """The folder with the log that the checker reads."""
        self.wrapper: list[str] = []
        """A program that becomes the daemon, and what it is told before the daemon's own command."""
        self.sound: int | None = None
        """The daemon, if nothing was put between it and the machine."""
        self.descriptors = 0
        """How many it had open when it began to answer."""
        self.spoilt = ""
        """Why no promise holds for the queue at the end of the test: the test took part of it away."""
        (root / "workflows").mkdir()
        self.configure("")

    @property
    def state_dir(self) -> Path:
        """The state folder: that of tako.toml, once a test has said which one that is."""
        return self.backend.state_dir or self.root / STATE_DIR

    def configure(self, toml: str) -> None:
        """Write tako.toml; unless it names one, the queue is that of the backend."""
        settings = [f'{key} = "{value}"\n' for key, value in self.backend.settings(self.root).items()]
        head, table, tail = textwrap.dedent(toml).partition("[queue]\n")
        if settings and not tail.startswith("url ="):
            tail = "".join(settings) + tail
            table = table or "\n[queue]\n"
        (self.root / "tako.toml").write_text(f'name = "test"\n{head}{table}{tail}')

    def workflow(self, name: str, source: str) -> Path:
        """Write a workflow file, which can append facts to the witness log with `witness(**facts)`."""
        file = self.root / "workflows" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        head = _HEAD.format(witness=str(self.witness))
        tail = _TAIL.format(repository=str(REPOSITORY), root=str(self.log_root))
        file.write_text(head + textwrap.dedent(source) + tail)
        return file

    def add(self, name: str, source: str) -> None:
        """Write a workflow file and have the daemon read it."""
        self.workflow(name, source)
        self.call("reload")

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the daemon answers to a command of the control socket."""
        with self.client() as client:
            return client.call(command, **arguments)

    def serve(self, **environment: str) -> int:
        """Start the daemon and wait until it answers; returns its pid."""
        return self._serve("serve", **environment)

    def serve_with(self, *options: str) -> int:
        """The same with options of `serve`."""
        return self._serve("serve", *options)

    def develop(self, *options: str) -> int:
        """Start `dev`, which serves as well, and wait until it answers; returns its pid."""
        return self._serve("dev", *options)

    def _serve(self, *command: str, **environment: str) -> int:
        with (self.root / "daemon.log").open("ab") as log:
            self.process = start_daemon(
                [*command, "--server", self.name], self.root, log.fileno(), wrapper=self.wrapper, **environment
            )
        self.started.append(self.process.pid)
        pid = self.process.pid
        wait_until(lambda: self._answers(pid), f"the daemon answers; its log: {self.daemon_log()}")
        self.sound = None if self.wrapper or "LD_PRELOAD" in environment else pid
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return pid

    def _answers(self, pid: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended at once: {self.daemon_log()}"
        if not self.wrapper and not (self.state_dir / SOCKET_NAME).exists():
            return False  # without a daemon, `status` reads the files: this costs more than the start of the daemon
        daemon = self.status()["daemon"]
        return daemon is not None and daemon["pid"] == pid

    def stop(self, number: int = signal.SIGTERM, limit: float = LIMIT) -> int:
        """End the daemon with a signal, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(limit)
        self.process = None
        return code

    def daemon_log(self) -> str:
        """What the daemon printed."""
        file = self.root / "daemon.log"
        return file.read_text() if file.exists() else ""

    def client(self) -> Client:
        """A client of this project."""
        return RecordingClient(self.root)

    def status(self) -> dict[str, Any]:
        """The snapshot of `status`."""
        with self.client() as client:
            return client.status()

    def group(self, name: str) -> dict[str, Any]:
        """One group of the snapshot."""
        found: dict[str, Any] = next(group for group in self.status()["groups"] if group["name"] == name)
        return found

    def enqueue(self, workflow: str, payload: Any = None, **options: Any) -> str:
        """Enqueue a run, and return its id."""
        with self.client() as client:
            return client.enqueue(workflow, payload, **options).id

    def get(self, run_id: str) -> dict[str, Any]:
        """A run as `show` has it."""
        with self.client() as client:
            return client.get(run_id)

    def wait(self, run_id: str, limit: float = LIMIT) -> dict[str, Any]:
        """A run after its end."""
        with self.client() as client:
            return client.wait(run_id, timeout=limit)

    def run(self, workflow: str, payload: Any = None, **options: Any) -> dict[str, Any]:
        """Enqueue a run and wait for its end."""
        return self.wait(self.enqueue(workflow, payload, **options))

    def wait_for_state(self, run_id: str, state: str) -> dict[str, Any]:
        """A run once it is in a state."""
        return wait_until(lambda: (run := self.get(run_id))["state"] == state and run, f"{run_id} is {state}")

    def query(self, statement: str) -> list[Any]:
        """The rows that a statement of SQL answers in the queue itself."""
        return self.backend.execute(self.root, statement)

    def facts(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What handlers wrote to the witness log."""
        if not self.witness.exists():
            return []
        facts = [json.loads(line) for line in self.witness.read_text().splitlines()]
        return [fact for fact in facts if kind is None or fact.get("kind") == kind]

    def wait_for_fact(self, kind: str, count: int = 1, limit: float = LIMIT) -> list[dict[str, Any]]:
        """The facts of a kind, once there are so many."""
        return wait_until(lambda: len(found := self.facts(kind)) >= count and found, f"{count} × {kind}", limit)

    def command(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line in this project, without a process of its own: this is ten times as fast."""
        self._note_command(arguments)
        return command_in(self.root, *arguments, stdin=stdin or "")

    def cli(self, *arguments: str, stdin: str | None = None, limit: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line in this project, as a process."""
        self._note_command(arguments)
        return subprocess.run(
            [sys.executable, "-m", "tako_lite", *arguments],
            cwd=self.root,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def note_retry(self, *, fresh: bool = False) -> None:
        """Tell the checker that a person retries runs: of all that are there, as it cannot know which."""
        seen = EventLog(self.root / LOG)
        seen.write("retried", runs=list(by_run(seen.read())), fresh=fresh)

    def _note_command(self, arguments: tuple[str, ...]) -> None:
        if "retry" in arguments:
            self.note_retry(fresh="--fresh" in arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of the command line in this project, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "tako_lite", *arguments],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the daemon, if it runs, and check that nobody is left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pid in self.started:
            wait_until(lambda pid=pid: not session_members(pid) and read_process(pid) is None, f"session {pid} is empty", 10)
        wait_until(lambda: not self.survivors(), f"no worker is left: {self.survivors()}", 10)

    def survivors(self) -> list[int]:
        """Processes that work in this folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink() == self.root and (entry / "stat").read_text().rsplit(")", 1)[1].split()[
                    0
                ] not in "ZX":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def command_in(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the command line in a folder, without a process of its own."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(text), encoding="utf-8") for text in (stdin.encode(), b"", b""))
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "stdin", given):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, _written(out), _written(err))


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def rows(table: str) -> dict[str, str]:
    """The rows of a table by their first word, each with the lines that stand indented below it."""
    found: list[str] = []
    for line in table.splitlines():
        if line.startswith(" ") and found:
            found[-1] += f"  {line}"
        elif line:
            found.append(line)
    return {row.split()[0]: row for row in found}


_HEAD = """\
import asyncio, json, os, signal, sys, threading, time
from tako_lite import Backoff, BlockingStep, Step, workflow

def witness(kind, **facts):
    line = json.dumps({{"kind": kind, "pid": os.getpid(), "at": time.time(), **facts}}) + "\\n"
    descriptor = os.open({witness!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)

def seen(kind):
    with open({witness!r}) as lines:
        return sum(json.loads(line)["kind"] == kind for line in lines)

"""
_TAIL = """

sys.path.append({repository!r})
from tests.support.handler_probe import install_probe
install_probe(globals(), {root!r})
"""
