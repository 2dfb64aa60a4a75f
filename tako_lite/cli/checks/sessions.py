"""Check for worker processes that outlived their daemon."""

from __future__ import annotations

from collections.abc import Iterator

from tako_lite.cli.checks.context import CheckContext
from tako_lite.finding import Finding
from tako_lite.linux import ON_LINUX, session_members
from tako_lite.processes.child import WorkerRecords


def orphans(context: CheckContext) -> Iterator[Finding]:
    """Whether recorded worker sessions still have processes although no daemon runs."""
    if not ON_LINUX:
        yield Finding("orphans", "info", "not checked: only Linux reports the processes of a session (/proc)")
        return
    if context.has_daemon:
        yield Finding("orphans", "ok", "all workers belong to the running daemon")
        return
    alive = WorkerRecords(context.state_dir / "workers").survivors()
    for pid in alive:
        pids = ", ".join(str(process.pid) for process in session_members(pid))
        what = f"processes of worker {pid} outlived the daemon and may still be working: {pids}"
        yield Finding("orphans", "problem", what, f"tako-lite serve, which kills them first; or pkill -KILL -s {pid}")
    if not alive:
        yield Finding("orphans", "ok", "no worker outlived its daemon")
