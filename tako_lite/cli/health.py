"""What `tako-lite health` asks and prints. It imports little: health checks ask it every few seconds."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

from tako_lite.cli.asking import ask, greeting
from tako_lite.cli.output import write
from tako_lite.client.project import Project
from tako_lite.errors import TakoError
from tako_lite.units import duration_text

LIMIT: Final = 2.0
"""Seconds within which a healthy daemon answers."""


def health(*, ready: bool) -> int:
    """`tako-lite health`, or with `--ready`, in the project of the current folder; returns the exit code."""
    from tako_lite.cli.project_notice import note_project

    note_project()
    return report(verdict(Project(None), ready=ready, groups=[], max_lag=None))


def verdict(project: Project, **arguments: Any) -> dict[str, Any]:
    """What `--json` prints."""
    if not project.has_daemon():
        return _unhealthy("not_running", "no daemon is running")
    connection = project.connect()
    if connection is None:
        return _unhealthy("no_answer", "a daemon holds the lock but does not answer: it is starting or stopping")
    with closing(connection):
        connection.socket.settimeout(LIMIT)
        try:
            hello = greeting(connection)
            project.check(hello, "health")
            answer = ask(connection, "health", **arguments)
        except TimeoutError:
            return _unhealthy("no_answer", f"the daemon did not answer within {duration_text(LIMIT)}")
        except ConnectionError:
            return _unhealthy("no_answer", "the daemon closed the connection: it is stopping")
    return {**answer, "daemon": {key: hello[key] for key in ("pid", "version", "server")}}


def _unhealthy(code: str, message: str) -> dict[str, Any]:
    return {"healthy": False, "reasons": [{"code": code, "message": message}], "lag_s": {}, "daemon": None}


def report(found: dict[str, Any]) -> int:
    """Print a verdict; returns the exit code."""
    if found["healthy"]:
        about = found["daemon"]
        write(f"healthy: pid {about['pid']}, version {about['version']}")
    for reason in found["reasons"]:
        write(f"not healthy: {reason['message']}")
    return exit_code(found)


def exit_code(found: dict[str, Any]) -> int:
    """0 for a healthy daemon, else 1."""
    return 0 if found["healthy"] else TakoError.exit_code
