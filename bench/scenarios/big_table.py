"""Whether a long past slows a drain."""

from __future__ import annotations

from bench.figures import Goal, Plan
from bench.seeds import finished
from bench.served import NO_OP, drained, pool

MOST_RUNS = 3
GOALS = {
    "with_past": Goal("drain with 5,000,000 finished rows, concurrency 100"),
    "share": Goal("drain with 5,000,000 finished rows ÷ empty table", "×", least=0.9),
}


def measure(plan: Plan) -> dict[str, float]:
    queue = finished(plan, plan.size(5_000_000, 500_000))
    payloads = [{"n": number} for number in range(plan.size(20_000, 8_000))]
    empty = drained(plan, pool(100), NO_OP, payloads).per_second
    full = drained(plan, pool(100), NO_OP, payloads, queue=queue).per_second
    return {"with_past": full, "share": full / empty}
