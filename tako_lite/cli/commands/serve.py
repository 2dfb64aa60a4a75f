"""`serve`: the daemon in the foreground."""

from __future__ import annotations

from tako_lite.cli.options import chosen_config, command, server_option


@command
@server_option
def serve(server: str | None) -> int:
    """Run the daemon in the foreground.

    SIGTERM or Ctrl-C stops it, after running runs had up to `drain_timeout` to reach their next step; a second one stops it
    at once. SIGHUP does the same as `tako-lite reload`.
    """
    from tako_lite.config import locate
    from tako_lite.daemon.serve import serve as run_daemon

    return run_daemon(locate(chosen_config()), server)
