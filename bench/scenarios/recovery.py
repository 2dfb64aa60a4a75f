"""How long a run stands still after `kill -9`: of its worker, or of the daemon, when a new one is started at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from bench.arrivals import percentile
from bench.figures import Goal, Plan
from bench.served import Served, wait_until

MOST_RUNS = 99
GOALS = {
    "worker_p50": Goal("kill -9 of its worker → executing again, p50", "ms"),
    "worker_worst": Goal("the same, worst", "ms", most=2_000),
    "daemon_p50": Goal("kill -9 of the daemon, serve → executing again, p50", "ms"),
    "daemon_worst": Goal("the same, worst", "ms", most=5_000),
}

_SOURCE = """
@workflow("work")
async def work(payload, step):
    os.write(_witness, f"{time.time()} {os.getpid()}\\n".encode())
    await asyncio.sleep(600)
"""


def measure(plan: Plan) -> dict[str, float]:
    rounds = plan.size(25, 5)
    with Served(plan, "[workflows]\nmax_crashes = 1000\n", _SOURCE) as project:
        project.client.enqueue("work")
        worker = _after(project, rounds, lambda: os.kill(_starts(project)[-1][1], signal.SIGKILL))
        daemon = _after(project, rounds, lambda: _replace(project))
    return {
        "worker_p50": percentile(worker, 0.5),
        "worker_worst": worker[-1],
        "daemon_p50": percentile(daemon, 0.5),
        "daemon_worst": daemon[-1],
    }


def _after(project: Served, rounds: int, harm: Callable[[], None]) -> list[float]:
    """The milliseconds from each harm to the next start of the run, in their order."""
    times = []
    for _ in range(rounds):
        before = len(wait_until(lambda: _starts(project), "it executes"))
        time.sleep(0.1)
        begun = time.time()
        harm()
        wait_until(lambda before=before: len(_starts(project)) > before, "it executes again")  # type: ignore[misc]
        times.append(1000 * (_starts(project)[-1][0] - begun))
    return sorted(times)


def _replace(project: Served) -> None:
    project.die()
    project.start()


def _starts(project: Served) -> list[tuple[float, int]]:
    """When and in which process the run was started."""
    if not project.witness.exists():
        return []
    words = [line.split() for line in project.witness.read_text().splitlines()]
    return [(float(at), int(pid)) for at, pid in words]
