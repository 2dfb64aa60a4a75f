"""The chaos project on two servers of one PostgreSQL database, which dies and restarts as they do.

`python -m tests.faults.chaos --postgres --seconds 600`. Each fault of one machine hits one of the servers. Besides those, a
whole server dies and stays away for longer than its lease; a daemon stands still for longer, alone or with its fork server;
sessions of the database are ended, a process of it is killed, and it restarts, in good order or after a crash.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg

from tests.faults.chaos import CONFIG, FAULTS, Chaos, Fault, Keeper, make_project, plan
from tests.faults.expected import Left, surprises
from tests.support.backends import PostgresBackend
from tests.support.checker import judge
from tests.support.event_log import LOG, EventLog
from tests.support.handler_probe import ATTEMPTS
from tests.support.postgres import Cluster, begin_run, end_run, new_cluster

LEASE: Final = 15
AWAY: Final = 22.0
"""Seconds for which a server is away or stands still: longer than its lease."""
UNREACHABLE: Final = 4
"""The exit code of a daemon that starts while the database is away."""
SETTINGS: Final = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"}
"""Of a database that survives every end of its processes, and need not survive a power failure."""
OURS: Final = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tako %' ORDER BY pid"

OF_THE_DATABASE: Final = {"end session": 14, "kill session": 3, "crash database": 3, "restart database": 2}
OF_SERVERS: Final = {"lose all": 3, "suspend daemon": 3, "suspend daemon and zygote": 3}


class ServerKeeper(Keeper):
    """Starts the daemon of one server, unless the server is to stay away for a while."""

    def __init__(self, root: Path, witness: EventLog) -> None:
        super().__init__(root, witness)
        self.server = root.name
        self.away_until = 0.0

    def foresees(self, pid: int, code: int) -> bool:
        return code == UNREACHABLE

    def between(self) -> None:
        self._stopping.wait(max(self.away_until - time.monotonic(), 0.3))


class ServerChaos(Chaos):
    """One round with two servers."""

    def __init__(self, root: Path, seconds: float, seed: int, cluster: Cluster) -> None:
        self.cluster = cluster
        self.backend = PostgresBackend(cluster.server.make_database("chaos"))
        super().__init__(root, seconds, seed)

    def planned(self, seed: int, seconds: float) -> list[Fault]:
        """Half as many faults in a time as on one server, which has the whole machine."""
        found = plan(seed, seconds / 2, FAULTS | OF_SERVERS | OF_THE_DATABASE)
        return [fault._replace(at=fault.at * 2) for fault in found]

    def made(self) -> list[Keeper]:
        main, *others = roots = [self._root / name for name in ("lax", "fra")]
        (self._root / ATTEMPTS).mkdir()
        for root in roots:
            self.backend.share(root, main) if root in others else self.backend.schema(main)
            queue = "".join(f'{key} = "{value}"\n' for key, value in self.backend.settings(root).items())
            make_project(root, CONFIG.format(root=root).replace("[queue]\n", f'[queue]\nlease = "{LEASE}s"\n{queue}'))
            for shared in (LOG, ATTEMPTS):
                (root / shared).symlink_to(self._root / shared)
        return [ServerKeeper(root, self.witness) for root in roots]

    def judged(self) -> list[str]:
        root = self.keepers[0].root
        unsound, stored = self.backend.read(root)
        cursors = [cursor for (cursor,) in self.backend.execute(root, "SELECT cursor FROM triggers")]
        waits = self.backend.execute(root, "SELECT run_id, name FROM waits")
        return judge(self.witness.path, unsound, stored) + surprises(self.witness.path, Left(stored, cursors, waits))

    def _inflict(self, fault: Fault) -> None:
        if fault.name in OF_THE_DATABASE:
            self.witness.write("fault", name=fault.name)
            self.faults[fault.name] += self._hit_database(fault)
            return
        if fault.name in OF_SERVERS:
            fault = fault._replace(pause=AWAY)
        if fault.name == "lose all":
            keeper = self.keepers[int(fault.pick * len(self.keepers))]
            assert isinstance(keeper, ServerKeeper)
            keeper.away_until = time.monotonic() + AWAY
        super()._inflict(fault)

    def _hit_database(self, fault: Fault) -> bool:
        """Do something to the database; whether there was something to hit."""
        match fault.name:
            case "crash database":
                self.cluster.restart("immediate")
            case "restart database":
                self.cluster.restart("fast")
            case _:
                with suppress(psycopg.OperationalError, ProcessLookupError):  # it is still starting; it has ended meanwhile
                    sessions = [pid for (pid,) in self.backend.database.execute(OURS)]
                    if not sessions:
                        return False
                    victim = sessions[int(fault.pick * len(sessions))]
                    if fault.name == "kill session":
                        os.kill(victim, signal.SIGKILL)
                    else:
                        self.backend.database.execute("SELECT pg_terminate_backend(%s)", victim)
        return True


@contextmanager
def server_chaos(root: Path, seconds: float, seed: int) -> Iterator[ServerChaos]:
    """A round with a database of its own."""
    begin_run()
    try:
        cluster = new_cluster(SETTINGS)
        cluster.create()
        cluster.start()
        yield ServerChaos(root, seconds, seed, cluster)
    finally:
        end_run()
