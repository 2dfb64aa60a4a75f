"""Servers with other workflow files side by side, as while a release is rolled out: the newest announcement holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tako_lite.records import Schedule
from tako_lite.store.base import Expression, Limit
from tako_lite.store.postgres.address import postgres_address
from tako_lite.store.postgres.migrate import known
from tako_lite.units import Rate
from tests.faults.postgres.fleet import fleet_of
from tests.faults.postgres.older_release import SCHEMA, OlderServer, make_schema
from tests.faults.postgres.stores import stores
from tests.support.backends import PostgresBackend
from tests.support.project import wait_until
from tests.support.store_bench import Bench

HOURLY, DAILY = Expression("0 * * * *", "UTC"), Expression("0 0 * * *", "UTC")
HOUR = 3_600_000


@pytest.fixture
async def releases(postgres_backend: PostgresBackend, tmp_path: Path) -> AsyncIterator[Sequence[Bench]]:
    """A server of the older release, and one of the newer."""
    url = postgres_backend.database.url
    async with stores(postgres_backend, tmp_path, url, url) as made:
        yield made


def schedule(expression: Expression) -> Schedule:
    return Schedule("thumbnail", *expression, "latest", 0, None, False)


@pytest.mark.anyio
async def test_the_limit_that_was_announced_last_holds_on_every_server(releases: Sequence[Bench]) -> None:
    older, newer = releases
    await older.store.set_limits({"thumbnail": Limit(5)}, ["thumbnail"])
    await newer.store.set_limits({"thumbnail": Limit(2, rate=Rate(100, 1.0))}, ["thumbnail"])
    assert older.told[-1].limits is not None
    assert newer.told[-1].overrides, "the other servers are told"
    await older.store.read_limits_again()
    assert older.told[-1].limits == newer.told[-1].limits == {"thumbnail": Limit(2, rate=Rate(100, 1.0))}
    for _ in range(6):
        await older.add(workflow="thumbnail", limit_key="thumbnail", rate_key="thumbnail")
    claimed = [*(await older.store.claim_runs("default", 5)).runs, *(await newer.store.claim_runs("default", 5)).runs]
    assert len(claimed) == 2


@pytest.mark.anyio
async def test_a_limit_is_gone_with_the_release_that_has_none(releases: Sequence[Bench]) -> None:
    older, newer = releases
    await older.store.set_limits({"thumbnail": Limit(1), "other": Limit(1)}, ["thumbnail", "other"])
    await newer.store.put_catalog({}, [], 0, [], {"thumbnail": "hash"})
    await older.store.read_limits_again()
    for _ in range(3):
        await older.add(workflow="thumbnail", limit_key="thumbnail")
    assert len((await older.store.claim_runs("default", 5)).runs) == 3


@pytest.mark.anyio
async def test_a_slot_of_an_expression_that_was_replaced_is_not_taken(releases: Sequence[Bench]) -> None:
    older, newer = releases
    await older.store.put_schedules([schedule(HOURLY)], 0, ["thumbnail"])
    assert await older.store.fire_schedule("thumbnail", HOUR, [older.new()], HOURLY)
    await newer.store.put_schedules([schedule(DAILY)], 0, ["thumbnail"])
    assert newer.told[-1].overrides, "the other servers are told"
    assert not await older.store.fire_schedule("thumbnail", 2 * HOUR, [older.new()], HOURLY)
    assert [(row.cron, row.last_slot) for row in await older.store.list_schedules()] == [(DAILY.cron, HOUR)]
    assert await newer.store.fire_schedule("thumbnail", 24 * HOUR, [newer.new()], DAILY)


@pytest.mark.anyio
async def test_a_schedule_that_the_newer_release_has_removed_fires_nowhere(releases: Sequence[Bench]) -> None:
    older, newer = releases
    await older.store.put_schedules([schedule(HOURLY)], 0, ["thumbnail"])
    await newer.store.put_schedules([], 0, ["thumbnail"])
    assert not await older.store.fire_schedule("thumbnail", HOUR, [older.new()], HOURLY)
    assert await older.store.list_schedules() == []


TICKS = """
@workflow("tick", schedule="{schedule}", limit={limit})
async def tick(payload):
    return os.getcwd()

@workflow("{only}")
async def only(payload):
    return os.getcwd()
"""


@pytest.mark.timeout(180)
def test_a_release_that_is_rolled_out_replaces_schedules_and_limits_and_leaves_other_workflows(
    tmp_path: Path, postgres_backend: PostgresBackend
) -> None:
    with fleet_of(tmp_path, postgres_backend, "lax", "fra") as fleet:
        lax, fra = fleet.servers
        lax.workflow("a.py", TICKS.format(schedule="* * * * * *", limit=3, only="old"))
        fra.workflow("a.py", TICKS.format(schedule="0 3 * * *", limit=1, only="new"))
        lax.serve()
        wait_until(lambda: len(lax.query("SELECT 1 FROM runs WHERE workflow = 'tick'")) >= 2, "it ticks")
        fra.serve()
        fleet.wait_for_others()
        wait_until(lambda: _cron(lax) == _cron(fra) == "0 3 * * *", "lax has heard of the new schedule")
        ticks = lax.query("SELECT count(*) FROM runs WHERE workflow = 'tick'")
        assert lax.query("SELECT value FROM limits") == fra.query("SELECT value FROM limits")
        old, new = lax.enqueue("old"), fra.enqueue("new")
        assert (lax.wait(old)["result"], fra.wait(new)["result"]) == (str(lax.root), str(fra.root))
        assert lax.query("SELECT count(*) FROM runs WHERE workflow = 'tick'") == ticks


def _cron(server: object) -> str:
    (found,) = server.call("schedules")["schedules"]  # type: ignore[attr-defined]
    return str(found["schedule"] if "schedule" in found else found["cron"])


@pytest.mark.anyio
async def test_a_migration_under_load_of_the_release_before_fails_none_of_its_statements(
    postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    """Two servers of the older release work before, during and after; then one of this release does what is left."""
    backend = PostgresBackend(postgres_backend.database)  # with no schema of an earlier test
    address = postgres_address(backend.database.url, schema=backend.schema(tmp_path))
    make_schema(address)
    assert backend.execute(tmp_path, "SELECT schema_version FROM meta") == [(SCHEMA,)]
    older = [OlderServer(address, f"old-{number}") for number in range(2)]
    for server in older:
        server.start()
    try:
        wait_until(lambda: all(server.rounds > 20 or server.error for server in older), "both work")
        async with stores(backend, tmp_path, address.url) as (newer,):
            assert backend.execute(tmp_path, "SELECT schema_version FROM meta") == [(known()[-1].number,)]
            before = [server.rounds for server in older]
            wait_until(
                lambda: all(server.rounds > rounds + 20 or server.error for server, rounds in zip(older, before, strict=True)),
                "both work on the schema of this release",
            )
            await newer.complete(await newer.running(group="default"))
            for server in older:
                server.stop()
            assert [server.error for server in older] == [None, None]
            while runs := (await newer.store.claim_runs("default", 100)).runs:
                for run in runs:
                    await newer.complete(run)
            states = {await newer.state(id) for server in older for id in server.enqueued}
            assert states == {"succeeded"}
    finally:
        for server in older:
            server.stop()
