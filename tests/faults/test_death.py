"""The daemon dies where it stores, hands out, or hears of something: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tako_lite.errors import NotFound, StoreError
from tako_lite.records import new_id
from tests.faults.deaths import Deaths
from tests.support.failpoints import TRANSITIONS, fired, serve_until
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.runs import STEPS, charged, release

pytestmark = [pytest.mark.sqlite, pytest.mark.long]

BY_HAND = (
    "enqueue_many", "signal", "cancel", "finish", "give_back", "recover", "prune",
    "begin_evaluation", "put_triggers", "put_catalog", "set_limits", "pause_group", "find_group",
)  # fmt: skip
POINTS = [
    *(f"{name}.between" for name in TRANSITIONS if name not in BY_HAND),
    "claim.after_commit",
    "spawn.before_register",
][:: scaled(2, 1)]
"""Those that the gate has time for, one in each second transaction; `python -m tests.faults.deaths` has them all."""


@pytest.mark.full
@pytest.mark.timeout(240)  # more than the quiet phase waits, so that it cleans up by itself
def test_daemons_that_die_one_after_another_at_named_points_break_no_promise(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path.resolve(), POINTS, seed=1)
    assert deaths.run() == []
    assert [fact["point"] for fact in deaths.deaths()] == POINTS


# One point alone


def test_a_run_whose_result_is_stored_is_not_repeated_although_no_client_received_it(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("once")
        async def once(payload, step: Step):
            witness("once")
            return os.getpid()
        """,
    )
    daemon = serve_until(project, "complete.after_commit=kill")
    with project.client() as client:
        run_id = client.enqueue("once").id
    assert daemon.wait(15) == -signal.SIGKILL
    project.serve()
    run = project.wait(run_id)
    (fact,) = project.facts("once")
    assert (run["result"], *charged(run)) == (fact["pid"], "succeeded", 1, 0)


@pytest.mark.parametrize(("moment", "bodies"), [("between", 2), ("after_commit", 1)])
def test_a_body_runs_again_only_if_the_daemon_died_before_its_value_was_stored(
    project: Project, moment: str, bodies: int
) -> None:
    project.workflow("a.py", STEPS)
    release(project)
    daemon = serve_until(project, f"step.{moment}=kill")
    run_id = project.enqueue("two-steps", 1)
    assert daemon.wait(15) == -signal.SIGKILL
    project.serve()
    run = project.wait(run_id)
    assert charged(run) == ("succeeded", 1, 0)
    assert [fact["pid"] for fact in project.facts("first")][-1] == run["steps"][0]["result"]
    assert len(project.facts("first")) == bodies


def test_transactions_that_fail_in_the_middle_are_repeated_and_charge_no_run(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        def body(n):
            witness("body", n=n)
            return n

        @workflow("leaf")
        async def leaf(payload):
            return "leaf"

        @workflow("tree", retries=1, backoff=Backoff(base=0.01))
        async def tree(payload, step: Step):
            await step.run("first", body, 1)
            await step.wait_for("nobody", timeout=0.6)
            grown = await step.invoke("grown", "leaf", None)
            if step.attempt == 1:
                raise RuntimeError("not yet")
            return [grown, await step.run("second", body, 2)]
        """,
    )
    points = ("claim", "step", "wait", "park", "wake", "child", "retry_later", "complete")
    serve_until(project, *(f"{point}.between=error" for point in points))
    run = project.run("tree")
    assert (run["result"], *charged(run)) == (["leaf", 2], "succeeded", 2, 0)
    assert {fact["point"].partition(".")[0] for fact in fired(project.root)} == set(points)
    assert [fact["n"] for fact in project.facts("body")] == [1, 2]


def test_an_enqueue_that_fails_in_the_middle_says_so_and_stores_nothing(project: Project) -> None:
    project.workflow("a.py", STEPS)
    release(project)
    serve_until(project, "enqueue.between=error")
    run_id = new_id()
    with project.client() as client:
        with pytest.raises(StoreError, match="disk I/O error"):
            client.enqueue("two-steps", 1, id=run_id)
        with pytest.raises(NotFound):
            client.get(run_id)
        assert client.enqueue("two-steps", 1, id=run_id).id == run_id
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


# Starting


@pytest.mark.full
def test_daemons_killed_at_eight_moments_of_their_start_lose_and_charge_nothing(project: Project) -> None:
    project.workflow("a.py", STEPS)
    with project.client() as client:
        runs = client.enqueue_many("two-steps", list(range(10)))  # written to the file: no daemon runs yet
    for start in range(scaled(8, 50)):
        process = subprocess.Popen(
            [sys.executable, "-m", "tako_lite", "serve", "--server", "here"],
            cwd=project.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        project.started.append(process.pid)
        over = time.monotonic() + 0.1 + start % 8 * 0.04
        wait_until(lambda over=over: time.monotonic() > over, "its moment has come")
        process.kill()
        process.wait()
    release(project)
    project.serve()
    assert [charged(project.wait(run_id)) for run_id in runs] == [("succeeded", 1, 0)] * 10
