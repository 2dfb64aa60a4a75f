"""procrastinate on PostgreSQL, with fsync. Run where it is installed: `python -m bench.peers.procrastinate FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from bench.database import cluster
from bench.peers.clock import arrived, drain_rate, latencies

URL: Final = "BENCH_URL"
WITNESS: Final = "BENCH_WITNESS"
CONCURRENCY: Final = (10, 100)


def _app(connector: Any) -> Any:
    app = App(connector=connector)
    app.task(name="nothing")(_nothing)
    app.task(name="note")(_note)
    return app


async def _nothing(n: int) -> None:
    pass


async def _note(sent: float) -> None:
    arrived(Path(os.environ[WITNESS]), sent)


def main(folder: Path, count: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    with cluster() as server:
        url = os.environ[URL] = server.server.dsn
        witness = folder / "procrastinate-witness"
        os.environ[WITNESS] = str(witness)
        with _app(SyncPsycopgConnector(conninfo=url)).open() as app:
            app.schema_manager.apply_schema()
            rates = []
            for concurrency in CONCURRENCY:
                start = time.perf_counter()
                for value in range(count):
                    app.configure_task("nothing").defer(n=value)
                figures["enqueue_one"] = count / (time.perf_counter() - start)
                rates.append(_beside_worker(concurrency, partial(drain_rate, partial(_left, url), count)))
            figures["drain"] = max(rates)
            enqueue = lambda sent: app.configure_task("note").defer(sent=sent)  # noqa: E731
            times = _beside_worker(10, partial(latencies, enqueue, witness, 60, 0.05))
    figures["latency_p50"] = times[len(times) // 2]
    figures["latency_p99"] = times[int(len(times) * 0.99)]
    return figures


def _beside_worker(concurrency: int, work: Any) -> Any:
    worker = subprocess.Popen([sys.executable, "-m", "bench.peers.procrastinate", "work", str(concurrency)])
    try:
        return work()
    finally:
        worker.kill()
        worker.wait()


async def _work(concurrency: int) -> None:
    async with _app(PsycopgConnector(conninfo=os.environ[URL])).open_async() as app:
        await app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)


def _left(url: str) -> int:
    with closing(psycopg.connect(url)) as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return int(connection.execute(query).fetchall()[0][0])


if __name__ == "__main__":
    if sys.argv[1] == "work":
        asyncio.run(_work(int(sys.argv[2])))
    else:
        sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
