"""How long `status`, `runs` and `why` take on a queue of two million runs, and what enqueues lose meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from bench.figures import Goal, Plan
from bench.scenarios.enqueue_lone import produce
from bench.seeds import seeded
from bench.served import NO_OP, PYTHON, Served, pool
from tako_lite.client import Client

MOST_RUNS = 2
LONGEST: Final = 150
ASKED_EVERY: Final = 0.5
"""Seconds between two rounds of questions beside enqueues."""
COMMANDS: Final = ("status", "runs", "why")
GOALS = {
    **{name: Goal(f"{name}, 1,000,000 pending and as many finished, over the socket", "ms", most=LONGEST) for name in COMMANDS},
    **{f"{name}_cli": Goal(f"tako-lite {name}, the same, as a process", "ms") for name in COMMANDS},
    "beside": Goal("Client.enqueue beside these questions ÷ alone", "×", least=0.9),
}


def measure(plan: Plan) -> dict[str, float]:
    count = plan.size(1_000_000, 100_000)
    queue = seeded(plan, finished=count, pending=count)
    with Served(plan, pool(10), NO_OP, queue=queue) as project:
        newest = project.client.call("runs", limit=1)["runs"][0]["id"]
        questions = _questions(project.client, newest)
        figures = {name: _milliseconds(ask, 9) for name, ask in questions.items()}
        figures |= {f"{name}_cli": _milliseconds(lambda name=name: _command(project, name, newest), 3) for name in COMMANDS}  # type: ignore[misc]
        each = plan.size(3_000, 600)
        alone = produce(project, 1, each)
        with _Asked(project, newest):
            beside = produce(project, 1, each)
        stored = _pending(project)
        if stored != count + 2 * each:
            raise RuntimeError(f"{stored} runs are in the queue, not {count + 2 * each}")
    return {**figures, "beside": alone / beside}


def _questions(client: Client, run_id: str) -> dict[str, Callable[[], object]]:
    return {
        "status": client.status,
        "runs": lambda: client.call("runs", limit=50),
        "why": lambda: client.call("why", run_id=run_id),
    }


def _milliseconds(ask: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken)


def _command(project: Served, name: str, run_id: str) -> None:
    arguments = [name, run_id] if name == "why" else [name]
    start = [PYTHON, "-m", "tako_lite", *arguments]
    subprocess.run(start, cwd=project.root, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _pending(project: Served) -> int:
    connection = sqlite3.connect(f"{project.queue.as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM runs WHERE state = 'pending'").fetchone()[0])
    finally:
        connection.close()


class _Asked:
    """Asks all questions again and again, from a thread, while a block executes."""

    def __init__(self, project: Served, run_id: str) -> None:
        self._project = project
        self._run_id = run_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        with Client(self._project.root) as client:
            questions = _questions(client, self._run_id)
            while not self._ended.wait(ASKED_EVERY):
                for ask in questions.values():
                    ask()
