"""Fifty thousand runs from one call, with nobody working on them."""

from __future__ import annotations

import time

from bench.figures import Goal, Plan
from bench.served import NO_OP, Served, pool, warm_up

MOST_RUNS = 99
GOALS = {"runs": Goal("enqueue_many of 50,000", least=200_000, floor="floor_requests.bulk")}
COUNT = 50_000


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        payloads = [{"n": number} for number in range(COUNT)]
        start = time.perf_counter()
        ids = project.client.enqueue_many("work", payloads)
        elapsed = time.perf_counter() - start
        if len(set(ids)) != COUNT or project.group("default")["pending"] != COUNT:
            raise RuntimeError("not every run is in the queue")
        return {"runs": COUNT / elapsed}
