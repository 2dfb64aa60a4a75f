"""How long runs take from their enqueue to the first line of their handler."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bench.served import Served, wait_until


def sample(project: Served, workflow: str, count: int, pause: Callable[[], None]) -> list[float]:
    """Enqueue runs one by one with a pause before each; their latencies in milliseconds, sorted.

    The handler appends what it measured with the same wall clock to the project's witness.
    """
    before = len(_lines(project))
    for _ in range(count):
        pause()
        project.client.enqueue(workflow, {"sent": time.time()})
    lines = wait_until(
        lambda: found if len(found := _lines(project)[before:]) == count else [], f"{count} handlers of {workflow} began"
    )
    return sorted(float(line) * 1000 for line in lines)


def at_random(mean: float) -> Callable[[], None]:
    """Pauses as between independent arrivals, so that nothing falls in step with a timer."""
    return lambda: time.sleep(random.expovariate(1 / mean))


def percentile(ordered: list[float], share: float) -> float:
    """The value that so many of the others do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _lines(project: Served) -> list[str]:
    return project.witness.read_text().splitlines() if project.witness.exists() else []
