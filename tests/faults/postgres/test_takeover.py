"""What a server finds that another one has left: judged by the rows alone, so that no daemon need die for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tako_lite.clock import SystemClock
from tako_lite.errors import StorageFull, StoreBusy
from tako_lite.records import Claimed, Schedule, StoredTrigger, new_id
from tako_lite.store.base import RunFilter
from tako_lite.store.opening import queue_at
from tako_lite.store.postgres.store import PostgresStore
from tests.faults.postgres.stores import stores
from tests.support.backends import PostgresBackend
from tests.support.store_bench import Bench

pytestmark = pytest.mark.anyio

JOIN = """
    INSERT INTO servers (boot_id, server_id, name, host, program, lease, renewed_at, joined_at)
    VALUES ('{boot_id}', '{boot_id}', '{boot_id}', 'here', '1', interval '1 hour', clock_timestamp(), 0)
"""
END = "UPDATE servers SET ended_at = 1 WHERE boot_id = '{boot_id}'"


class Site:
    """A store that takes part as a server."""

    def __init__(self, bench: Bench, backend: PostgresBackend, folder: Path) -> None:
        assert isinstance(bench.store, PostgresStore)
        self.bench = bench
        self.store = bench.store
        self.boot_id = str(bench.store.membership._constants["boot_id"])
        self._backend = backend
        self._folder = folder
        self._execute(JOIN)

    def die(self) -> None:
        """Others have seen its lease run out."""
        self._execute(END)

    async def recover(self) -> dict[str, int]:
        return dict(await self.store.recover_runs("nobody", self.boot_id))

    async def claim(self, group: str = "default") -> list[Claimed]:
        return (await self.store.claim_runs(group, 10)).runs

    def _execute(self, statement: str) -> None:
        self._backend.execute(self._folder, f"{statement.format(boot_id=self.boot_id)} RETURNING 1")


@pytest.fixture
async def sites(postgres_backend: PostgresBackend, tmp_path: Path) -> AsyncIterator[Sequence[Site]]:
    """Six servers on one queue."""
    async with stores(postgres_backend, tmp_path, *[postgres_backend.database.url] * 6) as benches:
        yield [Site(bench, postgres_backend, tmp_path) for bench in benches]


async def test_a_run_that_takes_servers_down_is_alone_from_the_second_on_and_ends_as_server_lost(sites: Sequence[Site]) -> None:
    id = await sites[0].bench.add()
    for number, (site, other) in enumerate(pairwise(sites), 1):
        hold: Any = "suspect" if number > 2 else None
        (run,) = (await site.store.claim_runs("default", 1, hold)).runs
        site.die()
        assert await other.recover() == {f"server-{number - 1}": 1}
        shown = await other.bench.show(run.id)
        assert shown.hold == ("suspect" if 2 <= number < 5 else None), number
    assert (shown.id, shown.state, shown.attempts, shown.crashes) == (id, "dead", 0, 0)
    assert shown.error is not None
    assert shown.error["reason"] == "server_lost"


async def test_what_a_server_stores_after_another_took_its_runs_changes_nothing(sites: Sequence[Site]) -> None:
    old, new, _ = sites[:3]
    id = await old.bench.add()
    (before,) = await old.claim()
    old.die()
    await new.recover()
    (run,) = await new.claim()
    assert await old.store.save_steps([old.bench.step(before, "a")]) == [None]
    await old.bench.complete(before, '"old"')
    await old.store.requeue_runs([(before.id, before.token)], None)
    assert await old.store.park_run(before.id, before.token, []) is None
    shown = await new.bench.show(id)
    assert (shown.state, shown.claim_token, shown.steps) == ("running", run.token, ())
    await new.bench.complete(run, '"new"')
    assert (await new.bench.show(id)).result == "new"


async def test_a_server_that_was_ended_claims_nothing_more(sites: Sequence[Site]) -> None:
    old, new = sites[:2]
    await old.bench.add()
    old.die()
    assert await old.claim() == []
    assert len(await new.claim()) == 1


async def test_a_claim_that_commits_after_its_server_was_ended_is_found_by_the_next_look(
    sites: Sequence[Site], postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    old, new = sites[:2]
    id = await old.bench.add()
    with closing(psycopg.connect(postgres_backend.database.url)) as claim:  # as a claim of the old server, which is slow
        claim.execute(f"SET search_path = {postgres_backend.schema(tmp_path)}")
        claim.execute(
            "UPDATE runs SET state = 'running', claim_token = 1, server = 'server-0', boot_id = %s WHERE id = %s",
            [old.boot_id, id],
        )
        old.die()
        assert await new.recover() == {}
        claim.commit()
    assert await new.recover() == {"server-0": 1}
    (run,) = await new.claim()
    assert (run.id, run.token) == (id, 2)


async def test_an_evaluation_on_a_dead_server_is_done_again_from_the_same_cursor(sites: Sequence[Site]) -> None:
    old, new = sites[:2]
    await old.store.put_triggers([StoredTrigger("files", "default", "thumbnail", 1_000)])

    async def evaluate(site: Site) -> list[Claimed]:
        await site.store.begin_evaluation("files", site.bench.new(workflow="@files"))
        return await site.claim()

    (first,) = await evaluate(old)
    await new.recover()
    assert await evaluate(new) == [], "a live server evaluates it"
    old.die()
    await new.recover()
    (again,) = await evaluate(new)
    assert again.id != first.id
    await old.bench.complete(first)
    assert (await new.store.list_triggers())[0].evaluation == "running"


async def test_each_slot_fires_once_over_five_servers_with_clocks_that_differ(sites: Sequence[Site]) -> None:
    five = sites[:5]
    for site in five:
        await site.store.put_schedules([Schedule("greet", "* * * * * *", "UTC", "latest", 0, None, False)], 0, ["greet"])
    for slot in range(1, 61):
        firing = (site.store.fire_schedule("greet", slot * 1000, [site.bench.new(run_at=slot * 1000)]) for site in five)
        assert sum(await asyncio.gather(*firing)) == 1
        late = five[slot % 5]  # its clock is a slot behind
        assert not await late.store.fire_schedule("greet", slot * 1000 - 1000, [late.bench.new()])
    assert len(await five[0].store.list_runs(RunFilter(), None)) == 60


async def test_a_server_whose_clock_is_an_hour_off_has_the_time_of_the_database(
    postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    class Ahead(SystemClock):
        def now(self) -> int:
            return super().now() + 3_600_000

    queue = queue_at(postgres_backend.database.url, tmp_path, schema=postgres_backend.schema(tmp_path))
    store = queue.open("process", Ahead(), "lax", new_id(), lambda effects: None)
    await store.start()
    try:
        assert abs(store.clock.now() - SystemClock().now()) < 5_000
        made = Bench(store, store.clock, [], queue)  # type: ignore[arg-type]
        await made.add()
        assert len((await store.claim_runs("default", 1)).runs) == 1
    finally:
        await store.stop()
        postgres_backend.forget(tmp_path)


# Neighbours in the database


@contextmanager
def locked(backend: PostgresBackend, folder: Path) -> Iterator[None]:
    """Another session holds the table of the runs."""
    with closing(psycopg.connect(backend.database.url)) as other:
        other.execute(f"LOCK TABLE {backend.schema(folder)}.runs IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def full(backend: PostgresBackend, folder: Path) -> Iterator[None]:
    """The disk has no room for another row of a run."""
    schema = backend.schema(folder)
    backend.database.execute(f"""
        CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {schema}.runs EXECUTE FUNCTION {schema}.refuse()
    """)
    try:
        yield
    finally:
        backend.database.execute(f"DROP TRIGGER full_disk ON {schema}.runs")


@pytest.mark.parametrize(("fault", "error"), [(locked, StoreBusy), (full, StorageFull)])
async def test_a_table_that_cannot_be_written_refuses_new_runs_and_keeps_outcomes(
    sites: Sequence[Site], postgres_backend: PostgresBackend, tmp_path: Path, fault: Any, error: type[Exception]
) -> None:
    bench = sites[0].bench
    run = await bench.running()
    with fault(postgres_backend, tmp_path):
        ending = asyncio.ensure_future(bench.complete(run))
        with pytest.raises(error):
            async with asyncio.timeout(30):
                await bench.add()
        assert isinstance(bench.store.trouble, error)
        assert not ending.done()
    async with asyncio.timeout(30):
        await ending
    assert await bench.state(run.id) == "succeeded"
    assert bench.store.trouble is None
    await bench.add()


async def test_a_column_that_is_added_under_load_fails_no_transition(
    sites: Sequence[Site], postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    """As a migration does: prepared plans are of the old shape then."""
    bench = sites[0].bench
    for number in range(8):
        for _ in range(8):  # the driver prepares what it has executed five times
            run = await bench.running()
            await bench.store.save_steps([bench.step(run, "a")])
            await bench.complete(run)
        runs = f"{postgres_backend.schema(tmp_path)}.runs"
        await asyncio.to_thread(postgres_backend.database.execute, f"ALTER TABLE {runs} ADD COLUMN later_{number} integer")
    assert {(await bench.show(run.id)).state} == {"succeeded"}
