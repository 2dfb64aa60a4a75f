"""The latency of mail while `media` is full and slow runs wait, against the same without them."""

from __future__ import annotations

import os
import subprocess

from bench.arrivals import at_random, percentile, sample
from bench.figures import Goal, Plan
from bench.scenarios import warm_floor
from bench.served import PYTHON, Served, wait_until

MOST_RUNS = 99
WAITING = 200
GOALS = {
    "alone": Goal("mail p99, media asleep", "ms"),
    "beside": Goal("mail p99, media full, 200 waiting", "ms"),
    "ratio": Goal("mail p99, media full ÷ asleep", "×", most=1.5),
    "busy_ratio": Goal("the same while media computes on both cores (nice 10)", "×", most=1.5, floor="isolation.busy_floor"),
    "busy_floor": Goal("the least program of a warm start, the same beside computing processes", "×"),
}

_TOML = """
[workflows]
drain_timeout = "100ms"
[workflows.email]
workers = 1
concurrency = 20

[workflows.media]
concurrency = 4
nice = 10
"""
_SOURCE = """
@workflow("mail", worker="email")
async def mail(payload, step):
    arrived(payload)

@workflow("thumbnail", worker="media")
def thumbnail(payload, step):
    time.sleep(600)
"""
_COMPUTING = """
@workflow("mail", worker="email")
async def mail(payload, step):
    arrived(payload)

@workflow("thumbnail", worker="media")
def thumbnail(payload, step):
    end = time.monotonic() + 600
    while time.monotonic() < end:
        sum(range(1000))
"""
_COMPUTE = "while True: sum(range(1000))"


def measure(plan: Plan) -> dict[str, float]:
    alone, beside = _p99(plan, _SOURCE)
    idle, busy = _p99(plan, _COMPUTING)
    ratios = {"ratio": beside / alone, "busy_ratio": busy / idle, "busy_floor": _floor(plan)}
    return {"alone": alone, "beside": beside, **ratios}


def _floor(plan: Plan) -> float:
    """How much later the least program is beside as many computing processes as there are processors."""
    alone = warm_floor.measure(plan)["p99"]
    computing = [subprocess.Popen(["nice", "-n", "10", PYTHON, "-c", _COMPUTE]) for _ in range(os.cpu_count() or 1)]
    try:
        return warm_floor.measure(plan)["p99"] / alone
    finally:
        for process in computing:
            process.kill()
            process.wait()


def _p99(plan: Plan, source: str) -> tuple[float, float]:
    """The p99 of mail without and with the slow runs, in milliseconds."""
    count = plan.size(400, 100)
    with Served(plan, _TOML, source) as project:
        project.wait_for_workers("email")
        sample(project, "mail", 20, at_random(0.005))
        alone = sample(project, "mail", count, at_random(0.01))
        project.client.enqueue_many("thumbnail", [None] * (WAITING + 4))
        wait_until(lambda: (media := project.group("media"))["busy"] == 4 and media["pending"] == WAITING, "media is full")
        beside = sample(project, "mail", count, at_random(0.01))
        return percentile(alone, 0.99), percentile(beside, 0.99)
