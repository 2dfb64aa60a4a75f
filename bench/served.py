"""A project in a folder of its own, served by a real daemon."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from bench.figures import Loop, Plan
from bench.processes import processor_seconds
from tako_lite.client import Client

T = TypeVar("T")
LIMIT: Final = 120.0
PYTHON: Final = str(Path(sys.executable).absolute())

_PLAIN_LOOP: Final = """\
import sys
sys.modules["uvloop"] = None
from tako_lite.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""Starts the command line as if uvloop were not installed."""


def wait_until(condition: Callable[[], T], what: str, pause: float = 0.01) -> T:
    """The first true answer of a condition."""
    give_up = time.monotonic() + LIMIT
    while not (answer := condition()):
        if time.monotonic() > give_up:
            raise RuntimeError(f"waited {LIMIT:g} s in vain: {what}")
        time.sleep(pause)
    return answer


class Served:
    """A project with the given groups and workflows; inside of `with` its daemon runs. The folder goes at the end."""

    def __init__(
        self,
        plan: Plan,
        toml: str,
        source: str,
        *,
        queue: Path | None = None,
        witness: Path | None = None,
        options: Sequence[str] = ("--server", "bench"),
    ) -> None:
        self.root = Path(tempfile.mkdtemp(dir=plan.folder, prefix="project-"))
        self.witness = witness or self.root / "witness"
        self._options = options
        self.queue = self.root / ".tako" / "queue.db"
        self.loop: Loop = plan.loop
        self._process: subprocess.Popen[bytes] | None = None
        (self.root / "tako.toml").write_text(f'name = "bench"\n{toml}')
        (self.root / "workflows").mkdir()
        (self.root / "workflows" / "work.py").write_text(_HEAD.format(witness=str(self.witness)) + source)
        if queue is not None:
            self.queue.parent.mkdir(mode=0o700)
            shutil.copyfile(queue, self.queue)

    def start(self) -> None:
        """Start a daemon, and do not wait for it."""
        as_people_do = self.loop == "uvloop" or find_spec("uvloop") is None
        start = ["-m", "tako_lite"] if as_people_do else ["-c", _PLAIN_LOOP]
        with (self.root / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PYTHON, *start, "serve", *self._options],
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def die(self) -> None:
        """Kill the daemon, which has no time to tell anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        self.client = Client(self.root)
        try:
            wait_until(self._answers, "the daemon answers")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.client.close()
        if self._process is not None:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # the second one: kill the runs under way
                self._process.send_signal(number)
                try:
                    self._process.wait(10 if kind is None else 1)
                    break
                except subprocess.TimeoutExpired:
                    continue
        try:
            if kind is not None:
                sys.stderr.write((self.root / "daemon.log").read_text())
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The daemon's process."""
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process.pid

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the daemon ended at once: {(self.root / 'daemon.log').read_text()}")
        daemon = self.client.status()["daemon"]
        return daemon is not None and daemon["pid"] == self.pid

    def group(self, name: str) -> dict[str, Any]:
        """One group of the snapshot."""
        found: dict[str, Any] = next(group for group in self.client.status()["groups"] if group["name"] == name)
        return found

    def wait_for_workers(self, name: str, count: int = 1) -> list[int]:
        """The pids of a group's workers, once so many are ready."""

        def ready() -> list[int]:
            workers = self.group(name)["workers"]
            pids = [worker["pid"] for worker in workers if worker["state"] in ("idle", "busy")]
            return pids if len(pids) == count == len(workers) else []

        return wait_until(ready, f"{count} workers of {name} are ready")

    def pause(self, group: str) -> None:
        """Let work gather."""
        self.client.call("pause", group=group)

    def drain(self, group: str, last: str) -> float:
        """Resume a group and return the seconds until the last of its runs has ended."""
        start = time.perf_counter()
        self.client.call("resume", group=group)
        run = self.client.wait(last, timeout=LIMIT)
        elapsed = time.perf_counter() - start
        if run["state"] != "succeeded":
            raise RuntimeError(f"a run ended {run['state']}: {run['error']}")
        return elapsed

    def check(self, succeeded: int) -> None:
        """Raise unless exactly so many runs have succeeded and none is left: a fast drain of half the work is not one."""
        wait_until(lambda: self._counts() == {"succeeded": succeeded}, f"{succeeded} runs succeeded, not {self._counts()}")

    def _counts(self) -> dict[str, int]:
        connection = sqlite3.connect(f"{self.queue.as_uri()}?mode=ro", uri=True)
        try:
            return dict(connection.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall())
        finally:
            connection.close()


class Drained(NamedTuple):
    """How fast work was done, and what each run cost the daemon and the worker in microseconds of processor time."""

    per_second: float
    daemon: float
    worker: float


def drained(
    plan: Plan,
    toml: str,
    source: str,
    payloads: Sequence[Any],
    *,
    queue: Path | None = None,
    beside: Callable[[Served], AbstractContextManager[Any]] | None = None,
) -> Drained:
    """A new project's worker does a run of `work` for each payload, while `beside` does something else."""
    with Served(plan, toml, source, queue=queue) as project:
        warm_up(project)
        project.pause("default")
        ids = project.client.enqueue_many("work", payloads)
        pids = [project.pid, *project.wait_for_workers("default")]
        before = [processor_seconds(pid) for pid in pids]
        with contextlib.nullcontext() if beside is None else beside(project):
            elapsed = project.drain("default", ids[-1])
        daemon, worker = (1e6 * (processor_seconds(pid) - used) for pid, used in zip(pids, before, strict=True))
        if queue is None:
            project.check(len(payloads) + 1)
    return Drained(len(payloads) / elapsed, daemon / len(payloads), worker / len(payloads))


def warm_up(project: Served, workflow: str = "work", payload: Any = None) -> None:
    """Have one run done, so that the worker is there and its code is loaded."""
    project.client.wait(project.client.enqueue(workflow, payload).id, timeout=LIMIT)


NO_OP: Final = """
@workflow("work")
async def work(payload, step):
    return None
"""

_HEAD: Final = """\
import asyncio, os, time
from tako_lite import workflow

_witness = os.open({witness!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

def arrived(payload):
    os.write(_witness, f"{{time.time() - payload['sent']}}\\n".encode())

"""


def pool(concurrency: int, workers: int = 1) -> str:
    """The settings of group `default`."""
    return f"[workflows]\nworkers = {workers}\nconcurrency = {concurrency}\n"
