"""How fast one worker empties a queue of handlers that do nothing."""

from __future__ import annotations

from bench.figures import Goal, Plan
from bench.served import NO_OP, Drained, drained, pool

MOST_RUNS = 99
GOALS = {
    "concurrency_10": Goal("drain, concurrency 10", share=0.25, floor="floor_drain.ten"),
    "concurrency_100": Goal("drain, concurrency 100", share=0.60, floor="floor_drain.hundred"),
    "daemon_10": Goal("drain, concurrency 10: the daemon's processor time a run", "µs"),
    "worker_10": Goal("drain, concurrency 10: the worker's processor time a run", "µs"),
    "daemon_100": Goal("drain, concurrency 100: the daemon's processor time a run", "µs"),
    "worker_100": Goal("drain, concurrency 100: the worker's processor time a run", "µs"),
}


def measure(plan: Plan) -> dict[str, float]:
    few = _drain(plan, 10, plan.size(15_000, 5_000))
    many = _drain(plan, 100, plan.size(30_000, 10_000))
    return {
        "concurrency_10": few.per_second,
        "concurrency_100": many.per_second,
        "daemon_10": few.daemon,
        "worker_10": few.worker,
        "daemon_100": many.daemon,
        "worker_100": many.worker,
    }


def _drain(plan: Plan, concurrency: int, count: int) -> Drained:
    return drained(plan, pool(concurrency), NO_OP, [{"n": number} for number in range(count)])
