"""From enqueue to the first line of the handler, with a warm worker and random arrivals."""

from __future__ import annotations

from bench.arrivals import at_random, percentile, sample
from bench.figures import Goal, Plan
from bench.served import Served, pool

MOST_RUNS = 99
GOALS = {
    "p50": Goal("enqueue → handler, warm, p50", "ms", note="(1.5 ms where an insert takes 0.11)"),
    "rate": Goal("the same, 1 ÷ p50", share=0.073, of="lone_insert"),
    "p99": Goal("enqueue → handler, warm, p99", "ms", most=5),
}

SOURCE = """
@workflow("work")
async def work(payload, step):
    arrived(payload)
"""


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, pool(10), SOURCE) as project:
        project.wait_for_workers("default")
        sample(project, "work", 20, at_random(0.005))
        times = sample(project, "work", plan.size(400, 100), at_random(0.015))
        p50 = percentile(times, 0.5)
        return {"p50": p50, "rate": 1000 / p50, "p99": percentile(times, 0.99)}
