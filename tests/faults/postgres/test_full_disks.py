"""The disk of the database is full: where the tables are, where the write-ahead log is, and where notifications wait."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tako_lite.errors import StorageFull, TakoError
from tests.faults.postgres.fleet import AFTER_LEASE, WORKFLOWS, Server, fleet_of
from tests.faults.postgres.small_disk import move_to, small_disk
from tests.support.backends import PostgresBackend
from tests.support.postgres import Cluster, Database, connected
from tests.support.project import wait_until
from tests.support.runs import charged

pytestmark = pytest.mark.timeout(240)

LARGE = """
@workflow("large", worker="home")
async def large(payload, step: Step):
    witness("held", run=step.run_id)
    while not os.path.exists("released"):
        await asyncio.sleep(0.02)
    return os.urandom(300_000).hex()
"""


def refuses(server: Server, error: type[TakoError], acknowledged: list[str]) -> bool:
    """Whether a new run with a long payload is refused."""
    try:
        acknowledged.append(server.enqueue("quick", os.urandom(100_000).hex()))
    except error:
        return True
    return False


def test_a_full_disk_of_the_database_refuses_new_runs_and_keeps_outcomes(tmp_path: Path, cluster: Cluster) -> None:
    with small_disk(cluster, "64m") as disk:
        Database(cluster.server.dsn).execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
        Database(cluster.server.dsn).execute("CREATE DATABASE app TABLESPACE small TEMPLATE template0")
        with fleet_of(tmp_path, PostgresBackend(Database(cluster.server.url("app"))), "lax") as fleet:
            fleet.workflow("a.py", WORKFLOWS + LARGE)
            (lax,) = fleet.servers
            daemon, acknowledged = lax.serve(), list[str]()
            run = lax.enqueue("large")
            lax.wait_for_fact("held")
            disk.fill()
            wait_until(lambda: refuses(lax, StorageFull, acknowledged), "new runs are refused", 60)
            fleet.release()
            wait_until(lambda: any("is full" in text for text in lax.status()["warnings"]), "status says so", 30)
            assert lax.get(run)["state"] == "running"
            disk.free()
            assert charged(lax.wait(run, 30)) == ("succeeded", 1, 0)
            assert {lax.wait(id, 60)["state"] for id in acknowledged} <= {"succeeded"}
            assert lax.run("quick")["state"] == "succeeded"
            assert lax.status()["daemon"]["pid"] == daemon, "nothing had to be restarted"


def test_a_full_disk_of_the_write_ahead_log_loses_no_run(tmp_path: Path, cluster: Cluster) -> None:
    """PostgreSQL crashes then, and starts only once there is room."""
    with small_disk(cluster, "80m") as disk:
        cluster.configure(min_wal_size="32MB", max_wal_size="32MB")
        move_to(cluster, disk, "pg_wal")
        with fleet_of(tmp_path, PostgresBackend(cluster.server.make_database("app")), "lax") as fleet:
            fleet.workflow("a.py", WORKFLOWS)
            (lax,) = fleet.servers
            daemon, acknowledged = lax.serve(), list[str]()
            run = lax.enqueue("holds")
            lax.wait_for_fact("held")
            disk.fill()
            wait_until(lambda: refuses(lax, TakoError, acknowledged), "the database has crashed", 60)
            fleet.release()
            disk.free()
            with suppress(RuntimeError):  # it has ended by itself
                cluster.stop("immediate")
            cluster.start()
            assert "PANIC" in cluster.log.read_text()
            assert charged(lax.wait(run, AFTER_LEASE)) == ("succeeded", 1, 0)
            assert {lax.wait(id, 60)["state"] for id in acknowledged} <= {"succeeded"}
            assert lax.status()["daemon"]["pid"] == daemon, "nothing had to be restarted"


def test_a_full_notification_queue_fails_no_commit_of_ours(tmp_path: Path, cluster: Cluster) -> None:
    """A session listens and sits in a transaction, so that no notification may be forgotten."""
    with small_disk(cluster, "1m") as disk:
        move_to(cluster, disk, "pg_notify")
        backend = PostgresBackend(cluster.server.make_database("app"))
        with fleet_of(tmp_path, backend, "lax", "fra") as fleet:
            fleet.workflow("a.py", WORKFLOWS)
            lax, fra = fleet.servers
            lax.serve_with("--groups", "home")
            fra.serve_with("--groups", "gpu")
            fleet.wait_for_others()
            live = "SELECT boot_id FROM servers WHERE ended_at IS NULL ORDER BY boot_id"
            before = lax.query(live)
            with closing(psycopg.connect(backend.database.url)) as idle:
                idle.execute("LISTEN other")
                idle.commit()
                idle.execute("SELECT 1")
                for size in (7_000, 1):
                    with connected(backend.database.url) as other, pytest.raises(psycopg.OperationalError) as full:
                        for _ in range(1_000):
                            other.execute("SELECT pg_notify('other', repeat('x', %s))", [size])
                    assert full.value.sqlstate == "53100"
                told = lax.command("doctor").stdout
                assert "PostgreSQL accepts no notification" in told
                assert "pg_stat_activity" in told
                for _ in range(3):
                    assert lax.run("gpu")["result"] == str(fra.root)
                    assert fra.run("quick")["result"] == str(lax.root)
            for server in fleet.servers:
                assert "cannot notify the other servers" in server.daemon_log()
                assert "lease" not in server.daemon_log()
            assert lax.query(live) == before
            assert lax.run("gpu")["state"] == "succeeded"
