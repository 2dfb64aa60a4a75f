"""Servers that die, stand still or are cut off: their runs continue elsewhere, and no two attempts of a run overlap."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tako_lite.errors import TakoError
from tests.faults.postgres.fleet import AFTER_LEASE, LEASE, WORKFLOWS, Fleet, Server, fleet_of, over
from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.clock_shim import shifted_clock
from tests.support.postgres import Cluster
from tests.support.profiles import scaled
from tests.support.project import is_gone, wait_until
from tests.support.runs import charged

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def fleet(tmp_path: Path, postgres_backend: PostgresBackend) -> Iterator[Fleet]:
    """Two servers, lax and fra, which serve every group; not started yet."""
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as made:
        made.workflow("a.py", WORKFLOWS)
        yield made


def boot_ids(server: Server) -> list[str]:
    return [boot_id for (boot_id,) in server.query("SELECT boot_id FROM servers WHERE ended_at IS NULL ORDER BY boot_id")]


def wait_for_renewals(server: Server, count: int) -> None:
    """Wait until every live server has renewed its lease so often."""
    beats = "SELECT boot_id, beat FROM servers WHERE ended_at IS NULL"
    before = dict(server.query(beats))

    def renewed() -> bool:
        return all(beat >= before.get(boot_id, beat) + count for boot_id, beat in server.query(beats))

    wait_until(renewed, f"each server has renewed its lease {count} times", LEASE * 2)


def test_two_servers_share_the_runs_of_one_queue(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    fleet.serve()
    assert {server["name"] for server in fleet.live(fra)} == {"lax", "fra"}
    ids = [server.enqueue("quick") for server in (lax, fra) for _ in range(10)]
    assert {fra.wait(id)["state"] for id in ids} == {"succeeded"}
    held = [lax.enqueue("holds") for _ in range(60)]
    wait_until(lambda: len({fact["cwd"] for fact in lax.facts("held")}) == 2, "both have runs")
    fleet.release()
    assert {lax.wait(id, 30)["state"] for id in held} == {"succeeded"}


def test_a_run_that_is_enqueued_where_its_group_is_not_served_starts_on_another_server(
    tmp_path: Path, postgres_backend: PostgresBackend
) -> None:
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        lax, fra = fleet.servers
        lax.serve_with("--groups", "home")
        fra.serve_with("--groups", "gpu")
        fleet.wait_for_others()
        assert lax.run("gpu")["result"] == str(fra.root)
        assert fra.run("quick")["result"] == str(lax.root)


def test_a_step_of_the_databases_clock_by_an_hour_ends_no_lease(tmp_path: Path, cluster: Cluster) -> None:
    clock = shifted_clock(cluster.folder)
    cluster.environment = clock.environment
    cluster.restart()
    backend = PostgresBackend(cluster.server.make_database("app"))
    with fleet_of(tmp_path, backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        fleet.serve()
        lax, fra = fleet.servers
        run = lax.enqueue("holds")
        lax.wait_for_fact("held")
        before, seen = boot_ids(lax), list[float]()
        for hours in (1, -1, 0):
            clock.set(hours * 3600)
            wait_for_renewals(lax, 3)
            seen.append(lax.query("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0] - time.time())
            assert fra.run("quick")["state"] == "succeeded"
        assert [round(ahead / 3600) for ahead in seen] == [1, -1, 0], "the clock of the database was moved"
        fleet.release()
        assert charged(fra.wait(run)) == ("succeeded", 1, 0)
        assert boot_ids(lax) == before
        assert len(fra.facts("held")) == 1


def test_killing_a_server_with_all_of_its_processes_gives_its_runs_to_the_others_uncharged(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    lax.serve()
    run = lax.enqueue("holds")
    lax.wait_for_fact("held")
    fra.serve()
    fleet.wait_for_others()
    lax.kill()
    fra.wait_for_fact("held", 2, limit=AFTER_LEASE)
    fleet.release()
    ended = fra.wait(run)
    assert (ended["result"], *charged(ended)) == (str(fra.root), "succeeded", 1, 0)


def test_a_killed_daemon_that_starts_again_takes_its_own_runs_back_before_its_lease_is_over(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    fleet.serve()
    fra.call("pause", group="home")
    lax.call("resume", group="home")
    run = lax.enqueue("holds")
    (fact,) = lax.wait_for_fact("held")
    holder = next(server for server in fleet.servers if str(server.root) == fact["cwd"])
    holder.stop(signal.SIGKILL)
    holder.serve()
    lax.wait_for_fact("held", 2, limit=10)
    fleet.release()
    assert charged(lax.wait(run)) == ("succeeded", 1, 0)


def test_a_clean_stop_gives_its_runs_to_the_others_at_once(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    lax.serve()
    run = lax.enqueue("holds")
    lax.wait_for_fact("held")
    fra.serve()
    fleet.wait_for_others()
    assert lax.stop() == 0
    fra.wait_for_fact("held", 2)
    fleet.release()
    ended = fra.wait(run)
    assert (ended["result"], *charged(ended)) == (str(fra.root), "succeeded", 1, 0)


def test_a_stopped_daemon_has_its_workers_killed_before_another_server_starts_its_runs(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    daemon = lax.serve()
    run = lax.enqueue("holds")
    (fact,) = lax.wait_for_fact("held")
    fra.serve()
    fleet.wait_for_others()
    os.kill(daemon, signal.SIGSTOP)
    wait_until(lambda: is_gone(fact["pid"]), "its worker is dead", AFTER_LEASE)
    assert len(fra.facts("held")) == 1, "it was dead before the run started again"
    fra.wait_for_fact("held", 2, limit=AFTER_LEASE)
    os.kill(daemon, signal.SIGCONT)
    fleet.wait_for_others()
    fleet.release()
    assert charged(fra.wait(run)) == ("succeeded", 1, 0)
    assert lax.run("quick")["state"] == "succeeded"


def test_a_machine_that_stood_still_as_a_whole_writes_nothing_with_its_old_tokens(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    lax.serve()
    run = lax.enqueue("holds")
    (fact,) = lax.wait_for_fact("held")
    fra.serve()
    fleet.wait_for_others()
    lax.signal_all(signal.SIGSTOP)
    fra.wait_for_fact("held", 2, limit=AFTER_LEASE)
    (lax.root / "released").touch()  # its handler would end at once
    lax.spoilt = fra.spoilt = "a machine that stands still as a whole may execute for a moment when it wakes"
    lax.signal_all(signal.SIGCONT)
    wait_until(lambda: is_gone(fact["pid"]), "its worker is killed", AFTER_LEASE)
    fleet.wait_for_others()
    assert fra.get(run)["state"] == "running"
    (fra.root / "released").touch()
    ended = fra.wait(run)
    assert (ended["result"], *charged(ended)) == (str(fra.root), "succeeded", 1, 0)


def test_a_run_that_was_to_be_cancelled_when_its_server_died_is_not_executed_again(fleet: Fleet) -> None:
    lax, fra = fleet.servers
    lax.serve()
    run = lax.enqueue("holds")
    lax.wait_for_fact("held")
    fra.serve()
    fleet.wait_for_others()
    lax.signal_all(signal.SIGSTOP)
    with fra.client() as client:
        assert client.cancel(run) == {run: "cancelling"}
    lax.kill()
    assert fra.wait(run, AFTER_LEASE)["state"] == "cancelled"
    assert len(fra.facts("held")) == 1


@pytest.fixture
def cut(tmp_path: Path, postgres_backend: PostgresBackend, wire: Wire) -> Iterator[Fleet]:
    """Two servers, of which lax reaches the database by the wire alone; lax holds a run."""
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as made:
        over(wire, made.servers[0], postgres_backend)
        made.configure()
        made.workflow("a.py", WORKFLOWS)
        made.servers[0].serve()
        made.servers[0].enqueue("holds")
        made.servers[0].wait_for_fact("held")
        made.servers[1].serve()
        made.wait_for_others()
        yield made


@pytest.mark.parametrize("kind", ["hold", "reset", "swallow"])
def test_a_server_that_is_cut_off_for_longer_than_its_lease_kills_its_workers_first(cut: Fleet, wire: Wire, kind: str) -> None:
    lax, fra = cut.servers
    (fact,) = lax.facts("held")
    wire.apply(kind)  # type: ignore[arg-type]
    wait_until(lambda: is_gone(fact["pid"]), "its worker is dead", AFTER_LEASE)
    assert len(fra.facts("held")) == 1, "it was dead before the run started again"
    fra.wait_for_fact("held", 2, limit=AFTER_LEASE)
    wire.apply("pass")
    cut.wait_for_others()
    cut.release()
    assert charged(fra.wait(fact["run"])) == ("succeeded", 1, 0)
    assert lax.run("quick")["state"] == "succeeded"


def test_a_server_that_is_cut_off_for_a_moment_continues_with_what_it_had(cut: Fleet, wire: Wire) -> None:
    lax, fra = cut.servers
    (fact,) = lax.facts("held")
    wire.apply("drop")
    cut.release()
    wait_until(lambda: len([name for name in wire.names() if name]) == 0, "it is cut off")
    wire.apply("pass")
    ended = fra.wait(fact["run"], 30)
    assert (ended["result"], *charged(ended)) == (str(lax.root), "succeeded", 1, 0)
    assert len(fra.facts("held")) == 1


def test_a_server_whose_writer_alone_is_cut_keeps_its_lease_and_stores_everything_later(cut: Fleet, wire: Wire) -> None:
    lax, fra = cut.servers
    (fact,) = lax.facts("held")
    wire.apply("hold", only="writer")
    cut.release()
    assert fra.get(fact["run"])["state"] == "running"
    wire.apply("pass")
    ended = fra.wait(fact["run"], 60)
    assert (ended["result"], *charged(ended)) == (str(lax.root), "succeeded", 1, 0)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_under_load_costs_no_run(tmp_path: Path, cluster: Cluster, mode: str) -> None:
    """And no attempt is repeated without need: a restart is shorter than half of a lease."""
    backend = PostgresBackend(cluster.server.make_database("app"))
    with fleet_of(tmp_path, backend, "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        fleet.serve()
        lax, fra = fleet.servers
        ids: list[str] = []
        for _ in range(scaled(3, 10)):
            for server in (lax, fra):
                with server.client() as client:
                    ids += client.enqueue_many("quick", range(50))
            cluster.restart(mode)
            for server in (lax, fra):
                wait_until(partial(enqueued, server, ids), "it takes runs again", 60)
        for id in ids:
            assert fra.wait(id, 60)["state"] == "succeeded"


def enqueued(server: Server, ids: list[str]) -> bool:
    """Whether a server stored another run; one that is not acknowledged may be stored too."""
    with suppress(TakoError):
        ids.append(server.enqueue("quick"))
        return True
    return False


def test_one_backend_that_is_killed_restarts_all_sessions_and_costs_no_run(tmp_path: Path, cluster: Cluster) -> None:
    database = cluster.server.make_database("app")
    with fleet_of(tmp_path, PostgresBackend(database), "lax", "fra") as fleet:
        fleet.workflow("a.py", WORKFLOWS)
        fleet.serve()
        lax, fra = fleet.servers
        held = lax.enqueue("holds")
        lax.wait_for_fact("held")
        ((backend,),) = database.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'tako lax writer'")
        os.kill(backend, signal.SIGKILL)
        ids: list[str] = []
        for server in (lax, fra):
            wait_until(partial(enqueued, server, ids), "it takes runs again", 60)
        fleet.release()
        assert charged(fra.wait(held, 60)) == ("succeeded", 1, 0)
        assert [fra.wait(id, 60)["state"] for id in ids] == ["succeeded"] * 2


def test_a_commit_whose_answer_is_lost_leaves_no_run_that_no_worker_knows(
    tmp_path: Path, postgres_backend: PostgresBackend, wire: Wire
) -> None:
    """A claim among them: its runs are running, and the daemon that has them must find out."""
    with fleet_of(tmp_path, postgres_backend, "lax") as fleet:
        (lax,) = fleet.servers
        over(wire, lax, postgres_backend)
        fleet.configure()
        fleet.workflow("a.py", WORKFLOWS)
        lax.serve()
        ids: list[str] = [lax.enqueue("quick")]
        lax.wait(ids[0], 60)
        for number in range(1, scaled(5, 40)):
            wire.arm("unanswered", number, text=b"COMMIT")
            wait_until(partial(enqueued, lax, ids), "it takes a run", 60)
            assert lax.wait(ids[-1], 60)["state"] == "succeeded"
            wire.disarm()
        assert wire.sprung > 0, "no answer was lost"
        left = lax.query("SELECT count(*) FROM runs WHERE state IN ('pending', 'running')")
        wait_until(lambda: lax.query("SELECT 1 FROM runs WHERE state IN ('pending', 'running')") == [], f"all end: {left}", 30)


TICK = """
@workflow("tick", schedule="* * * * * *", worker="home")
async def tick(payload):
    pass
"""
OFF: Final = (0, 3600, -3600, 45, -0.4)
"""Seconds by which the clocks of five servers are off."""


@pytest.mark.full
@pytest.mark.timeout(480)
def test_a_slot_fires_once_over_five_servers_with_clocks_that_differ(tmp_path: Path, postgres_backend: PostgresBackend) -> None:
    """One of them is killed each five seconds, and starts again."""
    with fleet_of(tmp_path, postgres_backend, *(f"s{number}" for number in range(5))) as fleet:
        fleet.workflow("a.py", TICK)
        environments = []
        for server, seconds in zip(fleet.servers, OFF, strict=True):
            clock = shifted_clock(server.root)
            clock.set(seconds)
            environments.append(clock.environment)
            server.serve(**clock.environment)
        fleet.wait_for_others()
        for number in range(scaled(1, 12)):
            server = fleet.servers[number % 5]
            before = fired(fleet.servers[-1])
            wait_until(lambda before=before: fired(fleet.servers[-1]) >= before + 5, "five more slots have fired", 60)
            server.stop(signal.SIGKILL)
            server.serve(**environments[number % 5])
        twice = "SELECT run_at, count(*) FROM runs WHERE workflow = 'tick' GROUP BY run_at HAVING count(*) > 1"
        assert fleet.servers[0].query(twice) == []


def fired(server: Server) -> int:
    """How many slots have fired."""
    return int(server.query("SELECT count(*) FROM runs WHERE workflow = 'tick'")[0][0])
