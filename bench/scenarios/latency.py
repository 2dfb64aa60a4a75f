"""From enqueue to the first line of the handler, with a warm worker and random arrivals."""

from __future__ import annotations

from statistics import mean

from bench.arrivals import at_random, percentile, sample
from bench.figures import Goal, Plan
from bench.scenarios import warm_floor
from bench.served import Served, pool

MOST_RUNS = 99
GOALS = {
    "p50": Goal("enqueue → handler, warm, p50", "ms"),
    "floor": Goal("the least program of this shape, warm, p50", "ms"),
    "of_floor": Goal("the first ÷ the second", "×", most=1.15),
    "p99": Goal("enqueue → handler, warm, p99", "ms"),
    "spread": Goal("the same, p99 ÷ p50", "×", most=2),
}

SOURCE = """
@workflow("work")
async def work(payload, step):
    arrived(payload)
"""


def measure(plan: Plan) -> dict[str, float]:
    before = warm_floor.measure(plan)
    with Served(plan, pool(10), SOURCE) as project:
        project.wait_for_workers("default")
        sample(project, "work", 20, at_random(0.005))
        times = sample(project, "work", plan.size(400, 100), at_random(0.015))
    floor = mean(ends["p50"] for ends in (before, warm_floor.measure(plan)))
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return {"p50": p50, "floor": floor, "of_floor": p50 / floor, "p99": p99, "spread": p99 / p50}
