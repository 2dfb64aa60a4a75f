"""Processes as the system sees them, and daemons that are started in unusual ways."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tako_lite.linux import read_process
from tests.support.project import Project, wait_until


def sleeps(pid: int) -> bool:
    """Whether a process has nothing to do."""
    process = read_process(pid)
    return process is not None and process.state == "S"


def descriptors(project: Project) -> int:
    assert project.process is not None
    return len(os.listdir(f"/proc/{project.process.pid}/fd"))


def fork_server(project: Project) -> int:
    pid = project.status()["daemon"]["zygote_pid"]
    assert isinstance(pid, int)
    return pid


def spare(project: Project) -> int:
    """The process that waits to become the next worker, once it is there."""
    zygote = fork_server(project)

    def waiting() -> list[int]:
        children = map(int, Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split())
        return [pid for pid in children if name_of(pid) == "tako-spare"]

    return wait_until(waiting, "a spare waits")[0]


def name_of(pid: int) -> str:
    """The name that `ps` shows; nothing for a process that is dead."""
    process = read_process(pid)
    return Path(f"/proc/{pid}/comm").read_text().strip() if process is not None and process.state not in "ZX" else ""


@contextmanager
def no_room(pid: int, most: int) -> Iterator[None]:
    """While this holds, a process cannot make any file longer than so many bytes."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


NO_FILE_WATCH = """
import sys
from tako_lite.cli.main import main
from tako_lite.daemon import file_watch

file_watch.watch_names = lambda folder: None
sys.exit(main(sys.argv[1:]))
"""
"""Starts the command line as on a system that does not tell when names go away."""


def serve_with(project: Project, command: list[str], **options: Any) -> int:
    """Start a daemon in another way than usual, and wait until it answers."""
    process = project.process = subprocess.Popen(
        command, cwd=project.root, **{"stdin": subprocess.DEVNULL, "start_new_session": True, **options}
    )
    project.started.append(process.pid)
    wait_until(lambda: (daemon := project.status()["daemon"]) and daemon["pid"] == process.pid, "the daemon answers")
    return process.pid
