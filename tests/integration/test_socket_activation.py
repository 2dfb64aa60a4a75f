"""A daemon that is there only while it is needed: the service manager listens, and starts it for a client or a due run."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.request import urlopen

import pytest

from tako_lite.audit import Sender
from tako_lite.clock import SystemClock
from tako_lite.daemon.control import Control
from tako_lite.daemon.events import Events
from tako_lite.daemon.idle_exit import NEXT_DUE, IdleExit, IdleHost
from tako_lite.daemon.inherited import InheritedSockets, inherited_sockets
from tako_lite.errors import TakoError
from tests.support.project import LIMIT, REPOSITORY, Project, wait_until
from tests.support.service_manager import SCRIPT, ServiceManager

WORKFLOWS = """
    @workflow("greet")
    async def greet(payload):
        return payload

    @workflow("naps")
    async def naps(payload, step: Step):
        await step.sleep("nap", payload)
        return "awake"
"""


@pytest.fixture
def manager(project: Project) -> Iterator[ServiceManager]:
    project.configure('[workflows]\nidle_timeout = "10m"\n')
    project.workflow("a.py", WORKFLOWS)
    made = ServiceManager(project, "--idle-exit", "200ms")
    made.start()
    yield made
    made.close()
    made.path.unlink()


def wait_for_end(manager: ServiceManager, count: int) -> None:
    wait_until(lambda: len(manager.codes) == count and not manager.is_serving, f"daemon {count} has ended")


def test_a_client_or_a_due_run_starts_the_daemon_which_ends_when_idle_and_keeps_the_socket(
    project: Project, manager: ServiceManager
) -> None:
    for words in (("status",), ("runs",), ("health",), ("workflows",), ("metrics",)):
        project.command(*words)
    assert json.loads(project.command("status", "--json").stdout)["daemon"] is None
    assert manager.starts == [], "what only reads must not start it"

    assert project.run("greet", 1)["result"] == 1
    wait_for_end(manager, 1)
    assert not (project.state_dir / NEXT_DUE).exists()
    asleep = project.enqueue("naps", "2s")
    wait_for_end(manager, 2)
    assert int((project.state_dir / NEXT_DUE).read_text()) > 0
    assert project.get(asleep)["state"] == "waiting"
    wait_until(lambda: project.get(asleep)["result"] == "awake", "the run has slept")
    wait_for_end(manager, 3)
    assert manager.starts == ["client", "client", "due"]
    assert manager.codes == [0, 0, 0]
    assert manager.path.stat().st_ino == manager.inode
    assert "was removed or replaced" not in project.daemon_log()
    assert "stopping gracefully (idle for 200ms)" in project.daemon_log()


def test_no_client_is_lost_while_daemons_end_and_start(project: Project, manager: ServiceManager) -> None:
    ids: list[str] = []
    failed: list[TakoError] = []

    def enqueue_as_the_daemon_ends(pause: float) -> None:
        for number in range(6):
            try:
                ids.append(project.enqueue("greet", number))
            except TakoError as error:
                failed.append(error)
            threading.Event().wait(pause + number * 0.007)

    threads = [threading.Thread(target=enqueue_as_the_daemon_ends, args=(0.2 + index * 0.015,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, len(ids)) == ([], 12)
    wait_until(lambda: all(project.get(id)["state"] == "succeeded" for id in ids), "all runs are done", 30)
    assert set(manager.codes) <= {0}


def test_the_dashboard_and_the_monitor_are_served_on_inherited_sockets(project: Project) -> None:
    project.configure('[web]\nauth = "none"\n')
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in ("monitor", "web")}
    passed = ",".join(f"{name}={opened.fileno()}" for name, opened in sockets.items())
    ports = {name: opened.getsockname()[1] for name, opened in sockets.items()}
    command = [sys.executable, "-m", "tako_lite", "serve", "--server", "here"]
    with (project.root / "daemon.log").open("ab") as log:
        project.process = subprocess.Popen(
            [sys.executable, "-SEc", SCRIPT, passed, *command],
            cwd=project.root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            pass_fds=[opened.fileno() for opened in sockets.values()],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    project.started.append(project.process.pid)
    with urlopen(f"http://127.0.0.1:{ports['monitor']}/healthz", timeout=LIMIT) as answer:
        assert answer.status == 200
    with urlopen(f"http://127.0.0.1:{ports['web']}/", timeout=LIMIT) as page:
        assert b"tako" in page.read()
    assert project.command("reload").returncode == 0
    with urlopen(f"http://127.0.0.1:{ports['monitor']}/readyz", timeout=LIMIT) as answer:
        assert answer.status == 200
    assert project.stop() == 0
    for opened in sockets.values():
        opened.close()


def test_a_client_that_comes_while_the_daemon_decides_keeps_it_alive(tmp_path: Path) -> None:
    async def decide() -> None:
        control = Control(tmp_path / "tako.sock", answer, Events())
        control.hello = {"hello": "tako-lite"}
        await control.start()
        idle = IdleExit(cast(IdleHost, SimpleNamespace(**QUIET, control=control)), 1.0)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        pause = control.pause

        def pause_and_connect() -> None:
            pause()
            client.connect(str(tmp_path / "tako.sock"))

        control.pause = pause_and_connect  # type: ignore[method-assign]
        assert not await idle.is_left_alone()
        client.settimeout(LIMIT)
        assert b"tako-lite" in await asyncio.to_thread(client.recv, 100)
        client.close()
        control.pause = pause  # type: ignore[method-assign]
        while control.clients:  # noqa: ASYNC110 -- the daemon has no event for it
            await asyncio.sleep(0.001)
        assert await idle.is_left_alone()
        await control.stop()

    asyncio.run(decide())


async def answer(command: object, arguments: dict[str, Any], by: Sender) -> dict[str, Any]:
    return {}


QUIET: dict[str, Any] = {
    "clock": SystemClock(),
    "dispatcher": SimpleNamespace(arrivals=0, is_busy=False),
    "scheduler": SimpleNamespace(next_work=lambda: None),
    "dashboard": SimpleNamespace(pids=set()),
    "commands": SimpleNamespace(bulk=SimpleNamespace(is_working=False)),
    "fallbacks": SimpleNamespace(is_waiting=False),
}
"""The other parts of a daemon that has nothing to do."""


def test_sockets_of_another_process_and_of_another_kind_are_not_adopted(tmp_path: Path) -> None:
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == InheritedSockets()
    variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "control:nonsense"}
    script = "import os\nfrom tako_lite.daemon.inherited import inherited_sockets\n"
    script += "os.environ['LISTEN_PID'] = str(os.getpid())\ninherited_sockets(os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert "BadInput: the service manager passed" in done.stderr
