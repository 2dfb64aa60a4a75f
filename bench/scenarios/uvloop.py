"""The daemon's event loop: Python's own against uvloop, where that is installed."""

from __future__ import annotations

from dataclasses import replace

from bench.figures import Goal, Loop, Plan
from bench.machine import has_uvloop
from bench.scenarios import drain, enqueue_lone

MOST_RUNS = 99
GOALS = {
    "drain_10": Goal("uvloop ÷ asyncio: drain, concurrency 10", "×"),
    "drain_100": Goal("uvloop ÷ asyncio: drain, concurrency 100", "×"),
    "enqueue_32": Goal("uvloop ÷ asyncio: 32 producers", "×"),
}


def measure(plan: Plan) -> dict[str, float]:
    if not has_uvloop():
        return {}
    asyncio, uvloop = _rates(plan, "asyncio"), _rates(plan, "uvloop")
    return {key: uvloop[key] / asyncio[key] for key in GOALS}


def _rates(plan: Plan, loop: Loop) -> dict[str, float]:
    plan = replace(plan, loop=loop)
    drains = drain.measure(plan)
    many = enqueue_lone.measure(plan)["many"]
    return {"drain_10": drains["concurrency_10"], "drain_100": drains["concurrency_100"], "enqueue_32": many}
