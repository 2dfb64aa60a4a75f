"""How a peer's program is timed from outside of it. Imported in the peers' environments: standard library only."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LIMIT: Final = 300.0
PAUSE: Final = 0.02


def drain_rate(left: Callable[[], int], total: int) -> float:
    """Runs a second from the moment the first of a queue is seen to be gone, so that no start-up counts."""
    give_up = time.monotonic() + LIMIT
    start, first = 0.0, total
    while (count := left()) > 0:
        if first == total and count < total:
            start, first = time.perf_counter(), count
        if time.monotonic() > give_up:
            raise RuntimeError(f"{count} of {total} runs are left after {LIMIT:g} s")
        time.sleep(PAUSE)
    if first == total:
        raise RuntimeError("the queue was empty at the first look: give it more work")
    return first / (time.perf_counter() - start)


def latencies(enqueue: Callable[[float], object], witness: Path, count: int, mean: float) -> list[float]:
    """Milliseconds from enqueue to handler for random arrivals, sorted; the handler calls `arrived`."""
    before = len(_lines(witness))
    for _ in range(count):
        time.sleep(random.expovariate(1 / mean))
        enqueue(time.time())
    give_up = time.monotonic() + LIMIT
    while len(lines := _lines(witness)[before:]) < count:
        if time.monotonic() > give_up:
            raise RuntimeError(f"{len(lines)} of {count} handlers began")
        time.sleep(PAUSE)
    return sorted(float(line) * 1000 for line in lines)


def arrived(witness: Path, sent: float) -> None:
    """The first line of a handler: it writes down how long its run took to get here."""
    waited = time.time() - sent
    descriptor = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{waited}\n".encode())
    os.close(descriptor)


def _lines(witness: Path) -> list[str]:
    return witness.read_text().splitlines() if witness.exists() else []
