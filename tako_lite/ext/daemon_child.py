"""A daemon as the child of an application in development: it starts and ends with the application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Literal

from tako_lite.client.project import Project
from tako_lite.errors import BadInput

Serve = Literal["never", "dev"]
_PROGRAM: Final = (
    "import sys; from tako_lite.linux import end_with_parent; end_with_parent()\n"
    "from tako_lite.cli.main import main; sys.exit(main())"
)
"""The command line in a process that also ends if the application is killed."""
DRAIN: Final = 5.0
"""Seconds that executing runs have to reach their next step; then their workers are killed and the runs re-queued."""


def check_serve(serve: str) -> None:
    """Raise BadInput for another word than those of `Serve`."""
    if serve not in ("never", "dev"):
        raise BadInput(f"serve={serve!r} is neither 'never' nor 'dev'")


class DaemonChild:
    """`tako-lite dev` as a child process. A project that has a daemon already gets no second one."""

    def __init__(self, config: str | Path | None) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon, unless one serves the queue. It also ends with the thread that calls this."""
        project = Project(self._config)
        if self._process is None and not project.has_daemon():
            file = project.config().file
            command = [sys.executable, "-c", _PROGRAM, *([] if file is None else ["-c", str(file)]), "dev", "--no-web"]
            self._process = subprocess.Popen(command, cwd=project.root, stdin=subprocess.DEVNULL, start_new_session=True)

    async def stop(self) -> None:
        """End the daemon that `start` started; executing runs are re-queued after `DRAIN` seconds."""
        process, self._process = self._process, None
        for limit in (DRAIN, DRAIN, None):
            if process is None or process.poll() is not None:
                return
            process.terminate() if limit is not None else process.kill()
            await _ended(process, limit)


async def _ended(process: subprocess.Popen[Any], limit: float | None) -> None:
    try:
        await asyncio.to_thread(process.wait, limit)
    except subprocess.TimeoutExpired:
        return
