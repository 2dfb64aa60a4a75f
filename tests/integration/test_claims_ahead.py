"""Runs that are claimed before a slot is free: they wait behind no slow run, and show nothing of it afterwards."""

from __future__ import annotations

from typing import Any

from tests.support.project import Project, wait_until

WORKFLOWS = """\
    @workflow("work")
    async def work(payload, step: Step):
        witness("started", payload=payload)
        while payload == "slow" and not os.path.exists("go-on"):
            await asyncio.sleep(0.01)
    """
ONE_SLOT = "[workflows]\nworkers = 1\nmax_workers = 1\nconcurrency = 1\n"
SHORT = range(100)
"""Enough short runs for the next ones to be claimed ahead."""


def started(project: Project) -> list[Any]:
    """The payloads of the runs in the order in which they started."""
    return [fact["payload"] for fact in project.facts("started")]


def hold_up(project: Project) -> list[str]:
    """A slow run in the only slot, and thirty behind it that were claimed ahead; returns the ids of all."""
    project.configure(ONE_SLOT)
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.call("pause", group="default")
    with project.client() as client:
        ids = client.enqueue_many("work", [*SHORT, "slow", *range(100, 130)])
    project.call("resume", group="default")
    wait_until(lambda: "slow" in started(project), "the slow run has started")
    return list(ids)


def counts(project: Project) -> tuple[int, int]:
    group = project.group("default")
    return group["running"], group["pending"]


def test_runs_behind_a_slow_one_are_pending_and_can_be_changed(project: Project) -> None:
    ids = hold_up(project)
    wait_until(lambda: counts(project) == (1, 30), f"one run is running and thirty wait: {counts(project)}")
    claimed = project.query("SELECT count(*) FROM runs WHERE state = 'pending' AND claim_token > 0")
    assert claimed[0][0] > 0, "runs were claimed ahead, and released"
    last = project.get(ids[-1])
    assert (last["state"], last["started_at"], last["attempts"], last["history"]) == ("pending", None, 0, [])
    assert project.call("cancel", run_ids=[ids[-1]])["outcomes"] == {ids[-1]: "cancelled"}
    (project.root / "go-on").touch()
    runs = [project.wait(id) for id in ids[-31:]]
    assert [run["state"] for run in runs] == ["succeeded"] * 30 + ["cancelled"]
    assert {(run["attempts"], len(run["history"])) for run in runs[:-1]} == {(1, 0)}
    assert started(project) == [*SHORT, "slow", *range(100, 129)]


def test_a_cancel_of_a_run_that_is_claimed_ahead_comes_before_its_start(project: Project) -> None:
    ids = hold_up(project)
    assert project.call("cancel", run_ids=[ids[-1]])["outcomes"][ids[-1]] in ("cancelled", "cancelling")
    assert project.wait(ids[-1])["state"] == "cancelled"
    (project.root / "go-on").touch()
    assert project.wait(ids[-2])["state"] == "succeeded"
    assert 129 not in started(project)


def test_after_a_pause_no_run_that_was_claimed_ahead_starts(project: Project) -> None:
    ids = hold_up(project)
    project.call("pause", group="default")
    (project.root / "go-on").touch()
    wait_until(lambda: counts(project) == (0, 30), f"the slow run has ended: {counts(project)}")
    assert started(project)[-1] == "slow"
    project.call("resume", group="default")
    assert project.wait(ids[-1])["state"] == "succeeded"
    assert started(project) == [*SHORT, "slow", *range(100, 130)]


def test_a_run_of_higher_priority_starts_before_those_that_are_claimed_ahead(project: Project) -> None:
    hold_up(project)
    urgent = project.enqueue("work", "urgent", priority=10)
    (project.root / "go-on").touch()
    project.wait(urgent)
    assert started(project)[len(SHORT) : len(SHORT) + 2] == ["slow", "urgent"]


def test_a_reload_gives_runs_that_were_claimed_ahead_the_new_code(project: Project) -> None:
    ids = hold_up(project)
    project.add("a.py", WORKFLOWS.replace('witness("started"', 'witness("started", code="new"'))
    (project.root / "go-on").touch()
    project.wait(ids[-1])
    assert [fact.get("code") for fact in project.facts("started")[-31:]] == [None, *["new"] * 30]


def test_a_stop_leaves_runs_that_were_claimed_ahead_pending(project: Project) -> None:
    ids = hold_up(project)
    (project.root / "go-on").touch()
    assert project.stop() == 0
    states = [project.get(id)["state"] for id in ids[-31:]]
    assert set(states) <= {"pending", "succeeded"}
    project.serve()
    assert {project.wait(id)["state"] for id in ids[-31:]} == {"succeeded"}
    assert sorted(map(str, started(project))) == sorted(map(str, [*SHORT, "slow", *range(100, 130)]))
