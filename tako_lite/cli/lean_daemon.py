"""`serve` in a process that has started over: without click, and with a fork server that shares its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tako_lite.cli.main import run_to_exit_code
from tako_lite.processes.forked_server import ForkedServer

ENTRY = "tako_lite.cli.lean_daemon:main"


def main(options: dict[str, Any], forked: ForkedServer | None) -> int:
    """Serve with the options of `serve`, and return the exit code."""

    def serve() -> int:
        from tako_lite.daemon.serve import serve  # here, so that a mistake in it is reported like any other

        config_path, groups = options.pop("config_path"), options.pop("groups")
        return serve(
            None if config_path is None else Path(config_path),
            groups=None if groups is None else tuple(groups),
            **options,
            forked=forked,
        )

    return run_to_exit_code(serve, as_json=False)
