"""What the kernel says of processes."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
QUIET: Final = 0.1
"""The share of the machine that other programs may use while we measure."""


def proportional_bytes(pid: int) -> int:
    """PSS: a process's own memory, and its part of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel says nothing of the memory of process {pid}")


def processor_seconds(pid: int) -> float:
    """The processor time that the threads of a process have used."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def sleeps(pid: int) -> int:
    """How often the threads of a process have gone to sleep by themselves: each was woken once in between."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


def wait_for_quiet(patience: float) -> None:
    """Wait, but not for ever, until nobody else uses the machine."""
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        others = Others()
        time.sleep(0.2)
        if others.share() < QUIET:
            return


class Others:
    """How much of the machine's processors other programs have used since this was made."""

    def __init__(self) -> None:
        self._busy, self._all = _machine_seconds()
        self._own = _own_seconds()

    def share(self) -> float:
        """Between 0 and 1. A process of ours that still runs counts as another program's."""
        busy, total = _machine_seconds()
        return max(0.0, busy - self._busy - _own_seconds() + self._own) / max(total - self._all, 0.01)


def _machine_seconds() -> tuple[float, float]:
    """Processor seconds since the machine started: those that somebody used, and all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    total = sum(ticks)
    return (total - ticks[3] - ticks[4]) / TICKS, total / TICKS


def _own_seconds() -> float:
    """What we and those of our children that have ended used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
