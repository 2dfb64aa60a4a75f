"""What is asked of every peer on Redis: to empty a queue, to take runs one by one, to start them at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.peers.broker import redis
from bench.peers.clock import drain_rate, latencies

WITNESS = "BENCH_WITNESS"


def measure(
    folder: Path,
    count: int,
    worker: Callable[[], AbstractContextManager[None]],
    enqueue: Callable[[int], object],
    note: Callable[[float], object],
    left: Callable[[], int],
) -> dict[str, float]:
    """The figures of a peer. `worker` starts one worker process, `left` counts what still waits in the queue."""
    witness = folder / "witness"
    os.environ[WITNESS] = str(witness)
    with redis(folder):
        start = time.perf_counter()
        for number in range(count):
            enqueue(number)
        lone = count / (time.perf_counter() - start)
        with worker():
            drain = drain_rate(left, count)
            times = latencies(note, witness, 100, 0.03)
    return {
        "enqueue_one": lone,
        "drain": drain,
        "latency_p50": times[len(times) // 2],
        "latency_p99": times[int(len(times) * 0.99)],
    }
