"""`tako-lite doctor` beside a real daemon: one that is well, that is frozen, that lost its lock, that was killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest

from tako_lite import __version__
from tako_lite.cli.checks.context import CheckContext
from tako_lite.cli.checks.daemon import daemon
from tako_lite.client.project import Project as ClientProject
from tako_lite.clock import SystemClock
from tako_lite.linux import read_process
from tests.support.processes import NO_FILE_WATCH, serve_with
from tests.support.project import Project, wait_until

WORKFLOWS = """
@workflow("quick")
async def quick(payload):
    return payload
"""


def findings(project: Project, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What doctor finds, by check; of two the last one."""
    done = project.command("doctor", "--json", *words)
    assert done.returncode == code, done
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    return {finding["check"]: finding for finding in told["findings"]}


@pytest.mark.sqlite
def test_a_daemon_that_works_has_no_problem(project: Project) -> None:
    project.workflow("quick.py", WORKFLOWS)
    pid = project.serve()
    with project.client() as client:
        ids = client.enqueue_many("quick", range(300))
        found = findings(project, "--deep")
        assert [client.wait(id, timeout=10)["state"] for id in ids] == ["succeeded"] * 300

    bad = {check for check, finding in found.items() if finding["level"] in ("warning", "problem")}
    assert bad <= {"filesystem"}, "a temporary folder may be on a tmpfs, which loses the queue at a restart"
    assert found["queue"]["message"] == "read the whole queue file and found no damage"
    assert found["daemon"]["message"] == f"pid {pid}, version {__version__}"
    assert found["lock"]["message"] == f"a daemon holds daemon.lock, pid {pid}"
    assert found["lag"]["message"].startswith("20 round trips")
    assert found["permissions"]["level"] == found["orphans"]["level"] == "ok"


def test_a_daemon_that_does_not_answer_is_a_problem_with_its_pid_in_the_fix(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = project.serve()
    monkeypatch.setitem(daemon.__globals__, "PATIENCE", 0.3)
    queue = project.backend.queue(project.root)
    context = CheckContext(ClientProject(project.root), queue, True, False, SystemClock())
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: (process := read_process(pid)) and process.state == "T", "it is frozen")
        (found,) = daemon(context)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert found.level == "problem"
    assert f"kill -CONT {pid}" in (found.fix or "")
    assert findings(project)["daemon"]["level"] == "ok"


@pytest.mark.sqlite
def test_a_daemon_whose_lock_file_was_removed_is_a_problem(project: Project) -> None:
    serve_with(project, [sys.executable, "-c", NO_FILE_WATCH, "serve", "--server", "here"])
    (project.root / ".tako/daemon.lock").unlink()
    assert "only the lock of the queue prevents a second daemon" in findings(project, code=1)["lock"]["message"]
    (project.root / ".tako/queue.db.lock").unlink()

    assert "a second daemon could start" in findings(project, code=1)["lock"]["message"]


def test_a_daemon_that_lost_its_socket_is_a_warning_and_the_fix_creates_it_again(project: Project) -> None:
    pid = serve_with(project, [sys.executable, "-c", NO_FILE_WATCH, "serve", "--server", "here"])
    (project.root / ".tako/tako.sock").unlink()
    found = findings(project)["daemon"]

    assert (found["level"], f"kill -HUP {pid}" in found["mend"]) == ("warning", True)
    os.kill(pid, signal.SIGHUP)
    wait_until((project.root / ".tako/tako.sock").exists, "the socket is there")
    assert findings(project)["daemon"]["level"] == "ok"


@pytest.mark.sqlite
def test_what_a_killed_daemon_left_is_harmless(project: Project) -> None:
    project.workflow("quick.py", WORKFLOWS)
    pid = project.serve()
    project.run("quick")
    project.stop(signal.SIGKILL)
    wait_until(lambda: not project.survivors(), "its workers are gone")
    found = findings(project, "--deep")

    assert {check: found[check]["level"] for check in ("socket", "lock", "daemon")} == dict.fromkeys(
        ("socket", "lock", "daemon"), "info"
    )
    assert f"pid {pid} of a daemon that has ended" in found["lock"]["message"]
    assert (found["queue"]["level"], found["orphans"]["level"]) == ("ok", "ok")
