"""Two servers on one PostgreSQL database, all on this machine: how fast, how soon, and what their deaths cost.

The database is one of its own, with fsync. Left out where PostgreSQL or psycopg is not installed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.arrivals import at_random, percentile, sample
from bench.database import cluster
from bench.figures import Goal, Plan
from bench.served import NO_OP, Served, pool, wait_until
from tests.support.postgres import missing

MOST_RUNS = 3
LEASE: Final = 15
GOALS = {
    "one": Goal("PostgreSQL: drain, one server, concurrency 100"),
    "two": Goal("PostgreSQL: drain, two servers beside the database", "× one", least=0.9),
    "latency_p50": Goal("PostgreSQL: enqueue on one server → handler on another, p50", "ms", most=15),
    "latency_p99": Goal("the same, p99", "ms"),
    "dead": Goal(f"PostgreSQL: a killed server's run starts elsewhere, lease {LEASE} s, worst", "s", most=LEASE + 6),
    "restarted": Goal("PostgreSQL: kill -9 of a daemon, serve → executing again, worst", "s", most=5),
}
_HOLDS: Final = """
@workflow("holds")
async def holds(payload):
    os.write(_witness, f"{time.time()} {os.getpid()}\\n".encode())
    await asyncio.sleep(600)
"""
_GPU: Final = """
@workflow("work", worker="gpu")
async def work(payload):
    arrived(payload)
"""


def measure(plan: Plan) -> dict[str, float]:
    if missing() is not None:
        return {}
    with cluster() as server:
        url = server.server.dsn
        one, two = _drains(plan, url)
        times = _latencies(plan, url)
        return {
            "one": one,
            "two": two / one,
            "latency_p50": percentile(times, 0.5),
            "latency_p99": percentile(times, 0.99),
            **_deaths(plan, url),
        }


@contextmanager
def _servers(plan: Plan, url: str, schema: str, source: str, *options: tuple[str, ...]) -> Iterator[list[Served]]:
    """A server for each tuple of options of `serve`; all write one witness, which is the first one's."""
    toml = f'[queue]\nurl = "{url}"\nschema = "{schema}"\nlease = "{LEASE}s"\n{pool(100)}'
    witness = plan.folder / f"witness-{schema}"
    witness.unlink(missing_ok=True)
    made = [
        Served(plan, toml, source, witness=witness, options=("--server", f"s{number}", *each))
        for number, each in enumerate(options)
    ]
    with made[0]:
        if len(made) == 1:
            yield made
            return
        with made[1]:
            wait_until(lambda: all(len(one.client.status()["servers"]) == 2 for one in made), "the servers see each other")
            yield made


def _drains(plan: Plan, url: str) -> tuple[float, float]:
    """Runs a second of one server and of two, in turn, the mean of two each."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for round in range(2):
        for count in (1, 2):
            schema = f"drain_{round}_{count}"
            with _servers(plan, url, schema, NO_OP, *([()] * count)) as servers:
                rates[count].append(_drain(servers, url, schema, plan.size(10_000, 2_000)))
    return sum(rates[1]) / 2, sum(rates[2]) / 2


def _drain(servers: list[Served], url: str, schema: str, count: int) -> float:
    import psycopg

    client = servers[0].client
    for server in servers:
        server.wait_for_workers("default")
    client.wait(client.enqueue("work", None).id, timeout=60)
    client.call("pause", group="default")
    client.enqueue_many("work", [{"n": number} for number in range(count)])
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        left = f"SELECT 1 FROM {schema}.runs WHERE state IN ('pending', 'running') LIMIT 1"  # noqa: S608  # our own names
        start = time.perf_counter()
        client.call("resume", group="default")
        wait_until(lambda: not connection.execute(left).fetchall(), "the queue is empty", 0.02)
        return count / (time.perf_counter() - start)


def _latencies(plan: Plan, url: str) -> list[float]:
    with _servers(plan, url, "latency", _GPU, ("--groups", "default"), ("--groups", "gpu")) as (here, there):
        there.wait_for_workers("gpu")
        sample(here, "work", 10, at_random(0.02))
        return sample(here, "work", plan.size(100, 30), at_random(0.25))


def _deaths(plan: Plan, url: str) -> dict[str, float]:
    dead, restarted = [], []
    for round in range(plan.size(3, 1)):
        with _servers(plan, url, f"deaths_{round}", _HOLDS, (), ()) as (first, second):
            second.pause("default")
            first.client.call("resume", group="default")
            first.client.enqueue("holds")
            holder = _holder(first, second)
            begun = time.time()
            holder.die()
            holder.start()
            restarted.append(_next_start(first.witness, 2) - begun)
            holder = _holder(first, second)
            status: dict[str, Any] = holder.client.status()
            begun = time.time()
            for pid in (status["daemon"]["pid"], status["daemon"]["zygote_pid"], *_workers(status)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            dead.append(_next_start(first.witness, 3) - begun)
    return {"dead": max(dead), "restarted": max(restarted)}


def _holder(*servers: Served) -> Served:
    """The server that executes the run."""

    def found() -> list[Served]:
        starts = _starts(servers[0].witness)
        return [one for one in servers if starts and starts[-1][1] in _workers(one.client.status())]

    return wait_until(found, "a server executes the run")[0]


def _workers(status: dict[str, Any]) -> list[int]:
    return [worker["pid"] for group in status["groups"] for worker in group["workers"]]


def _next_start(witness: Path, number: int) -> float:
    """When the run was started for the n-th time."""
    return wait_until(lambda: _starts(witness)[number - 1 : number], f"start {number} of the run")[0][0]


def _starts(witness: Path) -> list[tuple[float, int]]:
    """When and in which process the run was started."""
    lines = witness.read_text().splitlines() if witness.exists() else []
    return [(float(at), int(pid)) for at, pid in map(str.split, lines)]
