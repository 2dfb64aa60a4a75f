"""A queue in PostgreSQL that has a hard time: an old snapshot is held, a million runs have ended, each transaction notifies.

Measured by its name alone (`make bench ARGS=postgresql_load`): it takes minutes. The database is one of its own, with fsync.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

from bench.database import cluster
from bench.figures import Goal, Plan
from bench.scenarios.postgresql import drain_rate
from bench.served import LIMIT, NO_OP, Served, pool, warm_up
from tako_lite.client import Client
from tests.support.postgres import missing

MOST_RUNS = 1
PRODUCERS: Final = 32
GOALS = {
    "before": Goal("PostgreSQL: a steady load, concurrency 100"),
    "held": Goal("PostgreSQL: the same at the end of 2 min of a held snapshot", "% of before", least=70),
    "few_rows": Goal("PostgreSQL: drain, concurrency 100, beside nothing"),
    "many_rows": Goal("PostgreSQL: the same beside 1,000,000 ended runs", "% of that", least=90),
    "silent": Goal("PostgreSQL: 32 clients enqueue in their transactions, notify=False"),
    "notifying": Goal("PostgreSQL: the same with notifications", "% of that", least=90),
}
_BATCH: Final = 2_000
_ENDED: Final = """
    INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, max_attempts, created_at,
        started_at, finished_at, result, payload)
    SELECT lpad(n::text, 36, '0'), 'work', 'default', 'default', 'succeeded', true, at, at, 3, at, at, at, 'null', '{{"n": 1}}'
    FROM generate_series(1, {count}) AS n,
        LATERAL (SELECT (extract(epoch FROM now() - interval '2 hours') * 1000)::bigint + n AS at) AS moments
"""
"""Of the last two hours: retention deletes none of them."""


def measure(plan: Plan) -> dict[str, float]:
    if missing() is not None:
        return {}
    with cluster() as server:
        url = server.server.dsn
        return {**_held_snapshot(plan, url), **_ended_rows(plan, url), **_notifications(plan, url)}


def _toml(url: str, schema: str) -> str:
    return f'[queue]\nurl = "{url}"\nschema = "{schema}"\n'


def _held_snapshot(plan: Plan, url: str) -> dict[str, float]:
    import psycopg

    with Served(plan, _toml(url, "held") + pool(100), NO_OP) as project:
        warm_up(project)
        with _load(project) as rate:
            rate(plan.size(10, 3))
            before = rate(plan.size(30, 8))
            with closing(psycopg.connect(url)) as other:
                other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                other.execute("SELECT count(*) FROM held.runs")
                rate(plan.size(90, 15))
                held = rate(plan.size(30, 8))
    return {"before": before, "held": 100 * held / before}


@contextmanager
def _load(project: Served) -> Iterator[_Load]:
    load = _Load(project)
    yield load
    project.client.wait(load.last, timeout=LIMIT)


class _Load:
    """Keeps two to three batches of runs in the queue; a call measures for some seconds, and returns the runs a second."""

    def __init__(self, project: Served) -> None:
        self._client = project.client
        self._ahead = [self._enqueue() for _ in range(3)]

    def __call__(self, seconds: float) -> float:
        start, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            self._client.wait(self._ahead.pop(0), timeout=LIMIT)
            self._ahead.append(self._enqueue())
            done += _BATCH
        return done / elapsed

    @property
    def last(self) -> str:
        return self._ahead[-1]

    def _enqueue(self) -> str:
        return self._client.enqueue_many("work", [{"n": number} for number in range(_BATCH)])[-1]


def _ended_rows(plan: Plan, url: str) -> dict[str, float]:
    import psycopg

    count, ended = plan.size(10_000, 3_000), plan.size(1_000_000, 200_000)
    toml = _toml(url, "rows")
    few = drain_rate(plan, toml, pool(100), NO_OP, count)
    with closing(psycopg.connect(url, autocommit=True, options="-c search_path=rows")) as connection:
        connection.execute(_ENDED.format(count=ended).encode())
        connection.execute("VACUUM (ANALYZE) runs")
        connection.execute("CHECKPOINT")
    many = drain_rate(plan, toml, pool(100), NO_OP, count)
    return {"few_rows": few, "many_rows": 100 * many / few}


def _notifications(plan: Plan, url: str) -> dict[str, float]:
    rates: dict[bool, list[float]] = {False: [], True: []}
    with Served(plan, _toml(url, "notified") + pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        for notify in (False, True, True, False):
            each = plan.size(400, 150)
            rates[notify].append(PRODUCERS * each / _transactions(project.root, url, each, notify))
    silent, notifying = (sum(rates[notify]) / 2 for notify in (False, True))
    return {"silent": silent, "notifying": 100 * notifying / silent}


def _transactions(root: Path, url: str, each: int, notify: bool) -> float:
    """Seconds until all producers, which begin together, have committed their transactions."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(PRODUCERS + 1)
    arguments = (root, url, each, notify, gate)
    processes = [context.Process(target=_producer, args=arguments, daemon=True) for _ in range(PRODUCERS)]
    for process in processes:
        process.start()
    gate.wait(60)
    start = time.perf_counter()
    gate.wait(300)
    elapsed = time.perf_counter() - start
    for process in processes:
        process.join()
    return elapsed


def _producer(root: Path, url: str, count: int, notify: bool, gate: Barrier) -> None:
    import psycopg

    with Client(root) as client, closing(psycopg.connect(url)) as connection:
        client.call("workflows")
        gate.wait(60)
        for number in range(count):
            client.enqueue("work", {"n": number}, connection=connection, notify=notify)
            connection.commit()
        gate.wait(300)
