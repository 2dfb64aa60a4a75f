"""What a claim reads of the database does not grow with what has ended, also while an old snapshot keeps all of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tako_lite.store.base import Completed
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.store import PostgresStore
from tako_lite.store.postgres.transaction import PostgresTransaction
from tako_lite.store.postgres.watermark import BEGINNING, Place
from tako_lite.store.sql import Statement
from tests.faults.postgres.stores import stores
from tests.support.backends import PostgresBackend
from tests.support.profiles import scaled
from tests.support.store_bench import WORKER, Bench

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.full]

ENDED: Final = """
    INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, max_attempts, created_at,
        finished_at, payload)
    SELECT 'ended-' || n, 'greet', 'default', 'default', 'succeeded', true, n, n, 3, n, n, '{{}}'
    FROM generate_series(1, {count}) AS n RETURNING 1
"""
CLAIM: Final = Statement(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {queries.runs.claim}")


async def work(bench: Bench, count: int) -> None:
    """Claim runs by hundred and complete them."""
    done = 0
    while done < count:
        runs = (await bench.store.claim_runs("default", 100)).runs
        assert runs
        await bench.store.complete_runs([Completed(run.id, run.token, "null", WORKER) for run in runs])
        done += len(runs)


async def read_by_a_claim(bench: Bench, place: Place | None = None) -> int:
    """The blocks that a claim of ten runs from a place on reads; it is rolled back."""
    store = bench.store
    assert isinstance(store, PostgresStore)
    assert store._session is not None
    session, constants = store._session, {**store._constants, **(BEGINNING if place is None else place._asdict())}

    def read() -> int:
        with session.connection().transaction(force_rollback=True) as undone:
            transaction = PostgresTransaction(undone.connection, bench.clock.now(), constants)
            plan = transaction.value(CLAIM, group="default", hold=None, limit=10, allowed=None, now=bench.clock.now())[0][
                "Plan"
            ]
            return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    found: int = await session.run(read)
    return found


async def test_a_million_ended_rows_do_not_change_what_a_claim_reads(postgres_backend: PostgresBackend, tmp_path: Path) -> None:
    async with stores(postgres_backend, tmp_path, postgres_backend.database.url) as (bench,):
        postgres_backend.execute(tmp_path, ENDED.format(count=1_000))
        await bench.store.enqueue_runs([bench.new() for _ in range(500)])
        await work(bench, 200)
        before = await read_by_a_claim(bench)
        postgres_backend.execute(tmp_path, ENDED.replace("'ended-'", "'more-'").format(count=scaled(50_000, 1_000_000)))
        assert await read_by_a_claim(bench) <= before + 10 * 3, "an index may be a level deeper, for each of ten runs"


async def test_a_snapshot_that_is_held_does_not_make_claims_read_more_and_more(
    postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    count = scaled(9_000, 60_000)
    async with stores(postgres_backend, tmp_path, postgres_backend.database.url) as (bench,):
        assert isinstance(bench.store, PostgresStore)
        watermarks = bench.store._watermarks
        await bench.store.enqueue_runs([bench.new() for _ in range(count + 1_000)])
        await work(bench, 500)
        before = await read_by_a_claim(bench)
        with closing(psycopg.connect(postgres_backend.database.url)) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute(f"SELECT count(*) FROM {postgres_backend.schema(tmp_path)}.runs")
            await work(bench, count - 500)
            watermarks._known.clear()  # as when its time is over
            await work(bench, 100)
            place = watermarks._known["default", None].place
            assert place is not None
            assert await read_by_a_claim(bench) > before * 2, "from the beginning, it passes all the others"
            assert await read_by_a_claim(bench, place) <= before + 100


async def test_a_run_before_the_watermark_starts_once_nothing_is_due_behind_it(
    postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    async with stores(postgres_backend, tmp_path, postgres_backend.database.url) as (bench,):
        assert isinstance(bench.store, PostgresStore)
        await bench.store.enqueue_runs([bench.new() for _ in range(500)])
        with closing(psycopg.connect(postgres_backend.database.url)) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute(f"SELECT count(*) FROM {postgres_backend.schema(tmp_path)}.runs")
            await work(bench, 400)
            bench.store._watermarks._known["default", None] = bench.store._watermarks._known["default", None]._replace(
                place=Place(bench.clock.now(), ""), until=float("inf")
            )
            urgent = await bench.add(priority=100)
            started = []
            while claims := await bench.store.claim_runs("default", 50):
                started += [run.id for run in claims.runs]
                if not claims.more:
                    break
            assert (len(started), urgent in started) == (101, True)
