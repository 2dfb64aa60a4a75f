"""What `tako_lite.testing` costs, in processor time: a year of hourly runs, the fixture `tako`, the plugin of pytest."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from bench.figures import Goal, Plan
from tako_lite import workflow
from tako_lite.testing import Tako

MOST_RUNS = 5
GOALS = {
    "hourly_year": Goal("an hourly schedule over a year in Tako (8,760 runs)", "s", most=2),
    "fixture": Goal("set-up and tear-down of a Tako", "ms", most=5),
    "plugin": Goal("import of the plugin at the start of pytest", "ms", most=1),
}
_PLUGIN = "import pytest, time; begun = time.process_time(); import pytest_tako_lite; print(time.process_time() - begun)"


@workflow("hourly", schedule="0 * * * *")
async def hourly() -> int:
    return 1


def measure(plan: Plan) -> dict[str, float]:
    days = plan.size(365, 30)
    with Tako(plan.folder, workflows=[hourly]) as tako:
        year = _seconds(lambda: tako.advance(f"{days}d", schedules=True)) * 365 / days
    fixture = median(_seconds(lambda: Tako(plan.folder, workflows=[hourly]).close()) for _ in range(plan.size(100, 20)))
    imports = [float(subprocess.check_output([sys.executable, "-c", _PLUGIN])) for _ in range(plan.size(10, 3))]
    return {"hourly_year": year, "fixture": fixture * 1000, "plugin": median(imports) * 1000}


def _seconds(function: Callable[[], object]) -> float:
    begun = time.process_time()
    function()
    return time.process_time() - begun
