"""The spare: a process that waits to become the next worker of any group."""

from __future__ import annotations

import os
import signal

import pytest

from tako_lite.linux import read_process
from tests.support.processes import fork_server, name_of, spare
from tests.support.project import Project, is_gone, wait_until

LOOK = """
    import sys
    imported = sorted(sys.modules)

    @workflow("look")
    async def look(payload):
        return {"pid": os.getpid(), "imported": imported, "nice": os.nice(0), "variable": os.environ.get("LEVEL")}
"""


@pytest.fixture
def sleepy(live: Project) -> Project:
    """The shared project with two groups that have no workers while there is nothing to do."""
    live.configure('[workflows]\nidle_timeout = "50ms"\n[workflows.media]\nnice = 3\nenv = { LEVEL = "high" }\n')
    live.workflow("look.py", LOOK)
    live.call("reload")
    return live


def test_a_spare_becomes_the_next_worker_with_all_that_its_group_sets(sleepy: Project) -> None:
    waiting = spare(sleepy)
    nice = os.getpriority(os.PRIO_PROCESS, waiting)
    seen = sleepy.run("look", worker="media")["result"]
    assert (seen["pid"], seen["nice"] - nice, seen["variable"]) == (waiting, 3, "high")
    assert not any(name.startswith("tako_lite.daemon") for name in seen["imported"])
    following = spare(sleepy)
    assert following != waiting
    assert sleepy.run("look")["result"]["pid"] == following


def test_a_worker_starts_although_the_spare_was_killed(sleepy: Project) -> None:
    waiting = spare(sleepy)
    os.kill(waiting, signal.SIGKILL)
    wait_until(lambda: name_of(waiting) == "", "the spare is dead")
    assert sleepy.run("look", worker="media")["result"]["pid"] != waiting
    assert read_process(waiting) is None  # it was collected


def test_a_spare_ends_with_its_fork_server_and_the_next_one_makes_another(sleepy: Project) -> None:
    zygote, waiting = fork_server(sleepy), spare(sleepy)
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: read_process(waiting) is None, "the spare has ended, and the daemon has collected it")
    assert sleepy.run("look", worker="media")["state"] == "succeeded"
    assert spare(sleepy) != waiting
    assert fork_server(sleepy) != zygote


def test_a_spare_ends_when_the_daemon_is_killed_even_if_it_is_stopped(sleepy: Project) -> None:
    zygote, waiting = fork_server(sleepy), spare(sleepy)
    os.kill(waiting, signal.SIGSTOP)
    os.kill(zygote, signal.SIGKILL)
    sleepy.stop(signal.SIGKILL)
    wait_until(lambda: is_gone(waiting), "the spare has ended")  # the init process of a container may reap no orphans
    sleepy.serve()


def test_a_worker_that_was_a_spare_outlives_its_fork_server(sleepy: Project) -> None:
    sleepy.call("scale", group="default", workers=1)
    worker = sleepy.run("look")["result"]["pid"]
    os.kill(fork_server(sleepy), signal.SIGKILL)
    wait_until(lambda: sleepy.status()["daemon"]["zygote_pid"] is None, "the dead fork server is noticed")
    assert sleepy.run("look")["result"]["pid"] == worker
    sleepy.call("scale", group="default", workers=None)
