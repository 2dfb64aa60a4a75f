"""DBOS on SQLite, with its defaults. Run where dbos is installed: `python -m bench.peers.dbos FOLDER COUNT`.

`bench.peers.dbos_postgresql` is the same on PostgreSQL.
"""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSClient

from bench.peers.clock import arrived, drain_rate, latencies


@DBOS.workflow()
def nothing(payload: dict[str, int]) -> None:
    pass


@DBOS.step()
def number(value: int) -> int:
    return value


@DBOS.workflow()
def three_steps(payload: dict[str, int]) -> None:
    number(1)
    number(2)
    number(3)


@DBOS.workflow()
def note(sent: float) -> None:
    arrived(Path(os.environ["BENCH_WITNESS"]), sent)


def main(folder: Path, count: int, url_of: Callable[[str], str]) -> dict[str, float]:
    """The figures; `url_of` makes an empty database of each name."""
    figures: dict[str, float] = {}
    for workflow, share, key in (("nothing", 1, "drain"), ("three_steps", 4, "three_step")):
        url = url_of(f"dbos-{key}")
        _make(url)
        client = DBOSClient(system_database_url=url)
        start = time.perf_counter()
        for value in range(count // share):
            client.enqueue({"queue_name": "work", "workflow_name": workflow}, {"n": value})
        figures.setdefault("enqueue_one", count / (time.perf_counter() - start))
        figures[key] = _beside_server(url, folder, partial(drain_rate, partial(_left, url), count // share))
        client.destroy()
    times = _latencies(folder, url_of("dbos-latency"))
    figures["latency_p50"] = times[len(times) // 2]
    figures["latency_p99"] = times[int(len(times) * 0.99)]
    return figures


def _latencies(folder: Path, url: str) -> list[float]:
    _make(url)
    client = DBOSClient(system_database_url=url)
    enqueue = partial(client.enqueue, {"queue_name": "work", "workflow_name": "note"})
    times: list[float] = _beside_server(url, folder, partial(latencies, enqueue, folder / "dbos-witness", 40, 0.1))
    client.destroy()
    return times


def _beside_server(url: str, folder: Path, work: Any) -> Any:
    environment = {**os.environ, "BENCH_WITNESS": str(folder / "dbos-witness")}
    server = subprocess.Popen([sys.executable, "-m", "bench.peers.dbos", "serve", url], env=environment)
    try:
        return work()
    finally:
        server.kill()
        server.wait()


def _make(url: str) -> None:
    """Make the tables, which a client does not."""
    subprocess.run([sys.executable, "-m", "bench.peers.dbos", "make", url], check=True)


def _launch(url: str) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "application_version": "1"})
    DBOS.launch()
    DBOS.register_queue("work")


def _left(url: str) -> int:
    query = "SELECT count(*) FROM workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as file:
            return int(file.execute(query).fetchone()[0])
    import psycopg

    with closing(psycopg.connect(url, options="-c search_path=dbos")) as connection:
        return int(connection.execute(query).fetchall()[0][0])


if __name__ == "__main__":
    if sys.argv[1] in ("make", "serve"):
        _launch(sys.argv[2])
        while sys.argv[1] == "serve":
            time.sleep(3600)
        DBOS.destroy()
    else:
        where = Path(sys.argv[1])
        sys.stdout.write(json.dumps(main(where, int(sys.argv[2]), lambda name: f"sqlite:///{where / name}.db")))
