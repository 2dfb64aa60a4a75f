"""From enqueue to the first line of the handler, with the group asleep: a worker is forked and imports the module."""

from __future__ import annotations

import time

from bench.arrivals import percentile, sample
from bench.figures import Goal, Plan
from bench.scenarios.latency import SOURCE
from bench.served import Served, wait_until

MOST_RUNS = 99
GOALS = {
    "p50": Goal("enqueue → handler, from zero, p50", "ms", most=8, floor="floor_cold.p50"),
    "worst": Goal("enqueue → handler, from zero, worst", "ms"),
}


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, '[workflows]\nidle_timeout = "50ms"\n', SOURCE) as project:

        def until_asleep() -> None:
            wait_until(lambda: not project.group("default")["workers"], "the group is asleep", 0.05)
            time.sleep(0.05)

        sample(project, "work", 2, until_asleep)
        times = sample(project, "work", plan.size(20, 8), until_asleep)
        return {"p50": percentile(times, 0.5), "worst": times[-1]}
