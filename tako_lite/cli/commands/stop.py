"""`stop`: ends the daemon and waits for its end."""

from __future__ import annotations

import time
from typing import Final

import click

from tako_lite.cli.options import chosen_config, command, duration, json_option
from tako_lite.cli.output import write, write_json
from tako_lite.client import Client
from tako_lite.client.project import Project
from tako_lite.errors import Interrupted, WaitTimeout
from tako_lite.units import duration_text

PAUSE: Final = 0.02
"""Seconds between two checks of the daemon's locks."""


@command
@click.option(
    "--timeout", type=duration, metavar="DURATION", help="Exit with 124 if it has not ended by then; it ends nevertheless."
)
@click.option("--now", is_flag=True, help="Kill the workers at once; their runs are re-queued, uncharged.")
@json_option
def stop(timeout: float | None, now: bool, as_json: bool) -> None:
    """Stop the daemon, and wait until it has ended.

    Running runs have up to `drain_timeout` to reach their next step. It also stops a daemon of another folder that serves the
    queue of this project.
    """
    project = Project(chosen_config())
    with Client(chosen_config(), source="cli") as client:
        pid = client.call("stop", now=now)["pid"]
    try:
        _wait_for_end(project, pid, timeout)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the daemon (pid {pid}) is still stopping", hint=_KILL) from None
    if as_json:
        write_json({"pid": pid})
    else:
        write(f"stopped the daemon (pid {pid})")


_KILL: Final = "`tako-lite stop --now` kills its workers and re-queues their runs"


def _wait_for_end(project: Project, pid: int, timeout: float | None) -> None:
    """Wait until this daemon holds no lock: a service manager may have started the next one by then. Raises WaitTimeout."""
    begun = time.monotonic()
    while (lock := project.lock()) is not None and lock.pid == pid:
        if timeout is not None and time.monotonic() - begun >= timeout:
            raise WaitTimeout(f"the daemon (pid {pid}) is still stopping after {duration_text(timeout)}", hint=_KILL)
        time.sleep(PAUSE)
