"""What one more run costs as the queue, its past, the number of groups and the payloads grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.figures import Goal, Plan
from bench.seeds import finished, pending
from bench.served import NO_OP, Served, drained, pool

MOST_RUNS = 3
DEPTHS: Final = (1_000, 10_000, 100_000, 1_000_000)
GROUPS: Final = (1, 10, 50)
PAYLOADS: Final = (100, 10_000, 1_000_000)
UNNOTICED: Final = 2.0
"""The most that a run may cost over 1,000 times as many rows, and a byte in a payload 100 times as long.

What is to be found is a cost that grows with the rows, or faster than the bytes: that would be 1,000 and 100. Below 2 there are
the deeper trees of a longer table, the one step where a payload outgrows the processor's caches, and the third by which a point
moves from one measurement to the next.
"""
AHEAD: Final = 1_000_000
"""A priority in seconds that puts runs before all that wait already."""

CURVES: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "pending": ("pending rows", DEPTHS),
    "finished": ("finished rows", DEPTHS),
    "groups": ("groups", GROUPS),
    "payload": ("bytes of payload", PAYLOADS),
}


def _goals() -> Iterator[tuple[str, Goal]]:
    for curve, (axis, points) in CURVES.items():
        for point in points:
            yield f"{curve}_{point}", Goal(f"cost of a run, {point:,} {axis}", "µs")
    yield "pending_growth", Goal("cost of a run, most ÷ least pending rows", "×", most=UNNOTICED)
    yield "finished_growth", Goal("cost of a run, most ÷ least finished rows", "×", most=UNNOTICED)
    yield "groups_growth", Goal("cost of a run, most ÷ fewest groups", "×", most=1.5)
    yield "payload_growth", Goal("cost of a byte, longest ÷ middle payload", "×", most=UNNOTICED)


GOALS = dict(_goals())


def measure(plan: Plan) -> dict[str, float]:
    curves: dict[str, Callable[[Plan, int], float]] = {
        "pending": _beside_pending,
        "finished": _after_finished,
        "groups": _over_groups,
        "payload": _with_payload,
    }
    figures: dict[str, float] = {}
    for curve, cost in curves.items():
        points = CURVES[curve][1]
        measured = {point: 1e6 * cost(plan, point) for point in points[: plan.size(len(points), 2)]}
        figures |= {f"{curve}_{point}": value for point, value in measured.items()}
        if curve == "payload":
            measured = {point: value / point for point, value in measured.items() if point > min(points)}
        figures[f"{curve}_growth"] = measured[max(measured)] / measured[min(measured)]
    return figures


def _beside_pending(plan: Plan, depth: int) -> float:
    """Seconds for a run that overtakes so many others of its group."""
    count = plan.size(10_000, 4_000)
    with Served(plan, pool(100), NO_OP, queue=pending(plan, depth)) as project:
        project.wait_for_workers("default")
        ids = project.client.enqueue_many("work", [{"n": number} for number in range(count)], priority=AHEAD)
        elapsed = project.drain("default", ids[-1])
        project.pause("default")
        return elapsed / count


def _after_finished(plan: Plan, depth: int) -> float:
    payloads = [{"n": number} for number in range(plan.size(10_000, 4_000))]
    return 1 / drained(plan, pool(100), NO_OP, payloads, queue=finished(plan, depth)).per_second


def _over_groups(plan: Plan, groups: int) -> float:
    """Seconds for a run of one busy group among so many, the others being paused with work waiting."""
    count = plan.size(10_000, 4_000)
    source = NO_OP + "".join(_idle_workflow(number) for number in range(1, groups))
    with Served(plan, "[workflows]\nconcurrency = 100\n[workflows.default]\nworkers = 1\n", source) as project:
        for number in range(1, groups):
            project.pause(f"group{number}")
            project.client.enqueue_many(f"idle{number}", [None] * 100)
        project.wait_for_workers("default")
        project.pause("default")
        ids = project.client.enqueue_many("work", [{"n": number} for number in range(count)])
        return project.drain("default", ids[-1]) / count


def _idle_workflow(number: int) -> str:
    return f"""
@workflow("idle{number}", worker="group{number}")
async def idle{number}(payload, step):
    return None
"""


def _with_payload(plan: Plan, size: int) -> float:
    """Seconds for a run with a payload of so many bytes, its enqueue not counted."""
    count = min(plan.size(10_000, 4_000), plan.size(200_000_000, 20_000_000) // size)
    text = "x" * (size - 8)
    return 1 / drained(plan, pool(100), NO_OP, [{"t": text}] * count).per_second
