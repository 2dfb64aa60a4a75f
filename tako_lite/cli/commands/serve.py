"""`serve`: the daemon in the foreground."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tako_lite.cli.options import chosen_config, command, duration, server_option

if TYPE_CHECKING:
    from tako_lite.daemon.log_format import LogFormat


@command
@server_option
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "journald", "auto"]),
    default="auto",
    show_default=True,
    help="Format of the daemon's log; auto is journald under systemd, else text.",
)
@click.option("--groups", metavar="A,B", help="Serve only these groups of a queue that other servers share.")
@click.option(
    "--idle-exit",
    type=duration,
    metavar="DURATION",
    help="End when nothing has run, become due or connected for so long; for units with a socket.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also log every run, every step and what workers print.")
def serve(server: str | None, log_format: LogFormat, groups: str | None, idle_exit: float | None, verbose: bool) -> int:
    """Run the daemon in the foreground.

    SIGTERM or Ctrl-C stops it, after running runs had up to `drain_timeout` to reach their next step; a second one stops it
    at once. SIGHUP does the same as `tako-lite reload`.
    """
    from tako_lite.cli import lean_daemon
    from tako_lite.config import locate
    from tako_lite.daemon.lean_start import start_lean

    served = None if groups is None else tuple(dict.fromkeys(name.strip() for name in groups.split(",")))
    options: dict[str, Any] = {
        "server": server,
        "log_format": log_format,
        "groups": served,
        "verbose": verbose,
        "idle_exit": idle_exit,
    }
    config_path = locate(chosen_config())
    kept = options | {"config_path": None if config_path is None else str(config_path)}
    start_lean(config_path, server, sys.argv[1:], kept, lean_daemon.ENTRY)
    from tako_lite.daemon.serve import serve as run_daemon  # all of the daemon: only if this process becomes it

    return run_daemon(config_path, **options)
