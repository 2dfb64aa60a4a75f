"""Orphans of workers' children are collected by the daemon when they end, and nobody else's dead are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tako_lite.linux import read_process
from tests.support.project import Project, is_gone, wait_until, zombies

ORPHANS: Final = """
    def orphan(number):
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                witness("orphan", number=number)
                if number >= 0:
                    os._exit(number % 256)
                time.sleep(600)
            os._exit(0)

    @workflow("orphans")
    def orphans(count, step: BlockingStep):
        for number in range(count):
            orphan(number)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                return os.getpid()

    @workflow("sleeper")
    def sleeper(count, step: BlockingStep):
        orphan(-1)
        os.wait()
        return os.getpid()

    @workflow("forgets")
    def forgets(payload, step: BlockingStep):
        if os.fork() == 0:
            os._exit(0)
        return os.getpid()
"""


def always_on(project: Project) -> int:
    """A daemon with a worker that stays, since the end of a worker is not what is to clean up."""
    project.configure("[workflows.default]\nworkers = 1\nmax_workers = 1\n")
    project.workflow("a.py", ORPHANS)
    return project.serve()


@pytest.mark.parametrize("count", [1, 40, 600])
def test_orphans_are_collected_while_the_worker_that_left_them_stays(project: Project, count: int) -> None:
    daemon = always_on(project)
    worker = project.wait(project.enqueue("orphans", count), limit=60)["result"]
    wait_until(lambda: not zombies(daemon), "no zombie is left", 10)
    assert not is_gone(worker)
    assert project.run("orphans", 3)["result"] == worker
    wait_until(lambda: not zombies(daemon), "no zombie is left", 10)


def test_an_orphan_that_is_stopped_is_left_alone_and_collected_once_it_was_killed(project: Project) -> None:
    daemon = always_on(project)
    assert project.run("sleeper")["state"] == "succeeded"
    (fact,) = project.wait_for_fact("orphan")
    orphan = fact["pid"]
    os.kill(orphan, signal.SIGSTOP)
    wait_until(lambda: (found := read_process(orphan)) and found.state == "T" and found.parent == daemon, "it is the daemon's")
    assert project.run("orphans", 5)["state"] == "succeeded"
    wait_until(lambda: not zombies(daemon), "the others are collected")
    assert not is_gone(orphan)
    os.kill(orphan, signal.SIGKILL)
    wait_until(lambda: read_process(orphan) is None, "it is collected")


def test_the_children_that_a_handler_forgets_are_those_of_its_worker_and_go_with_it(project: Project) -> None:
    always_on(project)
    worker = project.run("forgets")["result"]
    wait_until(lambda: zombies(worker), "it is the worker's zombie")
    assert project.command("reload").returncode == 0
    (project.root / "workflows/a.py").write_text((project.root / "workflows/a.py").read_text() + "\n")
    project.call("reload")
    wait_until(lambda: read_process(worker) is None, "the worker is replaced", 15)
    assert not project.facts("orphan")


def test_a_worker_whose_fork_server_is_gone_keeps_its_number_until_its_run_is_settled(project: Project) -> None:
    daemon = always_on(project)
    worker = project.run("orphans", 1)["result"]
    zygote = project.status()["daemon"]["zygote_pid"]
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: (found := read_process(worker)) is None or found.parent == daemon, "the daemon has inherited its worker")
    if not is_gone(worker):
        os.kill(worker, signal.SIGSEGV)
    wait_until(lambda: read_process(worker) is None and not zombies(daemon), "both are collected")
    assert project.run("orphans", 2)["state"] == "succeeded"
    wait_until(lambda: not zombies(daemon), "no zombie is left")


def test_a_daemon_that_is_the_first_process_of_a_container_leaves_no_zombies(project: Project) -> None:
    unshare = shutil.which("unshare")
    prefix = [unshare or "", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if unshare is None or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare and the right to make a namespace of processes")
    project.configure("[workflows.default]\nworkers = 1\nmax_workers = 1\n")
    project.workflow("a.py", ORPHANS)
    with (project.root / "daemon.log").open("ab") as log:
        outer = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tako_lite", "serve"], cwd=project.root, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until((project.root / ".tako/tako.sock").exists, "it serves")
        assert project.status()["daemon"]["pid"] == 1
        (daemon,) = map(int, Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split())
        assert project.wait(project.enqueue("orphans", 100), limit=30)["state"] == "succeeded"
        wait_until(lambda: not zombies(daemon), "no zombie is left")
        os.kill(daemon, signal.SIGTERM)
        assert outer.wait(15) == 0
    finally:
        outer.kill()
        outer.wait()
