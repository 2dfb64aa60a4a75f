"""What a daemon with nothing to do costs: wake-ups, calls on the queue file, memory."""

from __future__ import annotations

import shutil
import subprocess
import time

from bench.figures import Goal, Plan
from bench.processes import processor_seconds, proportional_bytes, sleeps
from bench.served import NO_OP, Served, wait_until

MOST_RUNS = 2
MIB = 2**20
GOALS = {
    "wakeups": Goal("idle daemon: wake-ups a minute", "", most=1),
    "listening": Goal("idle daemon with [monitor] listen, not asked: wake-ups a minute", "", most=1),
    "file_calls": Goal("idle daemon: reads, writes and syncs of files", "", most=0),
    "processor": Goal("idle daemon and zygote: processor time a minute", "ms"),
    "memory": Goal("idle daemon + zygote, PSS", "MiB", most=28, floor="floor_memory.pair"),
    "worker": Goal("a further worker, PSS before user code", "MiB", most=5),
}
_FILE_CALLS = "pread64,pwrite64,fdatasync,fsync,openat"


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, "[workflows]\nmax_workers = 3\n", NO_OP) as project:
        zygote = project.client.status()["daemon"]["zygote_pid"]
        figures = _quiet([project.pid, zygote], plan.size(30, 5))
        calls = _file_calls(project.pid, plan.size(10, 3))
        if calls is not None:
            figures["file_calls"] = calls
        figures["memory"] = _memory([project.pid, zygote])
        with_one = _memory([project.pid, zygote, *_scaled(project, 1)])
        figures["worker"] = _memory([project.pid, zygote, *_scaled(project, 2)]) - with_one
    with Served(plan, '[monitor]\nlisten = "127.0.0.1:0"\n', NO_OP) as project:
        zygote = project.client.status()["daemon"]["zygote_pid"]
        figures["listening"] = _quiet([project.pid, zygote], plan.size(30, 5))["wakeups"]
    return figures


def _quiet(pids: list[int], seconds: int) -> dict[str, float]:
    """What daemon and zygote do while nobody asks anything of them."""
    time.sleep(1)  # what the last question started, such as the reading thread, comes to rest
    before = sum(sleeps(pid) for pid in pids), sum(processor_seconds(pid) for pid in pids)
    time.sleep(seconds)
    after = sum(sleeps(pid) for pid in pids), sum(processor_seconds(pid) for pid in pids)
    minutes = seconds / 60
    return {"wakeups": (after[0] - before[0]) / minutes, "processor": (after[1] - before[1]) * 1000 / minutes}


def _file_calls(pid: int, seconds: int) -> float | None:
    """How many calls on files the daemon made in a while; None where strace is not there or not allowed."""
    if shutil.which("strace") is None:
        return None
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={_FILE_CALLS}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(seconds)
    tracer.terminate()
    _, said = tracer.communicate()
    if "attached" not in said:
        return None
    return float(sum(line.count("(") > 0 and "strace:" not in line for line in said.splitlines()))


def _scaled(project: Served, workers: int) -> list[int]:
    project.client.call("scale", group="default", workers=workers)
    wait_until(lambda: len(project.group("default")["workers"]) == workers, f"{workers} workers are there")
    pids = project.wait_for_workers("default", workers)
    time.sleep(0.3)  # the pages that a start shares are written for the last time
    return pids


def _memory(pids: list[int]) -> float:
    return sum(proportional_bytes(pid) for pid in pids) / MIB
