"""The daemon that an application starts in development."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from tako_lite.client.project import Project as ClientProject
from tako_lite.ext.daemon_child import DaemonChild
from tests.support.project import REPOSITORY, Project, wait_until

APPLICATION = """
import sys, time
from tako_lite.ext.daemon_child import DaemonChild

DaemonChild(sys.argv[1]).start()
time.sleep(60)
"""


def test_the_daemon_of_an_application_that_is_killed_ends_too(project: Project) -> None:
    project.workflow("greet.py", '@workflow("greet")\ndef greet(name: str) -> str:\n    return name\n')
    application = subprocess.Popen([sys.executable, "-c", APPLICATION, project.root], cwd=REPOSITORY)
    found = ClientProject(project.root)
    try:
        assert project.run("greet", "ann")["result"] == "ann"
        assert found.has_daemon()
    finally:
        application.kill()
        application.wait()
    wait_until(lambda: not found.has_daemon(), "the daemon has ended")


def test_a_project_with_a_daemon_gets_no_second_one(live: Project) -> None:
    child = DaemonChild(live.root)
    child.start()
    asyncio.run(child.stop())
    daemon = live.status()["daemon"]
    assert daemon is not None
    assert daemon["pid"] == live.started[-1]
