"""`serve`: the daemon in the foreground."""

from __future__ import annotations

from tako_lite.cli.options import chosen_config, command, server_option


@command
@server_option
def serve(server: str | None) -> int:
    """Run the daemon in the foreground.

    It stops on SIGTERM or Ctrl-C after the runs under way had `drain_timeout` to reach their next step; a second one
    stops it at once. SIGHUP is `tako-lite reload`.
    """
    from tako_lite.config import locate
    from tako_lite.daemon.serve import serve as run_daemon

    return run_daemon(locate(chosen_config()), server)
