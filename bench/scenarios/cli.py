"""What `tako-lite enqueue` costs as a process, beyond the start of a bare Python."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

from bench.figures import Goal, Plan
from bench.served import NO_OP, PYTHON, Served, pool, warm_up

MOST_RUNS = 99
GOALS = {
    "bare": Goal("bare Python as a process", "ms"),
    "enqueue": Goal("tako-lite enqueue as a process, beyond bare Python", "ms", most=90),
}


def measure(plan: Plan) -> dict[str, float]:
    bare: list[float] = []
    beyond: list[float] = []
    with Served(plan, pool(10), NO_OP) as project:
        warm_up(project)
        for _ in range(plan.size(10, 4)):
            bare.append(_time(["-c", "pass"], project.root))
            beyond.append(_time(["-m", "tako_lite", "enqueue", "work", '{"n": 1}'], project.root) - bare[-1])
    return {"bare": median(bare) * 1000, "enqueue": median(beyond) * 1000}


def _time(arguments: list[str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run([PYTHON, *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - start
