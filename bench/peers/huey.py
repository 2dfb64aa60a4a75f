"""Huey on SQLite, with an fsync for each commit. Run where huey is installed: `python -m bench.peers.huey FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.consumer import Consumer

from bench.peers.clock import arrived, drain_rate, latencies

POOLS = {"process, 1": ("process", 1), "thread, 10": ("thread", 10)}


def main(folder: Path, count: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    rates = []
    for number, (kind, workers) in enumerate(POOLS.values()):
        path = folder / f"huey-{number}.db"
        huey = SqliteHuey("bench", filename=str(path), fsync=True)
        nothing = huey.task()(_nothing)
        start = time.perf_counter()
        for value in range(count):
            nothing({"n": value})
        figures["enqueue_one"] = count / (time.perf_counter() - start)
        rates.append(_with_consumer(huey, kind, workers, partial(drain_rate, partial(_left, path), count)))
    figures["drain"] = max(rates)
    times = _latencies(folder)
    figures["latency_p50"] = times[len(times) // 2]
    figures["latency_p99"] = times[int(len(times) * 0.99)]
    return figures


def _latencies(folder: Path) -> list[float]:
    huey = SqliteHuey("bench", filename=str(folder / "huey-latency.db"), fsync=True)
    witness = folder / "huey-witness"
    note = huey.task()(_note)
    return list(_with_consumer(huey, "process", 1, partial(latencies, partial(note, str(witness)), witness, 60, 0.05)))


def _with_consumer(huey: Any, kind: str, workers: int, work: Any) -> Any:
    consumer = multiprocessing.get_context("fork").Process(target=_consume, args=(huey, kind, workers))
    consumer.start()
    try:
        return work()
    finally:
        consumer.terminate()
        consumer.join()


def _consume(huey: Any, kind: str, workers: int) -> None:
    Consumer(huey, workers=workers, worker_type=kind, periodic=False).run()


def _left(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM task").fetchone()
        return int(count)


def _nothing(payload: dict[str, int]) -> None:
    pass


def _note(witness: str, sent: float) -> None:
    arrived(Path(witness), sent)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
