"""Servers whose connections or processes stand still, and groups that no server serves any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.postgres.fleet import AFTER_LEASE, LEASE, WORKFLOWS, Fleet, Server, fleet_of, over
from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.postgres import Cluster
from tests.support.project import is_gone, wait_until
from tests.support.runs import charged

pytestmark = pytest.mark.timeout(240)

WITH_FALLBACK = WORKFLOWS.replace('worker="gpu"', 'worker="gpu", fallback="cancel"')


@pytest.fixture
def cut(tmp_path: Path, postgres_backend: PostgresBackend, wire: Wire) -> Iterator[Fleet]:
    """One server, lax, which reaches the database by the wire and holds a run."""
    with fleet_of(tmp_path, postgres_backend, "lax") as made:
        over(wire, made.servers[0], postgres_backend)
        made.configure()
        made.workflow("a.py", WORKFLOWS)
        made.servers[0].serve()
        made.servers[0].enqueue("holds")
        made.servers[0].wait_for_fact("held")
        yield made


def boot_id(server: Server) -> str:
    ((found,),) = server.query("SELECT boot_id FROM servers WHERE ended_at IS NULL")
    return str(found)


def test_a_server_whose_control_connection_alone_is_cut_claims_nothing_after_half_a_lease(cut: Fleet, wire: Wire) -> None:
    (lax,) = cut.servers
    before = boot_id(lax)
    wire.apply("hold", only="control")
    wait_until(lambda: "nothing more is claimed" in lax.daemon_log(), "it says so", LEASE)
    run = lax.enqueue("quick")
    cut.release()
    wait_until(lambda: lax.query("SELECT 1 FROM runs WHERE state = 'succeeded'"), "what it had ends and is stored")
    assert lax.get(run)["state"] == "pending"
    wire.apply("pass")
    assert lax.wait(run)["state"] == "succeeded"
    assert boot_id(lax) == before, "it kept its lease"


def test_slow_answers_of_two_seconds_hold_up_neither_the_loop_nor_the_lease(cut: Fleet, wire: Wire) -> None:
    (lax,) = cut.servers
    (fact,) = lax.facts("held")
    before = boot_id(lax)
    beats = lax.query("SELECT beat FROM servers WHERE ended_at IS NULL")[0][0]
    wire.delay(2)
    run = lax.enqueue("quick")

    def beaten() -> bool:
        lax.call("workflows")  # the loop answers what it has in memory
        return bool(lax.query("SELECT beat FROM servers WHERE ended_at IS NULL")[0][0] >= beats + 5)

    wait_until(beaten, "it renews its lease for longer than that lasts", LEASE * 4)
    assert boot_id(lax) == before
    assert not is_gone(fact["pid"])
    assert "lease" not in lax.daemon_log()
    wire.delay(0)
    cut.release()
    assert [charged(lax.wait(id, 60)) for id in (run, fact["run"])] == [("succeeded", 1, 0)] * 2


def test_a_stopped_daemon_and_fork_server_have_their_workers_killed_by_their_guards(
    tmp_path: Path, postgres_backend: PostgresBackend
) -> None:
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        lax, fra = fleet.servers
        daemon = lax.serve()
        run = lax.enqueue("holds")
        (fact,) = lax.wait_for_fact("held")
        fra.serve()
        fleet.wait_for_others()
        stopped = [pid for pid in lax.processes() if pid != fact["pid"]]
        assert {daemon, lax.status()["daemon"]["zygote_pid"]} <= {*stopped}
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: is_gone(fact["pid"]), "its worker is dead", AFTER_LEASE)
        assert len(fra.facts("held")) == 1, "it was dead before the run started again"
        fra.wait_for_fact("held", 2, limit=AFTER_LEASE)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        fleet.wait_for_others()
        fleet.release()
        assert charged(fra.wait(run)) == ("succeeded", 1, 0)


def test_a_run_of_a_group_whose_last_server_died_goes_by_its_fallback(
    tmp_path: Path, postgres_backend: PostgresBackend
) -> None:
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WITH_FALLBACK)
        lax, fra = fleet.servers
        lax.serve_with("--groups", "home")
        fra.serve_with("--groups", "gpu")
        fleet.wait_for_others()
        assert lax.run("gpu")["result"] == str(fra.root)
        fra.signal_all(signal.SIGSTOP)
        run = lax.enqueue("gpu")
        assert lax.get(run)["state"] == "pending"
        fra.kill()
        ended = lax.wait(run, AFTER_LEASE + LEASE)
        assert (ended["state"], "no live server serves gpu" in str(ended["error"])) == ("cancelled", True)


def test_a_database_that_is_away_for_longer_than_the_lease_costs_running_attempts_alone(
    tmp_path: Path, cluster: Cluster
) -> None:
    backend = PostgresBackend(cluster.server.make_database("app"))
    with fleet_of(tmp_path, backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        fleet.serve()
        lax, fra = fleet.servers
        ids = [lax.enqueue("holds") for _ in range(4)]
        facts = lax.wait_for_fact("held", 4)
        cluster.stop("immediate")
        wait_until(lambda: all(is_gone(fact["pid"]) for fact in facts), "all workers are dead", AFTER_LEASE)
        cluster.start()
        lax.wait_for_fact("held", 8, limit=AFTER_LEASE)
        fleet.release()
        assert [charged(fra.wait(id, 30)) for id in ids] == [("succeeded", 1, 0)] * 4
        assert lax.run("quick")["state"] == "succeeded"


def test_a_second_server_of_a_name_is_refused_and_a_copied_folder_takes_nothing_from_the_first(
    tmp_path: Path, postgres_backend: PostgresBackend
) -> None:
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        lax, fra = fleet.servers
        lax.serve()
        run = lax.enqueue("holds")
        lax.wait_for_fact("held")
        (fra.root / ".tako").mkdir(mode=0o700)
        (fra.root / ".tako/server-id").write_text((lax.root / ".tako/server-id").read_text())
        refused = fra.cli("serve", "--server", "lax")
        assert refused.returncode == 6
        assert f"server lax of this queue is served by another machine (host {os.uname().nodename})" in refused.stderr
        assert "--server NAME" in refused.stderr
        assert lax.get(run)["state"] == "running"
        fra.serve()
        fleet.wait_for_others()
        fleet.release()
        assert charged(lax.wait(run)) == ("succeeded", 1, 0)
        assert len(lax.facts("held")) == 1
