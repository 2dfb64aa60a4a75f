"""Runs enqueued one by one, each acknowledged after its COMMIT, by one process and by thirty-two."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from bench.figures import Goal, Plan
from bench.served import NO_OP, Served, pool, warm_up
from tako_lite.client import Client

MOST_RUNS = 99
PRODUCERS = 32
GOALS = {
    "one": Goal("Client.enqueue, one producer", share=0.60, of="lone_insert", floor="floor_requests.one"),
    "many": Goal("Client.enqueue, 32 producers", share=2.5, of="lone_insert", floor="floor_requests.many"),
}


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        alone = plan.size(4_000, 1_000)
        each = plan.size(500, 150)
        figures = {"one": alone / produce(project, 1, alone), "many": PRODUCERS * each / produce(project, PRODUCERS, each)}
        if project.group("default")["pending"] != alone + PRODUCERS * each:
            raise RuntimeError("not every run is in the queue")
        return figures


def produce(project: Served, producers: int, each: int) -> float:
    """Seconds until all producers, which begin together, have their last acknowledgement."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(producers + 1)
    processes = [context.Process(target=_producer, args=(project.root, each, gate), daemon=True) for _ in range(producers)]
    for process in processes:
        process.start()
    gate.wait(60)
    start = time.perf_counter()
    gate.wait(120)
    elapsed = time.perf_counter() - start
    for process in processes:
        process.join()
    return elapsed


def _producer(root: Path, count: int, gate: Barrier) -> None:
    with Client(root) as client:
        client.call("workflows")
        gate.wait(60)
        for number in range(count):
            client.enqueue("work", {"n": number})
        gate.wait(120)
