"""Supervision outlives every error: what a timer, a callback or a task of the daemon meets costs that one call and no other."""

from __future__ import annotations

import ast
import asyncio
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tako_lite.daemon.events import Events
from tako_lite.daemon.unexpected import Unexpected
from tests.support.failpoints import fired, serve_until
from tests.support.project import REPOSITORY, Project, is_gone, wait_until

FREEZES: Final = """
    @workflow("freezes", retries=0)
    async def freezes(payload, step: Step):
        print("about to freeze", flush=True)
        witness("frozen", run=step.run_id)
        if not os.path.exists("thawed"):
            open("thawed", "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)
        return 1

    @workflow("well")
    async def well(payload):
        print("well")
        return payload
"""


def without_privileges(project: Project) -> None:
    """Have the modes of files hold for the daemon, also where the tests run as root."""
    if os.getuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("needs setpriv, or another user than root")
        lost = "-dac_override,-dac_read_search"
        project.wrapper = [setpriv, f"--bounding-set={lost}", f"--inh-caps={lost}"]


def closing(folder: Path) -> Callable[[], Callable[[], Any]]:
    """Take all rights to a folder away; what comes back gives them back."""

    def close() -> Callable[[], Any]:
        mode = folder.stat().st_mode & 0o777
        folder.chmod(0)
        return lambda: folder.chmod(mode)

    return close


def moving(folder: Path) -> Callable[[], Callable[[], Any]]:
    """Move a folder away; what comes back moves it back."""

    def move() -> Callable[[], Any]:
        elsewhere = folder.with_name(f"{folder.name}-elsewhere")
        folder.rename(elsewhere)

        def back() -> None:
            if folder.exists():
                shutil.rmtree(folder)
            elsewhere.rename(folder)

        return back

    return move


FOLDERS: Final = {
    "the state folder": (closing, ".tako"),
    "the folder of the queue": (closing, "queue"),
    "the folder of the logs": (closing, ".tako/logs"),
    "the folder of the records": (closing, ".tako/workers"),
    "the workflow folder": (closing, "workflows"),
    "the moved folder of the logs": (moving, ".tako/logs"),
    "the moved folder of the records": (moving, ".tako/workers"),
    "the moved workflow folder": (moving, "workflows"),
    "the moved folder of the queue": (moving, "queue"),
}


@pytest.mark.sqlite
@pytest.mark.parametrize("fault", FOLDERS)
def test_a_folder_that_is_missing_for_a_moment_does_not_end_the_supervision_of_busy_workers(
    project: Project, fault: str
) -> None:
    project.configure('[queue]\nurl = "sqlite:///queue/queue.db"\n[workflows]\nheartbeat_timeout = "2s"\n')
    project.spoilt = "the queue is not where the checker looks"
    project.workflow("a.py", FREEZES)
    project.workflow("broken.py", "raise RuntimeError('no')\n@workflow('broken', worker='broken')\nasync def broken(x): ...\n")
    without_privileges(project)
    daemon = project.serve()
    project.enqueue("broken")
    assert project.run("well", 1)["result"] == 1
    run_id = project.enqueue("freezes")
    (fact,) = project.wait_for_fact("frozen")
    how, where = FOLDERS[fault]
    undo = how(project.root / where)()
    wait_until(lambda: is_gone(fact["pid"]), "the frozen worker is killed while the folder is away", 10)
    undo()
    run = project.wait(run_id, limit=20)
    assert (run["state"], run["crashes"]) == ("succeeded", 1)
    assert project.run("well", 2)["result"] == 2
    assert project.status()["daemon"]["pid"] == daemon
    assert "Traceback" not in project.daemon_log()
    assert project.stop() == 0


def test_a_state_folder_that_cannot_be_read_keeps_no_daemon_from_a_reload_or_its_end(project: Project) -> None:
    project.workflow("a.py", FREEZES)
    without_privileges(project)
    project.serve()
    state = project.root / ".tako"
    for mode in (0o000, 0o500):
        state.chmod(mode)
        assert project.process is not None
        project.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in project.daemon_log(), "it reloads or says why not")
        state.chmod(0o700)
        assert project.run("well", 1)["result"] == 1
    state.chmod(0o500)
    assert project.process is not None
    project.process.terminate()
    assert project.process.wait(15) == 0
    project.process = None
    state.chmod(0o700)
    assert "Traceback" not in project.daemon_log()


@pytest.mark.parametrize("spare", [0, 1, 3, 5])
def test_a_daemon_that_runs_out_of_descriptors_continues_when_it_has_some_again(project: Project, spare: int) -> None:
    project.configure("[workflows.other]\n")
    project.workflow("a.py", FREEZES + "\n    @workflow('other', worker='other')\n    async def other(x):\n        return x\n")
    daemon = project.serve()
    assert project.run("well", 1)["result"] == 1
    with project.client() as client:
        client.enqueue("well", 2)
        used = len(os.listdir(f"/proc/{daemon}/fd"))
        resource.prlimit(daemon, resource.RLIMIT_NOFILE, (used + spare, 1024))
        run_id = client.enqueue("other", 3).id
        wait_until(lambda: "other failed to start" in project.daemon_log(), "its worker cannot be started")
        with socket.socket(socket.AF_UNIX) as refused:
            refused.connect(str(project.root / ".tako/tako.sock"))
        resource.prlimit(daemon, resource.RLIMIT_NOFILE, (1024, 1024))
        assert client.wait(run_id, timeout=40)["result"] == 3
    assert project.run("other", 4)["result"] == 4


def test_a_start_that_cannot_see_what_the_last_daemon_left_is_refused_with_the_folder(project: Project) -> None:
    project.workflow("a.py", FREEZES)
    project.serve()
    assert project.run("well", 1)["result"] == 1
    project.stop()
    without_privileges(project)
    folder = project.root / ".tako/workers"
    folder.chmod(0)
    command = [*project.wrapper, sys.executable, "-m", "tako_lite", "serve"]
    refused = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=30, check=False)
    folder.chmod(0o700)
    assert refused.returncode == 1
    assert f"error: {folder}: Permission denied" in refused.stderr
    assert "Traceback" not in refused.stderr


WORKLOAD: Final = """
    @workflow("stepped")
    async def stepped(n, step: Step):
        await step.run("one", str, n)
        await step.sleep("nap", 0.2)
        return await step.run("two", str, n)

    @workflow("fails-once", retries=3, backoff=Backoff(0.1, 0.1))
    async def fails_once(n, step: Step):
        witness("attempt")
        if seen("attempt") < 2:
            raise RuntimeError("once")
        return n

    @workflow("bails")
    async def bails(n, step: Step):
        step.bail("enough")

    @workflow("waits")
    async def waits(n, step: Step):
        return await step.wait_for("ready")

    @workflow("parent")
    async def parent(n, step: Step):
        await step.enqueue("beside", stepped, n)
        return await step.invoke("child", stepped, n)

    @workflow("dies")
    async def dies(n, step: Step):
        witness("dying")
        if seen("dying") < 2:
            os._exit(3)
        return n

    @workflow("tick", schedule="* * * * * *")
    async def tick(payload):
        witness("tick")
"""
FAILING: Final = (
    "claim", "complete", "retry_later", "finish", "crash", "step", "wait", "child", "child_enqueue", "park", "wake", "schedule",
)  # fmt: skip


@pytest.mark.sqlite
@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["before_save", "after_commit"])
def test_an_unexpected_error_at_any_transition_is_counted_and_keeps_no_run_from_its_end(project: Project, moment: str) -> None:
    project.workflow("a.py", WORKLOAD)
    points = [f"{name}.{moment}=error" for name in FAILING] + [
        "event.killing=error",
        "event.worker_gone=error",
        "push.after=error",
    ]
    serve_until(project, *points)
    ids = [project.enqueue(name, 1) for name in ("stepped", "fails-once", "bails", "waits", "parent", "dies")]
    project.wait_for_state(ids[3], "waiting")  # before its signal, so that a run parks
    with project.client() as client:
        client.signal("ready", 5)
    for run_id in ids:
        run = project.wait(run_id, limit=60)
        assert run["state"] in ("succeeded", "cancelled"), run["error"]
    project.wait_for_fact("tick", 2)
    missed = {f"{name}.{moment}" for name in FAILING} - {fact["point"] for fact in fired(project.root)}
    assert missed <= {f"crash.{moment}", f"retry_later.{moment}"}  # a worker that ends for another error may come before these
    assert project.status()["daemon"]["errors"] > 0
    assert "OperationalError" in project.daemon_log()


# What is said of unexpected errors


def test_an_unexpected_error_is_logged_once_then_at_doubling_intervals_and_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    errors = Unexpected(lambda: now)

    def fail() -> None:
        with errors.guarded("the check"):
            raise OSError("not now")

    with caplog.at_level(logging.INFO, "tako_lite"):
        for second in range(100):
            now = float(second)
            fail()
        with errors.guarded("the check"):
            pass
        with errors.guarded("the check"):
            pass
    assert errors.count == 100
    assert caplog.messages[0] == "the check failed: OSError: not now"
    assert caplog.records[0].exc_info
    assert [message for message in caplog.messages[1:-1] if "more times: OSError: not now" not in message] == []
    assert len(caplog.messages) <= 10
    assert caplog.messages[-1] == "the check works again, after 100 errors"


def test_what_the_event_loop_meets_is_counted_and_a_callback_that_fails_each_time_is_one_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = Unexpected()

    def fail() -> None:
        raise RuntimeError("of a callback")

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(errors.from_loop)
        for _ in range(5):
            loop.call_soon(fail)
        await asyncio.sleep(0.01)

    asyncio.run(work())
    assert errors.count == 5
    assert len(caplog.messages) == 1
    assert "fail" in caplog.messages[0] and "of a callback" in caplog.messages[0]


def test_a_listener_of_events_that_fails_affects_no_other() -> None:
    class Failing(Events):
        def trouble(self, what: str) -> None:
            raise RuntimeError(what)

    events = Failing()
    events.trouble("x")
    assert events.unexpected.count == 1


# Every place at which the daemon hands a function to something that calls it later

HANDED: Final = {
    "call_later", "call_at", "call_soon", "call_soon_threadsafe", "add_reader", "add_writer", "add_signal_handler",
    "create_task", "ensure_future", "add_done_callback", "to_thread", "run_in_executor", "start_soon", "signal",
    "set_exception_handler", "start_server", "start_unix_server",
}  # fmt: skip
FOLDERS_OF_THE_DAEMON: Final = ("daemon", "daemon/monitor", "processes", "store", "store/sqlite", "store/postgres")


def handed_over(file: Path) -> set[str]:
    """The places of a file where it hands a function over, as `Class.method: call`, and its protocols."""
    found: set[str] = set()

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{name}.{child.name}" if name else child.name
                if isinstance(child, ast.ClassDef) and "asyncio.Protocol" in map(ast.unparse, child.bases):
                    found.add(f"{inner}: Protocol")
            if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute) and _hands_over(child.func):
                found.add(f"{name}: {child.func.attr}")
            walk(child, inner)

    walk(ast.parse(file.read_text()), "")
    return found


def _hands_over(called: ast.Attribute) -> bool:
    return called.attr in HANDED and (called.attr != "signal" or ast.unparse(called.value) == "signal")


SITES: Final = {
    # Errors of a callback or a protocol that has no state of its own to lose: the loop's handler counts and logs them.
    "daemon/bulk.py BulkActions._begin: add_done_callback": "forgets the task",
    "daemon/bulk.py BulkActions._begin: create_task": "every error is reported, and ends the action with it in its answer",
    "daemon/commands.py _run_to_completion: add_done_callback": "marks an error as seen",
    "daemon/commands.py _run_to_completion: ensure_future": "its error is the answer to the client",
    "daemon/leftovers.py UnreadFiles.hint: to_thread": "awaited; an error of a command is its answer",
    "daemon/control.py _Connection._work_in_bulk: create_task": "its error is the answer to the client",
    "daemon/control.py Control.ensure_listening: create_task": "reported; the next check sees that the socket is missing still",
    "daemon/control.py _Connection.data_received: create_task": "an error of a command is its answer",
    "daemon/control.py _Connection: Protocol": "reported; the client's connection ends",
    "daemon/daemon.py Daemon.__init__: set_exception_handler": "what it reports with never raises",
    "daemon/daemon.py Daemon._committed: call_soon": "each message to a worker is guarded",
    "daemon/daemon.py Daemon.wait_fatal: ensure_future": "awaited",
    "daemon/daemon.py Daemon._hash_code: to_thread": "awaited",
    "daemon/daemon.py Daemon._read_again: to_thread": "awaited; the answer to the client, or logged after a SIGHUP",
    "daemon/daemon.py Daemon.start: to_thread": "awaited; the start is refused",
    "daemon/daemon.py Daemon.stop: create_task": "awaited",
    "daemon/dashboard.py Dashboard._refuse: add_done_callback": "forgets a task",
    "daemon/dashboard.py Dashboard._refuse: ensure_future": "reported; that browser gets no answer",
    "daemon/dashboard.py Dashboard._start: add_reader": "reported; a reload makes the dashboard anew",
    "daemon/dashboard.py Dashboard._wait: add_reader": "reported; a failed start is tried again at the next connection",
    "daemon/dashboard.py Dashboard.stop: run_in_executor": "awaited",
    "daemon/ahead.py ClaimsAhead._check: call_later": "re-queues runs, whose failure is logged",
    "daemon/ahead.py ClaimsAhead.keep: call_later": "re-queues runs, whose failure is logged",
    "daemon/dispatcher.py Dispatcher._claimed: call_later": "each group is guarded in the pass, and served again",
    "daemon/dispatcher.py Dispatcher._failed: call_later": "the same",
    "daemon/dispatcher.py Dispatcher._serve: add_done_callback": "what cannot be pushed is released, and claimed again",
    "daemon/dispatcher.py Dispatcher._serve: ensure_future": "its error is handled by that callback",
    "daemon/dispatcher.py Dispatcher._begin: call_later": "kills; the log line cannot fail",
    "daemon/dispatcher.py Dispatcher.cancel: call_later": "the same",
    "daemon/dispatcher.py Dispatcher.schedule_pass: call_soon": "each group is guarded in the pass, and served again",
    "daemon/dispatcher.py Dispatcher.watch: add_done_callback": "logs",
    "daemon/dispatcher.py Dispatcher.watch: ensure_future": "its error is logged by that callback",
    "daemon/fallbacks.py Fallbacks._work: call_later": "starts the task below",
    "daemon/fallbacks.py Fallbacks.reevaluate: create_task": "every error is reported; tried again a second later",
    "daemon/fallbacks.py Fallbacks.waits_in: call_soon": "starts the task above",
    "daemon/health.py Health._tick: call_later": "armed again first; each check is guarded",
    "daemon/health.py Health.wake: call_later": "the same",
    "daemon/link.py WorkerLink: Protocol": "reported; the worker is ended, and its runs are re-queued",
    "daemon/logs.py Capture.__init__: add_reader": "reported; what was read is gone, so that the loop does not spin",
    "daemon/outcomes.py Outcomes._request: add_done_callback": "answers the worker",
    "daemon/outcomes.py Outcomes._request: ensure_future": "its error is the answer, and reported",
    "daemon/outcomes.py Outcomes._save: add_done_callback": "answers the worker",
    "daemon/outcomes.py Outcomes._save: ensure_future": "its error is the answer, and reported",
    "daemon/file_watch.py FileWatch._watch: add_reader": "a watch that cannot be read is made anew",
    "daemon/monitor/listener.py Listener.start: start_server": "logged; the client gets a 500",
    "daemon/monitor/listener.py Listener.start: start_unix_server": "the same",
    "daemon/scheduler.py Scheduler._arm: call_later": "starts the task below",
    "daemon/scheduler.py Scheduler._fire: create_task": "each part is guarded, and the timer is armed in any case",
    "daemon/outcomes.py Outcomes._complete: add_done_callback": "reported",
    "daemon/outcomes.py Outcomes._complete: ensure_future": "reported by its callback",
    "daemon/servers.py Servers._look_again: call_later": "the next look follows in any case",
    "daemon/servers.py Servers._renewed: call_later": "the fork server and the guards of the workers kill at the same time",
    "daemon/servers.py Servers._start: add_done_callback": "forgets a task",
    "daemon/servers.py Servers._start: create_task": "every error is reported; the next look tries again",
    "daemon/servers.py Servers._watch: call_later": "armed again after an error",
    "daemon/servers.py Servers.join: to_thread": "awaited; the daemon does not start",
    "daemon/service_manager.py ServiceManager._ping: call_later": "armed before anything that could fail",
    "daemon/spawner.py Spawner._environment: to_thread": "awaited; a failed start of the group",
    "daemon/spawner.py Spawner.try_fork: to_thread": "awaited; the caller reports it",
    "daemon/serve.py _received: add_signal_handler": "puts the signal into a queue",
    "daemon/serve.py _until_first: create_task": "awaited; what ends the daemon, and what kills its workers meanwhile",
    "daemon/spawner.py Spawner._settle: call_later": "tried again each second",
    "daemon/spawner.py Spawner.spawn: to_thread": "awaited; a failed start of the group",
    "daemon/worker_session.py WorkerSession._on_lost: call_later": "kills",
    "daemon/run_waiters.py RunWaiters.add: add_done_callback": "forgets a future",
    "processes/child.py Child._watch: add_reader": "taken away before the death is reported",
    "processes/child.py Child.reap: run_in_executor": "awaited; tried again each second",
    "processes/forkserver.py ForkServer._discard: run_in_executor": "waits for a process that was killed",
    "processes/forkserver.py ForkServer._last_output: run_in_executor": "awaited",
    "processes/forkserver.py ForkServer.stop: run_in_executor": "awaited",
    "processes/group.py Group._check_idle_in: call_at": "armed again after an error",
    "processes/group.py Group._died: add_done_callback": "forgets a task",
    "processes/group.py Group._died: create_task": "tried again each second; the group goes on whatever its owner raises",
    "processes/group.py Group._failed: call_later": "what was asked for is started in any case",
    "processes/group.py Group._spawn: add_done_callback": "forgets a task",
    "processes/group.py Group._spawn: create_task": "every error is a failed start; a child that was forked is ended",
    "processes/orphans.py Orphans._on_signal: call_soon_threadsafe": "reported; the next death collects both",
    "processes/orphans.py Orphans.start: signal": "only asks the loop to act",
    "processes/orphans.py Orphans.stop: signal": "puts the former handler back",
    "processes/worker.py Worker.set_deadline: call_later": "kills",
    "processes/forkserver_main.py _become: signal": "in a worker",
    "processes/forkserver_main.py serve_forks: signal": "in the fork server",
    "processes/shared_start.py main: signal": "before the daemon begins: Ctrl-C ends the imports",
    "store/postgres/connection.py ConnectionThread.run.work: call_soon_threadsafe": "sets the result of a future",
    "store/postgres/control.py Control._call: call_soon_threadsafe": "reported; the next look tells again",
    "store/postgres/control.py Control.join: run_in_executor": "awaited; the daemon does not start",
    "store/postgres/control.py Control.leave: run_in_executor": "awaited",
    "store/postgres/store.py PostgresStore.stop: ensure_future": "awaited",
    "store/postgres/store.py PostgresStore.back_up: to_thread": "awaited; an error of a command is its answer",
    "store/group_commit.py GroupCommit._begin_soon: call_soon": "starts the next transaction",
    "store/group_commit.py GroupCommit._failed: call_later": "starts the next transaction",
    "store/group_commit.py GroupCommit._notify: call_later": "reported, and passed on again",
    "store/group_commit.py GroupCommit._work: call_soon_threadsafe": "the next transaction starts in any case",
    "store/group_commit.py GroupCommit._work_now: call_soon": "the next transaction starts in any case",
    "store/group_commit.py GroupCommit.submit: call_soon": "starts the next transaction",
}
"""Where the daemon hands a function to something that calls it later, and what becomes of an unexpected error in it."""


def test_every_callback_timer_and_task_of_the_daemon_is_known_with_what_an_error_in_it_does() -> None:
    found = {
        f"{folder}/{file.name} {place}"
        for folder in FOLDERS_OF_THE_DAEMON
        for file in sorted((REPOSITORY / "tako_lite" / folder).glob("*.py"))
        for place in handed_over(file)
    }
    new = sorted(found - SITES.keys())
    gone = sorted(SITES.keys() - found)
    assert (new, gone) == ([], []), "say in SITES what an unexpected error does there: nothing may end but the call itself"
