"""Whether the daemon's memory grows with the queue."""

from __future__ import annotations

from bench.figures import Goal, Plan
from bench.processes import proportional_bytes
from bench.served import NO_OP, Served, pool, warm_up

MOST_RUNS = 2
MIB = 2**20
GOALS = {
    "empty": Goal("daemon, PSS, queue empty", "MiB"),
    "growth": Goal("daemon, PSS, 200,000 pending beyond empty", "MiB", most=20),
}


def measure(plan: Plan) -> dict[str, float]:
    count = plan.size(200_000, 20_000)
    with Served(plan, pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        empty = proportional_bytes(project.pid)
        project.client.enqueue_many("work", ({"n": number} for number in range(count)))
        if project.group("default")["pending"] != count:
            raise RuntimeError("not every run is in the queue")
        return {"empty": empty / MIB, "growth": (proportional_bytes(project.pid) - empty) / MIB}
