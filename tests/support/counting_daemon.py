"""The real daemon, with its work counted: `python -m tests.support.counting_daemon` in its folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tako_lite.daemon import serve as command
from tests.support.project import Project, wait_until
from tests.support.warm_start import start_daemon
from tests.support.work_counts import SharedCounts, count_work

REPOSITORY: Final = Path(__file__).parents[2]


def serve(project: Project) -> SharedCounts:
    """Start such a daemon, wait until it answers, and return what it counts."""
    counts = SharedCounts(project.root)
    with (project.root / "daemon.log").open("ab") as log:
        process = project.process = start_daemon(
            [], project.root, log.fileno(), module="tests.support.counting_daemon", PYTHONPATH=str(REPOSITORY)
        )
    project.started.append(process.pid)
    wait_until(
        lambda: process.poll() is None and (daemon := project.status()["daemon"]) and daemon["pid"] == process.pid,
        f"the daemon answers; its log: {project.daemon_log()}",
    )
    return counts


if __name__ == "__main__":
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # its loop and its sockets are not Python's
    count_work(Path.cwd(), "daemon")
    sys.exit(command.serve(None, "here"))
