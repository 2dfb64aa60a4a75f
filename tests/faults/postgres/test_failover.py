"""A standby takes the place of its primary, without the newest commits or with all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tako_lite.records import Claimed
from tako_lite.store.opening import queue_at
from tako_lite.store.postgres.connection import connect
from tako_lite.store.postgres.queue import PostgresQueue
from tests.faults.postgres.fleet import LEASE, WORKFLOWS, fleet_of, over
from tests.faults.postgres.stores import stores
from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.clock_shim import shifted_clock
from tests.support.postgres import Cluster, Database, new_cluster, remove
from tests.support.project import wait_until
from tests.support.runs import charged
from tests.support.store_bench import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


class Pair(NamedTuple):
    """A primary with a standby, and the wire that leads to the primary."""

    primary: Cluster
    standby: Cluster
    wire: Wire
    backend: PostgresBackend

    def follow(self) -> None:
        """Have the standby take everything that is committed."""
        copy = Database(self.standby.server.url("app"))
        self.backend.database.execute("CREATE TABLE IF NOT EXISTS marks (at bigint); INSERT INTO marks VALUES (1)")
        made = self.backend.database.execute("SELECT count(*) FROM marks")
        count = "SELECT count(*) FROM marks"
        wait_until(lambda: self._exists(copy) and copy.execute(count) == made, "the standby has followed")

    def _exists(self, copy: Database) -> bool:
        return copy.execute("SELECT to_regclass('marks')") != [(None,)]

    def leave_behind(self) -> None:
        """Have the standby take nothing more."""
        self.standby.stop()

    def fail_over(self) -> None:
        """The primary dies, and the standby takes its place."""
        self.primary.kill()
        if not (self.standby.data / "postmaster.pid").exists():
            self.standby.start()
        self.standby.promote()
        self.wire.lead_to(self.standby.server)


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    backend = PostgresBackend(cluster.server.make_database("app"))
    standby = new_cluster()
    standby.copy(cluster)
    standby.start()
    with Wire(cluster.server) as wire:
        yield Pair(cluster, standby, wire, backend)
    remove(standby.folder)


@pytest.fixture
async def benches(pair: Pair, tmp_path: Path) -> AsyncIterator[Sequence[Bench]]:
    """Two servers whose connections lead to the primary of the moment."""
    url = pair.wire.url("app")
    async with stores(pair.backend, tmp_path, url, url, durability="disk") as made:
        yield made
        pair.backend._schemas.clear()  # the primary is gone: there is nothing to forget


async def claim(bench: Bench) -> Claimed:
    for _ in range(5):  # the connection to the old primary is lost at the first attempt
        if runs := (await bench.store.claim_runs("default", 1)).runs:
            return runs[0]
    raise AssertionError("no run is due")


async def test_a_token_that_a_failover_gave_out_twice_stores_nothing_for_its_first_holder(
    benches: Sequence[Bench], pair: Pair
) -> None:
    first, second = benches
    id = await first.add()
    pair.follow()
    pair.leave_behind()
    before = await claim(first)
    pair.fail_over()
    again = await claim(second)
    assert (before.id, before.token) == (again.id, again.token) == (id, 1), "the token was given out twice"
    assert await first.store.save_steps([first.step(before, "a")]) == [None]
    await first.complete(before, '"lost"')
    await first.store.requeue_runs([(before.id, before.token)], None)
    assert await first.store.park_run(before.id, before.token, []) is None
    assert await second.state(id) == "running"
    await second.complete(again, '"kept"')
    assert (await second.show(id)).result == "kept"


async def test_a_run_that_a_failover_brought_back_to_an_earlier_state_starts_again(
    benches: Sequence[Bench], pair: Pair
) -> None:
    first, second = benches
    id = await first.add()
    pair.follow()
    pair.leave_behind()
    run = await claim(first)
    await first.store.save_steps([first.step(run, "a")])
    await first.complete(run)
    assert await first.state(id) == "succeeded"
    pair.fail_over()
    await second.store.ping()
    assert await second.state(id) == "pending"
    assert (await claim(second)).stored is None


@pytest.mark.parametrize("is_synchronous", [False, True], ids=["asynchronous", "synchronous"])
async def test_only_a_synchronous_standby_keeps_everything_that_was_acknowledged(
    benches: Sequence[Bench], pair: Pair, is_synchronous: bool
) -> None:
    first, second = benches
    pair.follow()
    if is_synchronous:
        pair.backend.database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        pair.backend.database.execute("SELECT pg_reload_conf()")
        synchronous = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: pair.backend.database.execute(synchronous), "the standby is synchronous")
    else:
        pair.leave_behind()
    acknowledged = {await first.add() for _ in range(20)}
    pair.fail_over()
    await second.store.ping()
    kept = {id for id in acknowledged if await second.store.get_run(id) is not None}
    assert kept == (acknowledged if is_synchronous else set())


def test_of_several_hosts_the_one_that_takes_writes_is_used(pair: Pair, tmp_path: Path) -> None:
    hosts = f"{pair.standby.folder},{pair.primary.folder}"
    queue = queue_at(f"postgresql://tako@/app?host={hosts}&target_session_attrs=read-write", tmp_path)
    assert isinstance(queue, PostgresQueue)

    def is_standby() -> bool:
        with closing(connect(queue.place, "test", {})) as connection:
            return bool(connection.execute("SELECT pg_is_in_recovery()").fetchall()[0][0])

    assert not is_standby()
    pair.primary.kill()
    pair.standby.promote()
    assert not is_standby()


@pytest.mark.timeout(300)
def test_a_promoted_standby_whose_clock_is_an_hour_ahead_has_no_server_ended(pair: Pair, tmp_path: Path) -> None:
    clock = shifted_clock(pair.standby.folder)
    pair.standby.stop()
    pair.standby.environment = clock.environment
    clock.set(3600)
    pair.standby.start()
    with fleet_of(tmp_path, pair.backend, "lax", "fra") as fleet:
        for server in fleet.servers:
            over(pair.wire, server, pair.backend)
        fleet.configure()
        fleet.workflow("a.py", WORKFLOWS)
        fleet.serve()
        lax, fra = fleet.servers
        ids = [lax.enqueue("holds") for _ in range(4)]
        lax.wait_for_fact("held", 4)
        pair.follow()
        live = "SELECT boot_id FROM servers WHERE ended_at IS NULL ORDER BY boot_id"
        before = lax.query(live)
        pair.fail_over()
        pair.backend.database = Database(pair.standby.server.url("app"))
        beats = dict(lax.query("SELECT boot_id, beat FROM servers"))

        def renewed() -> bool:
            return all(beat >= beats[boot_id] + 7 for boot_id, beat in lax.query("SELECT boot_id, beat FROM servers"))

        wait_until(renewed, "each has renewed its lease for longer than that lasts", LEASE * 4)
        assert lax.query(live) == before
        assert {server.run("quick")["state"] for server in fleet.servers} == {"succeeded"}
        fleet.release()
        assert [charged(fra.wait(id, 30)) for id in ids] == [("succeeded", 1, 0)] * 4
        assert len(lax.facts("held")) == 4
