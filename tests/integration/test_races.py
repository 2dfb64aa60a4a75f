"""Work that arrives, ends or is cancelled at an awkward moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest

from tako_lite.catalog import Catalog
from tako_lite.clock import SystemClock
from tako_lite.config import GroupSettings
from tako_lite.daemon import scheduler as scheduling
from tako_lite.daemon.events import Events
from tako_lite.daemon.triggers import Triggers
from tako_lite.processes.group import Group
from tako_lite.records import Failure, NewRun, new_id
from tako_lite.routing import Router, Routes
from tako_lite.store.base import Completed, Effects, Store
from tests.support.backends import Backend
from tests.support.project import Project


def test_a_run_that_freezes_its_worker_is_found_and_its_neighbours_succeed(project: Project) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\nmax_crashes = 2\nconcurrency = 4\n')
    project.workflow(
        "a.py",
        """
        @workflow("freeze")
        async def freeze(payload):
            os.kill(os.getpid(), signal.SIGSTOP)

        @workflow("nap")
        async def nap(payload):
            await asyncio.sleep(0.3)
            return "rested"
        """,
    )
    project.serve()
    frozen = project.enqueue("freeze")
    others = [project.enqueue("nap") for _ in range(3)]
    ends = [project.wait(run_id, 40) for run_id in others]
    assert [(run["state"], run["crashes"], run["attempts"]) for run in ends] == [("succeeded", 0, 1)] * 3
    run = project.wait(frozen, 40)
    assert (run["state"], run["crashes"], run["error"]["reason"]) == ("dead", 2, "crashed")


def test_runs_whose_time_comes_while_they_are_being_stored_are_started(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return payload\n")
    project.serve()
    with project.client() as client:
        made = [client.enqueue("a", number, delay=0.001 * (number % 4 + 1)).id for number in range(150)]
        assert [client.wait(run_id, timeout=15)["result"] for run_id in made] == list(range(150))


def test_a_cancel_that_arrives_with_the_claim_is_carried_out(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 50\n")
    project.workflow("a.py", "@workflow('sleeper')\nasync def sleeper(payload):\n    await asyncio.sleep(600)\n")
    project.serve()
    with project.client() as client:
        for _ in range(30):
            run_id = client.enqueue("sleeper").id
            client.cancel(run_id)
            assert client.wait(run_id, timeout=10)["state"] == "cancelled"


def test_a_handler_that_closes_its_output_still_ends(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("quiet")
        def quiet(payload):
            print("no newline", end="")
            os.close(1)
            return "done"
        """,
    )
    project.serve()
    assert project.run("quiet")["result"] == "done"


def test_a_child_that_is_due_later_wakes_no_group(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("parent")
        async def parent(payload, step: Step):
            return await step.enqueue("later", "child", delay="1h")

        @workflow("child", worker="media")
        async def child(payload):
            return None
        """,
    )
    project.serve()
    child = project.run("parent")["result"]
    assert project.get(child)["state"] == "pending"
    assert (project.group("media")["state"], project.group("media")["workers"]) == ("zero", [])


def test_a_module_that_exits_is_named_with_its_line(project: Project) -> None:
    file = project.workflow("b.py", "@workflow('b')\nasync def b(payload):\n    return 1\n\nsys.exit('no licence')\n")
    line = file.read_text().partition("sys.exit('no")[0].count("\n") + 1
    project.serve()
    with project.client() as client:
        made = client.enqueue("b")
    assert made.warning is not None
    assert f"workflows/b.py:{line}: SystemExit: no licence" in made.warning


@pytest.mark.anyio
async def test_retention_does_not_wait_for_the_state_that_is_kept_longest(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "PRUNE_PAUSE_MS", 50)
    told: list[Effects] = []
    store = backend.queue(tmp_path).open("process", SystemClock(), "here", new_id(), told.append)
    await store.start()
    keep: dict[scheduling.RunState, int | None] = {"succeeded": 200, "cancelled": 200, "dead": 90 * 86_400_000}
    clock, catalog = SystemClock(), Catalog(tmp_path, {})
    triggers = Triggers(store, clock, catalog, lambda group: None)
    retention = scheduling.Scheduler(store, clock, Events(), keep, Router(Routes(), ()), triggers)
    try:
        await _end(store, dead=True)
        await retention.prune_now()
        retention.something_ended()
        await _end(store, dead=False)
        retention.something_ended()
        async with asyncio.timeout(10):
            while (await store.get_stats())["pruned"].get("succeeded") != 1:  # noqa: ASYNC110 -- the store tells nobody
                await asyncio.sleep(0.02)
        assert (await store.get_stats())["pruned"] == {"succeeded": 1}
    finally:
        retention.stop()
        await store.stop()
        backend.forget(tmp_path)


@pytest.mark.anyio
async def test_a_worker_that_is_ready_just_after_it_was_killed_for_being_slow_takes_no_work() -> None:
    owner = Mock(spawn=AsyncMock(return_value=Mock()))
    group = Group(GroupSettings("slow", startup_timeout=0.01), owner)
    group.demand()
    (worker,) = group.workers
    async with asyncio.timeout(10):
        while worker.start_error is None:  # noqa: ASYNC110 -- the group tells nobody
            await asyncio.sleep(0.005)
    group.ready(worker)
    assert (worker.takes_work, group.has_been_ready) == (False, False)


async def _end(store: Store, *, dead: bool) -> None:
    await store.enqueue_runs([NewRun(new_id(), "a", "default", "default", "null", SystemClock().now() - 1_000, 0, 1)])
    (run,) = (await store.claim_runs("default", 1)).runs
    if dead:
        await store.finish_run(run.id, run.token, "dead", Failure("Error", "no"), 1, charged=True)
    else:
        await store.complete_runs([Completed(run.id, run.token, "null", 1)])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
