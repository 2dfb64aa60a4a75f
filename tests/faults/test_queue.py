"""Many clients, one key, one lock: what they ask for in the same instant, and what happens when one of them goes away."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tako_lite.errors import StoreBusy
from tako_lite.records import new_id, new_ids
from tako_lite.states import TERMINAL
from tako_lite.store.base import Completed, Effects, RunFilter
from tako_lite.store.sqlite.queue import SqliteQueue
from tako_lite.store.sqlite.store import SqliteStore
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.store_bench import WORKER, Bench, HandClock

QUICK = "@workflow('quick')\nasync def quick(payload):\n    return payload\n"
HOLD = """
@workflow("hold")
async def hold(payload, step: Step):
    witness("hold")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return await step.run("over", over)

def over():
    witness("over")
    return "over"
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_cancel_and_an_end_in_the_same_instant_leave_one_end_that_everybody_sees(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 100\n")
    project.workflow("hold.py", HOLD)
    project.serve()
    with project.client() as client, project.client() as canceller:
        runs = client.enqueue_many("hold", range(100))
        project.wait_for_fact("hold", 100)
        told: dict[str, str] = {}
        (project.root / "go").touch()
        for run_id in runs:
            told |= canceller.cancel(run_id)
        ends = {run_id: client.wait(run_id, timeout=15) for run_id in runs}
        states = Counter(run["state"] for run in ends.values())
        print(states)
        assert set(states) <= {"succeeded", "cancelled"}
        for run_id, run in ends.items():
            assert (run["attempts"], run["crashes"]) == (1 if run["state"] == "succeeded" else 0, 0)
            assert (run["result"] == "over") == (run["state"] == "succeeded")
            assert told[run_id] == "cancelling" or (told[run_id], run["state"]) == ("ended", "succeeded")
        assert {run_id: client.get(run_id) for run_id in runs} == ends
        assert client.cancel(*runs) == dict.fromkeys(runs, "ended")


def test_fifty_clients_with_one_key_share_a_run_also_after_its_end_and_after_a_kill(project: Project) -> None:
    project.workflow("hold.py", HOLD)
    project.serve()

    def ask(_: int) -> tuple[str, bool]:
        with project.client() as client:
            made = client.enqueue("hold", unique_key="one")
            return made.id, made.deduplicated

    def ask_all() -> str:
        with ThreadPoolExecutor(50) as clients:
            answers = list(clients.map(ask, range(50)))
        assert Counter(deduplicated for _, deduplicated in answers) == {False: 1, True: 49}
        (run_id,) = {run_id for run_id, _ in answers}
        return run_id

    first = ask_all()
    (project.root / "go").touch()
    assert project.wait(first)["state"] == "succeeded"
    (project.root / "go").unlink()
    second = ask_all()
    assert second != first
    project.stop(signal.SIGKILL)
    project.serve()
    assert {ask(number) for number in range(5)} == {(second, True)}
    (project.root / "go").touch()
    assert project.wait(second)["state"] == "succeeded"
    assert sorted(project.call("ids")["ids"]) == [first, second]


@pytest.mark.sqlite
@pytest.mark.full
def test_while_another_program_holds_the_lock_enqueues_are_refused_in_time_and_the_rest_works(
    project: Project,
) -> None:
    project.workflow("hold.py", HOLD)
    project.serve()
    held = project.enqueue("hold")
    project.wait_for_fact("hold")
    with closing(sqlite3.connect(project.root / ".tako/queue.db", isolation_level=None)) as other, project.client() as client:
        other.execute("BEGIN IMMEDIATE")
        refused: list[float] = []
        over = time.monotonic() + scaled(0, 60)

        def enqueue() -> None:
            with project.client() as mine:
                while not refused or time.monotonic() < over:
                    asked = time.monotonic()
                    with pytest.raises(StoreBusy):
                        mine.enqueue("hold")
                    refused.append(time.monotonic() - asked)

        clients = [threading.Thread(target=enqueue) for _ in range(3)]
        for thread in clients:
            thread.start()
        slowest = 0.0
        while any(thread.is_alive() for thread in clients):
            asked = time.monotonic()
            assert client.get(held)["state"] == "running"
            assert client.status()["daemon"] is not None
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.05)
        print(f"{len(refused)} refused, after {max(refused):.1f} s at most; others took {slowest * 1000:.0f} ms at most")
        assert len(refused) >= 3
        assert max(refused) < 10
        assert slowest < 2.5
        (project.root / "go").touch()
        project.wait_for_fact("over")
        assert client.get(held)["steps"] == []
        other.execute("ROLLBACK")
    assert project.wait(held)["result"] == "over"
    assert (project.get(held)["attempts"], project.get(held)["crashes"]) == (1, 0)
    assert len(project.facts("hold")) == 1
    assert project.call("ids")["ids"] == [held]


@pytest.mark.sqlite
def test_a_resume_that_cannot_be_stored_forgets_no_work(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow("hold.py", HOLD)
    project.serve()
    runs = [project.enqueue("hold") for _ in range(3)]
    project.wait_for_fact("hold")
    with closing(sqlite3.connect(project.root / ".tako/queue.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            project.call("resume", group="default")
        other.execute("ROLLBACK")
    (project.root / "go").touch()
    assert [project.wait(run_id)["state"] for run_id in runs] == ["succeeded"] * 3


CLIENTS, EACH = 128, scaled(40, 782)


@pytest.mark.full
def test_what_128_clients_enqueue_at_once_is_all_there(project: Project) -> None:
    project.workflow("quick.py", QUICK)
    project.serve()
    project.call("pause", group="default")
    acked = asyncio.run(_enqueue_from_everywhere(project.root / ".tako/tako.sock"))
    assert len(set(acked)) == CLIENTS * EACH
    assert set(project.call("ids", states=["pending"])["ids"]) == set(acked)
    assert project.group("default")["pending"] == CLIENTS * EACH
    project.stop(signal.SIGKILL)
    assert {run_id for (run_id,) in project.backend.execute(project.root, "SELECT id FROM runs")} == set(acked)
    assert project.backend.strays(project.root) == []


async def _enqueue_from_everywhere(door: Path) -> list[str]:
    async def client() -> list[str]:
        reader, writer = await asyncio.open_unix_connection(str(door))
        await reader.readline()
        acked: list[str] = []
        for run_id in new_ids(EACH):
            request = {"id": 1, "command": "enqueue", "workflow": "quick", "payload": None, "run_id": run_id}
            for _ in range(1 if len(acked) % 4 else 2):  # some are asked for twice, as after a lost reply
                writer.write(json.dumps(request).encode() + b"\n")
                acked.append(json.loads(await reader.readline())["ok"]["id"])
        writer.close()
        await writer.wait_closed()
        return acked

    async with asyncio.timeout(scaled(60, 240)):
        return [run_id for acked in await asyncio.gather(*(client() for _ in range(CLIENTS))) for run_id in acked]


Work = Callable[[Bench], Awaitable[object]]


async def _lifetime(bench: Bench) -> None:
    """A run from its enqueue to its end, one await after another."""
    store = bench.store
    new = bench.new(group=f"g{new_id()}")
    await store.enqueue_runs([new])
    (run,) = (await store.claim_runs(new.group, 1)).runs
    await store.save_steps([bench.step(run, "a")])
    await store.add_wait(bench.wait(run, "b", lasting=0))
    await store.get_run(run.id)
    await store.get_next_due()
    await store.complete_runs([Completed(run.id, run.token, "null", WORKER)])
    await store.count_by_group()


@pytest.mark.anyio
async def test_a_task_cancelled_at_any_await_leaves_whole_transactions_and_a_working_store(tmp_path: Path) -> None:
    clock = HandClock()
    threads = threading.active_count()
    for turns in range(40):
        told: list[Effects] = []
        store = SqliteStore(tmp_path / f"{turns % 3}.db", "process", clock, "lax", "boot-1", told.append)
        await store.start()
        bench = Bench(store, clock, told, SqliteQueue(store.path))
        tasks = [asyncio.create_task(_lifetime(bench)) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0 if turns % 2 else 0.0003)
        cancelled = [task.cancel() for task in tasks]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends), ends
        assert cancelled.count(True) == sum(isinstance(end, asyncio.CancelledError) for end in ends)
        async with asyncio.timeout(10):
            await _lifetime(bench)
            for run in await store.list_runs(RunFilter(), None):
                if run.state not in TERMINAL:
                    assert run.claim_token == (run.state == "running")
                    assert await store.cancel_runs([run.id])
            await store.recover_runs("lax", "next")
            assert {run.state for run in await store.list_runs(RunFilter(), None)} <= TERMINAL
            await store.stop()
        with closing(sqlite3.connect(store.path)) as queue:
            assert queue.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    wait_until(lambda: threading.active_count() <= threads, "the threads of all connections have ended")
