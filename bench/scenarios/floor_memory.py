"""Two bare Python processes with an event loop, one of them with an open queue file: what daemon and fork server start from."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import Final

from bench.figures import Goal, Plan
from bench.processes import proportional_bytes
from bench.served import PYTHON

MOST_RUNS = 2
GOALS = {"pair": Goal("bare Python with asyncio and sqlite3, and one with asyncio, PSS", "MiB")}
MIB: Final = 2**20
_BARE: Final = "import asyncio, json, socket, {more}; print(1, flush=True); asyncio.run(asyncio.sleep(60))"


def measure(plan: Plan) -> dict[str, float]:
    with ExitStack() as running:
        starts = [[PYTHON, "-c", _BARE.format(more=more)] for more in ("sqlite3", "signal")]
        processes = [running.enter_context(subprocess.Popen(start, stdout=subprocess.PIPE)) for start in starts]
        for process in processes:
            if process.stdout is not None:
                process.stdout.readline()
        time.sleep(0.3)
        total = sum(proportional_bytes(process.pid) for process in processes)
        for process in processes:
            process.kill()
    return {"pair": total / MIB}
