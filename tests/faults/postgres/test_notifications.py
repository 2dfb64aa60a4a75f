"""Notifications are hints: lost, senseless or too many, they cost time and nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.postgres.fleet import Fleet, fleet_of, over
from tests.faults.postgres.pooler import pooler
from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.postgres import Database, connected
from tests.support.postgres import Server as Postgres
from tests.support.profiles import scaled
from tests.support.project import wait_until

pytestmark = pytest.mark.timeout(180)

WORKFLOWS = """
@workflow("here", worker="home")
async def here(payload):
    return os.getcwd()

@workflow("gpu", worker="gpu")
async def gpu(payload):
    return os.getcwd()

@workflow("holds", worker="gpu")
async def holds(payload):
    witness("held")
    while not os.path.exists("released"):
        await asyncio.sleep(0.02)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, postgres_backend: PostgresBackend) -> Iterator[Fleet]:
    """Two servers: lax serves home, fra serves gpu."""
    with fleet_of(tmp_path_factory.mktemp("fleet"), postgres_backend, "lax", "fra") as made:
        serve(made)
        yield made


def serve(fleet: Fleet) -> None:
    fleet.workflow("a.py", WORKFLOWS)
    lax, fra = fleet.servers
    lax.serve_with("--groups", "home")
    fra.serve_with("--groups", "gpu")
    fleet.wait_for_others()


def boot_ids(fleet: Fleet) -> set[str]:
    found: set[str] = {boot_id for (boot_id,) in fleet.servers[0].query("SELECT boot_id FROM servers WHERE ended_at IS NULL")}
    return found


def elsewhere(fleet: Fleet) -> None:
    """A run that is enqueued on one server is executed on the other."""
    lax, fra = fleet.servers
    assert lax.run("gpu")["result"] == str(fra.root)
    assert fra.run("here")["result"] == str(lax.root)


CONTROL = """
    SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tako ___ control' AND datname = current_database()
"""
SENSELESS = [
    "",
    "no JSON",
    "[]",
    "7",
    '"text"',
    "null",
    "[" * 3_000,
    json.dumps({"due": float("inf")}),
    json.dumps({"due": "soon"}),
    json.dumps({"due": -(10**300)}),
    json.dumps({"due": 10**300}),
    json.dumps({"work": 7, "suspects": {"a": 1}}),
    json.dumps({"work": ["x" * 5_000, "home\n", ""], "again": True}),
    json.dumps({"resolved": [["x", "y", "succeeded", "1"], ["x"], 7, [{}, []]]}),
    json.dumps({"cancel": [[], {}, None], "ended": [7], "awaited": ["x"] * 300}),
    json.dumps({"renew": {}, "note": [], "b": 7, "signals": "yes", "changed": "yes"}),
]


def test_notifications_that_make_no_sense_are_passed_over(fleet: Fleet, database: Database) -> None:
    before, schema = boot_ids(fleet), fleet.backend.schema(fleet.servers[0].root)
    for payload in SENSELESS:
        database.execute("SELECT pg_notify(%s, %s)", f"tako_{schema}", payload)
    elsewhere(fleet)
    assert boot_ids(fleet) == before
    assert {group["name"] for server in fleet.servers for group in server.status()["groups"]} <= {"default", "home", "gpu"}
    assert not any("Traceback" in server.daemon_log() for server in fleet.servers)


def test_a_notification_alone_cancels_no_run_and_ends_no_wait(fleet: Fleet, database: Database) -> None:
    lax, fra = fleet.servers
    schema, run = fleet.backend.schema(lax.root), lax.enqueue("holds")
    lax.wait_for_fact("held")
    for forged in ({"cancel": [run]}, {"resolved": [[run, "wait", "succeeded", "1"]]}, {"ended": [run]}):
        database.execute("SELECT pg_notify(%s, %s)", f"tako_{schema}", json.dumps(forged))
    elsewhere(fleet)
    assert lax.get(run)["state"] == "running"
    fleet.release()
    assert fra.wait(run)["state"] == "succeeded"
    for server in fleet.servers:
        (server.root / "released").unlink()


def test_a_listener_that_was_terminated_listens_again_and_misses_nothing(fleet: Fleet, database: Database) -> None:
    before = boot_ids(fleet)
    for _ in range(3):
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tako ___ control'"
        )
        elsewhere(fleet)
    assert boot_ids(fleet) == before, "no lease was lost"


def test_a_cancel_and_a_signal_on_one_server_reach_a_run_on_the_other(fleet: Fleet) -> None:
    lax, _ = fleet.servers
    run, held = lax.enqueue("holds"), len(lax.facts("held"))
    lax.wait_for_fact("held", held + 1)
    with lax.client() as client:
        assert client.cancel(run) == {run: "cancelling"}
    assert lax.wait(run)["state"] == "cancelled"


@pytest.mark.full
def test_enqueues_of_32_clients_make_no_more_than_twenty_notifying_commits_a_second(fleet: Fleet, database: Database) -> None:
    lax, fra = fleet.servers
    schema, ids = fleet.backend.schema(lax.root), list[str]()
    ((own,),) = lax.query("SELECT boot_id FROM servers WHERE name = 'lax' AND ended_at IS NULL")

    def enqueue() -> None:
        with lax.client() as client:
            ids.extend(client.enqueue("gpu").id for _ in range(scaled(960, 10_000) // 32))

    with connected(database.url) as listener:
        listener.execute(f'LISTEN "tako_{schema}"')
        threads = [threading.Thread(target=enqueue) for _ in range(32)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begun
        heard = [json.loads(each.payload) for each in listener.notifies(timeout=1)]
        pending = "SELECT 1 FROM runs WHERE workflow = 'gpu' AND state <> 'succeeded' LIMIT 1"
        wait_until(lambda: not fra.query(pending), "all runs have succeeded", 120)
    working = [each for each in heard if "work" in each and each["b"] == own]
    assert 0 < len(working) <= 20 * seconds + 2, f"in {seconds:.1f} s"


def test_without_any_notification_runs_start_within_the_time_of_a_look(
    tmp_path: Path, postgres: Postgres, postgres_backend: PostgresBackend
) -> None:
    """Behind a pooler that shares its backends among transactions, LISTEN does nothing, and no error says so."""
    with (
        pooler(postgres, postgres_backend.database.name, 20) as url,
        fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet,
    ):
        for server in fleet.servers:
            postgres_backend.lead(server.root, url)
        fleet.configure()
        serve(fleet)
        for _ in range(3):
            elsewhere(fleet)


def test_a_notification_that_cannot_be_sent_fails_no_commit(
    tmp_path: Path, postgres_backend: PostgresBackend, wire: Wire
) -> None:
    """As where the queue of notifications is full: the connection that sends them is lost each time."""
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        over(wire, fleet.servers[0], postgres_backend)
        fleet.configure()
        serve(fleet)
        before = boot_ids(fleet)
        for _ in range(3):
            wire.arm("cut", text=b"pg_notify", only="control")
            elsewhere(fleet)
            wire.disarm()
        assert wire.sprung > 0
        assert boot_ids(fleet) == before
