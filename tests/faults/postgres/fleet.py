"""Two servers and more of one queue on this machine, each a daemon in a folder of its own; one checker judges them all.

All workflow files lead to the folder of the first server: its witness log has what every server did, in one order, so that the
checker sees whether two attempts of a run overlap, on whatever servers. A process is on this machine, whichever server has it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.event_log import LOG
from tests.support.handler_probe import ATTEMPTS
from tests.support.project import Project, is_gone, wait_until
from tests.support.teardown import tear_down

LEASE: Final = 15
"""Seconds, the shortest that there is."""
AFTER_LEASE: Final = LEASE + 25.0
"""Seconds in which a dead server's runs have started elsewhere, on a machine that is busy."""


class Server(Project):
    """A server of a fleet."""

    def __init__(self, root: Path, backend: PostgresBackend, name: str, main: Path) -> None:
        root.mkdir()
        super().__init__(root, backend)
        self.name = name
        self.log_root = main
        self.witness = main / "witness.jsonl"
        if root != main:
            for shared in (LOG, ATTEMPTS):
                (root / shared).symlink_to(main / shared)

    def processes(self) -> list[int]:
        """The daemon, its fork server and its workers."""
        return self.survivors()

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Send a signal to every process of the server, the daemon first: with SIGKILL, the machine is gone."""
        assert self.process is not None
        pids = [self.process.pid, *(pid for pid in self.processes() if pid != self.process.pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def kill(self) -> None:
        """Kill the whole server."""
        pids = self.signal_all(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.process = None
        wait_until(lambda: all(map(is_gone, pids)), "the server is gone")


WORKFLOWS: Final = """
@workflow("holds", worker="home")
async def holds(payload, step: Step):
    await step.run("first", lambda: 1)
    witness("held", run=step.run_id, cwd=os.getcwd())
    while not os.path.exists("released"):
        await asyncio.sleep(0.02)
    return os.getcwd()

@workflow("quick", worker="home")
async def quick(payload):
    return os.getcwd()

@workflow("gpu", worker="gpu")
async def gpu(payload):
    return os.getcwd()
"""
"""Runs that end when they are released, runs that end at once, and those of a group that only some servers serve."""


class Fleet:
    """The servers of one queue, not started yet."""

    def __init__(self, folder: Path, backend: PostgresBackend, names: tuple[str, ...]) -> None:
        self.backend = backend
        main = folder / names[0]
        self.servers = [Server(folder / name, backend, name, main) for name in names]
        (main / ATTEMPTS).mkdir(exist_ok=True)
        for server in self.servers:
            backend.share(server.root, main)

    def configure(self, toml: str = "") -> None:
        """Write `tako.toml` of every server, with the shortest lease."""
        for server in self.servers:
            server.configure(f'[queue]\nlease = "{LEASE}s"\n{toml}')

    def workflow(self, name: str, source: str) -> None:
        for server in self.servers:
            server.workflow(name, source)

    def serve(self) -> None:
        """Start every server; from then on each sees the others."""
        for server in self.servers:
            server.serve()
        self.wait_for_others()

    def wait_for_others(self) -> None:
        count = len([server for server in self.servers if server.process is not None])
        for server in self.servers:
            if server.process is not None:
                wait_until(lambda server=server: len(self.live(server)) == count, "the servers see each other", AFTER_LEASE)

    def live(self, seen_by: Server) -> list[dict[str, Any]]:
        """The live servers as one of them sees them."""
        found: list[dict[str, Any]] = seen_by.status()["servers"]
        return found

    def release(self) -> None:
        """Let the handlers that wait for it continue, on every server."""
        for server in self.servers:
            (server.root / "released").touch()

    def end(self) -> None:
        """Judge the servers one after the other; the last one that ends cancels what is left."""
        for server in self.servers:
            tear_down(server)
        self.backend.forget(self.servers[0].root)


@contextmanager
def fleet_of(folder: Path, backend: PostgresBackend, *names: str) -> Iterator[Fleet]:
    """A fleet with the shortest lease; at the end its daemons end, and the checker judges."""
    made = Fleet(folder, backend, names)
    made.configure()
    yield made
    made.end()


def over(wire: Wire, server: Server, backend: PostgresBackend) -> None:
    """Lead a server to the database by a wire; to be called before it is configured."""
    backend.lead(server.root, wire.url(backend.database.name))
