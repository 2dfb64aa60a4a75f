"""The real daemon, stopped at named points: `python -m tests.support.failpoints POINT=ACTION[@N] …` in a project's folder.

What the daemon is put together from tells its events already: here they are listened to by subclasses, so that the product has
no code for it. The Nth event of a name does what is asked: `kill` (SIGKILL to the daemon), `kill_all` (its workers and fork
servers too), `kill_workers`, `freeze_workers`, `error` (a disk that fails), or a number of seconds to stand still.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from asyncio import Future
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

from tako_lite.daemon import daemon as composition
from tako_lite.daemon import serve as command
from tako_lite.daemon.daemon import Daemon
from tako_lite.daemon.events import Events
from tako_lite.linux import read_process
from tako_lite.processes.child import WorkerRecords
from tako_lite.store.sqlite import store as sqlite_store
from tako_lite.store.sqlite.store import SqliteStore
from tako_lite.store.sqlite.transaction import SqliteTransaction as Transaction
from tests.support.event_log import EventLog, Fact
from tests.support.project import Project, wait_until
from tests.support.warm_start import WarmProcess, start_daemon

REPOSITORY: Final = Path(__file__).parents[2]
FIRED: Final = "fired.jsonl"
"""The witness log of the points at which something happened."""
TRANSITIONS: Final = {
    "enqueue": "enqueue_runs",
    "enqueue_many": "enqueue_batches",
    "claim": "claim_runs",
    "complete": "complete_runs",
    "retry_later": "reschedule_run",
    "finish": "finish_run",
    "give_back": "requeue_runs",
    "crash": "charge_crash",
    "recover": "recover_runs",
    "cancel": "cancel_runs",
    "step": "save_steps",
    "wait": "add_wait",
    "child": "invoke_child",
    "child_enqueue": "enqueue_child",
    "park": "park_run",
    "signal": "store_signal",
    "wake": "wake_due_runs",
    "schedule": "fire_schedule",
    "prune": "prune_runs",
    "begin_evaluation": "begin_evaluation",
    "complete_evaluation": "complete_evaluation",
    "put_triggers": "put_triggers",
    "put_catalog": "put_catalog",
    "set_limits": "set_limits",
    "pause_group": "pause_group",
    "lose_group": "mark_group_unavailable",
    "find_group": "mark_group_available",
    "move_group": "move_runs",
}
"""A point's name, and the transition of the store at which it is: `NAME.before_save` (asked for), `NAME.between` (its first
statement that changes something is done), `NAME.after_commit` (stored, and nobody has heard of it)."""
EVENTS: Final = ("recovered", "serving", "stopping", "worker_started", "worker_ready", "worker_gone", "killing")
OTHERS: Final = ("spawn.before_register", "spawn.after_register", "reap.before_forget", "push.after")


class Points:
    """What is to happen where."""

    def __init__(self, asked: list[str]) -> None:
        self._asked: dict[tuple[str, int], str] = {}
        for text in asked:
            point, _, rest = text.partition("=")
            action, _, number = rest.partition("@")
            assert point in POINTS, f"there is no point {point}"
            self._asked[point, int(number or 1)] = action
        self._seen: Counter[str] = Counter()
        self._fired = EventLog(Path.cwd() / FIRED)

    def reached(self, point: str) -> None:
        """Do what is asked for here. Raises OperationalError where that is an error."""
        self._seen[point] += 1
        action = self._asked.pop((point, self._seen[point]), None)
        if action is None:
            return
        self._fired.write("fired", point=point, action=action)
        if action == "error":
            raise sqlite3.OperationalError("disk I/O error")
        if action in ("kill_workers", "kill_all", "freeze_workers"):
            _hit(signal.SIGSTOP if action == "freeze_workers" else signal.SIGKILL, servers=action == "kill_all")
        if action in ("kill", "kill_all"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif action not in ("kill_workers", "freeze_workers"):
            time.sleep(float(action))


def _hit(number: int, *, servers: bool) -> None:
    """Send a signal to all workers, and to the fork servers too."""
    below = [process for entry in Path("/proc").glob("[0-9]*") if (process := read_process(int(entry.name)))]
    zygotes = [process.pid for process in below if process.parent == os.getpid()]
    for process in below:
        with suppress(ProcessLookupError):  # gone, or forked a moment ago and no leader yet
            if process.parent in zygotes:
                os.killpg(process.pid, number)
            elif process.pid in zygotes and servers:
                os.kill(process.pid, number)


def listening_store(points: Points) -> type[SqliteStore]:
    """The store, with a point before, in and after each transition."""

    class Listening(SqliteStore):
        _point = ""

        def _write(self, operation: Callable[[Any], Any], *, keep: bool = False, **options: Any) -> Future[Any]:
            name, self._point = self._point, ""

            def work(transaction: Transaction) -> Any:
                before, unchanged = transaction.connection.total_changes, (transaction._execute, transaction._executemany)

                def halfway() -> None:
                    if transaction.connection.total_changes > before:
                        transaction._execute, transaction._executemany = unchanged
                        points.reached(f"{name}.between")

                def watched(execute: Any) -> Any:
                    def watching(*arguments: Any) -> sqlite3.Cursor:
                        cursor: sqlite3.Cursor = execute(*arguments)
                        halfway()
                        return cursor

                    return watching

                transaction._execute, transaction._executemany = map(watched, unchanged)
                try:
                    result = operation(transaction)
                    if transaction._execute is not unchanged[0]:
                        halfway()  # a statement that returns rows has counted its changes once they are read
                    return result
                finally:
                    transaction._execute, transaction._executemany = unchanged

            return super()._write(work if name else operation, keep=keep, **options)

    def listen(name: str, transition: str) -> None:
        original = getattr(SqliteStore, transition)

        def method(self: Listening, *arguments: Any, **options: Any) -> Future[Any]:
            points.reached(f"{name}.before_save")
            self._point = name
            future: Future[Any] = original(self, *arguments, **options)
            future.add_done_callback(stored)
            return future

        async def in_portions(self: Listening, *arguments: Any, **options: Any) -> Any:
            points.reached(f"{name}.before_save")
            self._point = name  # of the first portion, which is submitted before anything else can be
            result = await original(self, *arguments, **options)
            points.reached(f"{name}.after_commit")
            return result

        def stored(future: Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None and (name != "claim" or future.result().runs):
                points.reached(f"{name}.after_commit")

        setattr(Listening, transition, in_portions if iscoroutinefunction(original) else method)

    for name, transition in TRANSITIONS.items():
        listen(name, transition)
    return Listening


def listening_events(points: Points) -> type[Events]:
    """The events, with a point at each."""

    class Listening(Events):
        pass

    def listen(name: str) -> None:
        original = getattr(Events, name)

        def method(self: Events, *facts: Any) -> None:
            original(self, *facts)
            points.reached(f"event.{name}")

        setattr(Listening, name, method)

    for name in EVENTS:
        listen(name)
    return Listening


def listening_records(points: Points) -> type[WorkerRecords]:
    """The records of workers, with a point at each of their changes."""

    class Listening(WorkerRecords):
        def add(self, pid: int) -> None:
            points.reached("spawn.before_register")
            super().add(pid)
            points.reached("spawn.after_register")

        def forget(self, pid: int) -> None:
            points.reached("reap.before_forget")
            super().forget(pid)

    return Listening


def listening_daemon(points: Points) -> type[Daemon]:
    """The daemon, with a point where runs were sent to a worker."""

    class Listening(Daemon):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            on_push = self.dispatcher.on_push

            def pushed() -> None:
                on_push()
                points.reached("push.after")

            self.dispatcher.on_push = pushed

    return Listening


POINTS: Final = frozenset(
    {f"{name}.{moment}" for name in TRANSITIONS for moment in ("before_save", "between", "after_commit")}
    | {f"event.{name}" for name in EVENTS}
    | set(OTHERS)
)


def main(asked: list[str]) -> int:
    """Serve the project in the current folder until a point or a signal ends it."""
    points = Points(asked)
    sqlite_store.SqliteStore = listening_store(points)  # type: ignore[misc]
    composition.WorkerRecords = listening_records(points)  # type: ignore[misc]
    command.Events = listening_events(points)  # type: ignore[misc]
    command.Daemon = listening_daemon(points)  # type: ignore[misc]
    return command.serve(None, "here")


def serve_until(project: Project, *points: str, answers: bool = True) -> subprocess.Popen[bytes] | WarmProcess:
    """Start a daemon with fail points, and wait until it answers unless one of them comes before that."""
    with (project.root / "daemon.log").open("ab") as log:
        process = project.process = start_daemon(
            points, project.root, log.fileno(), module="tests.support.failpoints", PYTHONPATH=str(REPOSITORY)
        )
    project.started.append(process.pid)
    if answers:
        wait_until(lambda: (daemon := project.status()["daemon"]) and daemon["pid"] == process.pid, "the daemon answers")
    return process


def fired(root: Path) -> list[Fact]:
    """The points at which something happened."""
    return EventLog(root / FIRED).read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
