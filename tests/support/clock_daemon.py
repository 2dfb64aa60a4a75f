"""The real daemon with a clock that tests move, and a watch on its loop: `python -m tests.support.clock_daemon` in its folder.

The daemon takes its clock as an argument; here it is one that is ahead of the machine's, or behind it, by what a file says. The
longest sleep of its timer is a tenth of a second instead of a minute: that is how soon it notices a clock that somebody moved.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from tako_lite.daemon import scheduler
from tako_lite.daemon import serve as command
from tako_lite.daemon.daemon import Daemon
from tests.support.moved_clock import MovedClock
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.warm_start import start_daemon

REPOSITORY: Final = Path(__file__).parents[2]
BEAT: Final = 0.005
LONG_LAG: Final = scaled(0.15, 0.05)
"""Seconds; 0.05 are promised, on a machine that is otherwise idle: in the gate it runs other tests too."""


class WatchedDaemon(Daemon):
    """Writes down every 5 ms how late its loop was, and leaves it in `lags.json`."""

    async def start(self) -> None:
        await super().start()
        self._watch = asyncio.get_running_loop().create_task(_watch())

    async def stop(self) -> None:
        if hasattr(self, "_watch"):
            self._watch.cancel()
        await super().stop()


async def _watch() -> None:
    lags: list[float] = []
    try:
        while True:
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            lags.append(time.monotonic() - due)
    finally:
        Path("lags.json").write_text(json.dumps(lags))


def serve(project: Project, *, watched: bool = False, **environment: str) -> tuple[int, MovedClock]:
    """Start such a daemon and wait until it answers; its pid, and its clock."""
    clock = MovedClock(project.root)
    with (project.root / "daemon.log").open("ab") as log:
        process = project.process = start_daemon(
            ["watched"] if watched else [],
            project.root,
            log.fileno(),
            module="tests.support.clock_daemon",
            PYTHONPATH=str(REPOSITORY),
            **environment,
        )
    project.started.append(process.pid)
    wait_until(
        lambda: process.poll() is None and (daemon := project.status()["daemon"]) and daemon["pid"] == process.pid,
        "the daemon answers",
    )
    return process.pid, clock


def lags(project: Project) -> list[float]:
    """How late the loop of a daemon that was watched and has stopped was each time, the worst last."""
    found: list[Any] = json.loads((project.root / "lags.json").read_text())
    return sorted(found)


def p99(project: Project) -> float:
    """The lag that one of a hundred moments passed: a long one counts for all the beats that it swallowed."""
    found = sorted(lag - BEAT * missed for lag in lags(project) for missed in range(int(lag / BEAT) + 1))
    assert len(found) > 100, "too few for one of a hundred"
    return found[len(found) * 99 // 100]


def main(arguments: list[str]) -> int:
    """Serve the project in the current folder until a signal ends it."""
    scheduler.LONGEST_SLEEP = 0.1  # type: ignore[misc]
    command.SystemClock = MovedClock  # type: ignore[attr-defined]
    if arguments:
        command.Daemon = WatchedDaemon  # type: ignore[attr-defined]
    return command.serve(None, "here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
