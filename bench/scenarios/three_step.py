"""Workflows of three stored steps, each of which does nothing."""

from __future__ import annotations

from bench.figures import Goal, Plan
from bench.served import drained, pool

MOST_RUNS = 99
GOALS = {"workflows": Goal("three-step workflows, concurrency 100", share=0.25, floor="floor_drain.steps")}

SOURCE = """
async def nothing(number):
    return number

@workflow("work")
async def work(payload, step):
    await step.run("first", nothing, 1)
    await step.run("second", nothing, 2)
    await step.run("third", nothing, 3)
"""


def measure(plan: Plan) -> dict[str, float]:
    payloads = [{"n": number} for number in range(plan.size(10_000, 3_000))]
    return {"workflows": drained(plan, pool(100), SOURCE, payloads).per_second}
