"""How every test with a daemon ends: nothing goes wrong any more, every run comes to an end, and the one checker judges."""

from __future__ import annotations

import os
from typing import Final

from tako_lite.client import Client
from tests.support.backends import LIVE
from tests.support.checker import judge
from tests.support.event_log import LOG
from tests.support.project import Project, wait_until, zombies

LIMIT: Final = 30.0
"""Seconds in which what is cancelled has ended, also a handler that does not hear of it."""
SETTLED_LIMIT = 15.0
"""Seconds in which the daemon has collected its dead children and closed what it opened for them."""
OF_A_WORKER: Final = 4
"""Descriptors that the daemon has open for a worker."""
SPARE: Final = 3
"""What it may have open besides what it started with: a fork server, a log file, the connection that asks."""


def tear_down(project: Project) -> None:
    """End a project's runs and its daemon, and fail where anything was not as promised."""
    queue = project.backend
    judged = not project.spoilt and queue.exists(project.root)
    try:
        assert judged or project.spoilt or not project.started, "there was a daemon, and there is no queue to judge"
        if judged:
            _settle(project)
    finally:
        project.close()
    found = judge(project.root / LOG, *queue.read(project.root)) if judged else []
    assert not found, "\n".join(found)


def _settle(project: Project) -> None:
    """Have a sound daemon cancel what is left, and stop it; nothing may be open in it then but what it started with."""
    if project.process is not None and project.process.pid != project.sound:
        project.process.kill()
        project.process.wait()
        project.process = None
    if project.process is None:
        if not project.backend.is_live(project.root):
            return
        project.wrapper.clear()
        project.serve()
    assert project.process is not None
    pid = project.process.pid
    with Client(project.root) as client:
        left = client.call("ids", states=LIVE)["ids"]
        client.cancel(*left)
        wait_until(lambda: not set(left) & set(client.call("ids", states=LIVE)["ids"]), f"the runs end: {left[:5]}", LIMIT)
        wait_until(lambda: not zombies(pid), "nobody is a zombie", SETTLED_LIMIT)
        wait_until(lambda: _own(client, pid) <= project.descriptors + SPARE, "no descriptor is left open", SETTLED_LIMIT)
    assert project.stop() == 0


def _own(client: Client, daemon: int) -> int:
    """The open descriptors of the daemon without those of its workers."""
    workers = sum(len(group["workers"]) for group in client.status()["groups"])
    return len(os.listdir(f"/proc/{daemon}/fd")) - OF_A_WORKER * workers
