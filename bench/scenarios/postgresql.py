"""A queue in PostgreSQL beside plain psycopg on the same server, with the tables and statements of this project.

The server is one of its own, with fsync, on this machine; what is raw and what is served is measured in turn. Left out where
PostgreSQL or psycopg is not installed.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, Final

from bench.arrivals import at_random, percentile, sample
from bench.database import cluster
from bench.figures import Goal, Plan
from bench.scenarios.enqueue_lone import PRODUCERS, produce
from bench.scenarios.latency import SOURCE as ARRIVES
from bench.scenarios.three_step import SOURCE as THREE_STEPS
from bench.served import NO_OP, Served, pool, warm_up
from tako_lite.records import NewRun, new_ids
from tests.support.postgres import missing

MOST_RUNS = 3
GOALS = {
    "raw_100": Goal("PostgreSQL, raw: claim + complete, batches of 100"),
    "raw_10": Goal("PostgreSQL, raw: claim + complete, batches of 10"),
    "raw_bulk": Goal("PostgreSQL, raw: inserts by 10,000"),
    "raw_lone": Goal("PostgreSQL, raw: inserts one by one"),
    "drain_100": Goal("PostgreSQL: drain, concurrency 100", "% of raw by 100", least=50),
    "drain_10": Goal("PostgreSQL: drain, concurrency 10", "% of raw by 10", least=35),
    "three_step": Goal("PostgreSQL: three-step workflows, concurrency 100", "% of raw by 100", least=25),
    "enqueue_many": Goal("PostgreSQL: enqueue_many", "% of raw by 10,000", least=45),
    "lone": Goal("PostgreSQL: Client.enqueue, one producer", "% of raw one by one", least=40),
    "producers": Goal("PostgreSQL: Client.enqueue, 32 producers", "% of raw one by one", least=200),
}
_DUE: Final = 1_700_000_000_000
_NAMES: Final = {"server": "bench", "boot_id": "bench", "elsewhere": "[]", "lowest": -(2**63), "first": ""}


def measure(plan: Plan) -> dict[str, float]:
    if missing() is not None:
        return {}
    with cluster() as server:
        url = server.server.dsn
        raw = _raw(plan, url)
        toml = f'[queue]\nurl = "{url}"\n'
        count = plan.size(10_000, 3_000)
        served = {
            "drain_100": drain_rate(plan, toml, pool(100), NO_OP, count) / raw["raw_100"],
            "drain_10": drain_rate(plan, toml, pool(10), NO_OP, count // 2) / raw["raw_10"],
            "three_step": drain_rate(plan, toml, pool(100), THREE_STEPS, count // 3) / raw["raw_100"],
            **_enqueues(plan, toml, raw),
        }
    return raw | {key: 100 * share for key, share in served.items()}


def beside_peers(plan: Plan) -> dict[str, float]:
    """What peers on PostgreSQL are held against, on a server of its own."""
    with cluster() as server:
        toml = f'[queue]\nurl = "{server.server.dsn}"\n'
        count = plan.size(10_000, 3_000)
        with Served(plan, toml + pool(10), ARRIVES) as project:
            project.wait_for_workers("default")
            sample(project, "work", 20, at_random(0.01))
            times = sample(project, "work", plan.size(100, 60), at_random(0.05))
            project.pause("default")
            alone = plan.size(2_000, 500)
            one = alone / produce(project, 1, alone)
        return {
            "drain_10": drain_rate(plan, f'{toml}schema = "ten"\n', pool(10), NO_OP, count // 2),
            "drain_100": drain_rate(plan, f'{toml}schema = "hundred"\n', pool(100), NO_OP, count),
            "three_step": drain_rate(plan, f'{toml}schema = "steps"\n', pool(100), THREE_STEPS, count // 3),
            "enqueue_one": one,
            "latency_p50": percentile(times, 0.5),
            "latency_p99": percentile(times, 0.99),
        }


def drain_rate(plan: Plan, toml: str, settings: str, source: str, count: int) -> float:
    """Runs a second."""
    with Served(plan, toml + settings, source) as project:
        warm_up(project)
        project.pause("default")
        ids = project.client.enqueue_many("work", [{"n": number} for number in range(count)])
        project.wait_for_workers("default")
        return count / project.drain("default", ids[-1])


def _enqueues(plan: Plan, toml: str, raw: dict[str, float]) -> dict[str, float]:
    with Served(plan, toml + pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        count = plan.size(20_000, 5_000)
        start = time.perf_counter()
        project.client.enqueue_many("work", [{"n": number} for number in range(count)])
        many = count / (time.perf_counter() - start)
        alone, each = plan.size(2_000, 500), plan.size(200, 50)
        one = alone / produce(project, 1, alone)
        several = PRODUCERS * each / produce(project, PRODUCERS, each)
    return {"enqueue_many": many / raw["raw_bulk"], "lone": one / raw["raw_lone"], "producers": several / raw["raw_lone"]}


def _raw(plan: Plan, url: str) -> dict[str, float]:
    from tako_lite.store.postgres.address import postgres_address
    from tako_lite.store.postgres.connection import connect, writer_settings
    from tako_lite.store.postgres.migrate import migrate

    address = postgres_address(url, schema="raw")
    with closing(connect(address, "raw", writer_settings("disk"))) as connection:
        migrate(connection, address)
        count = plan.size(20_000, 5_000)
        bulk = _insert(connection, count)
        hundred = _claim_and_complete(connection, 100, count)
        _insert(connection, count // 4)
        ten = _claim_and_complete(connection, 10, count // 4)
        alone = plan.size(1_000, 300)
        start = time.perf_counter()
        for _ in range(alone):
            _insert(connection, 1)
        lone = alone / (time.perf_counter() - start)
    return {"raw_100": hundred, "raw_10": ten, "raw_bulk": bulk, "raw_lone": lone}


def _insert(connection: Any, count: int) -> float:
    """Runs a second, in transactions of 10,000."""
    from tako_lite.store.postgres.transaction import PostgresTransaction
    from tako_lite.store.transitions.enqueue import enqueue_many

    like = NewRun("", "work", "default", "default", "", _DUE, 0, 3)
    ids = new_ids(count)
    start = time.perf_counter()
    for first in range(0, count, 10_000):
        with connection.transaction():
            transaction = PostgresTransaction(connection, _DUE, _NAMES)
            enqueue_many(transaction, [(like, [(id, '{"n":1}') for id in ids[first : first + 10_000]])])
    return count / (time.perf_counter() - start)


def _claim_and_complete(connection: Any, batch: int, count: int) -> float:
    """Runs a second: the outcomes of a batch and the claim of the next in one transaction."""
    from tako_lite.records import Claimed
    from tako_lite.store.postgres.transaction import PostgresTransaction
    from tako_lite.store.transitions.rows import CompletedRun

    done: list[CompletedRun] = []
    completed = 0
    start = time.perf_counter()
    while True:
        with connection.transaction():
            transaction = PostgresTransaction(connection, _DUE, _NAMES)
            sql = transaction.sql.runs
            completed += transaction.execute_many(sql.complete, done)
            claimed = transaction.rows(Claimed, sql.claim, group="default", hold=None, limit=batch, allowed=None, now=_DUE)
        if not claimed:
            break
        done = [CompletedRun(run.id, run.token, "null", 1, _DUE) for run in claimed]
    elapsed = time.perf_counter() - start
    if completed != count:
        raise RuntimeError(f"{completed} runs were completed, not {count}")
    return count / elapsed
