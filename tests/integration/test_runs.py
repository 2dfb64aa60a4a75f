"""What a user does first: enqueue, wait, look."""

from __future__ import annotations

from tests.support.project import Project, wait_until


def test_a_run_is_executed_and_its_result_and_steps_are_shown(project: Project) -> None:
    project.workflow(
        "orders.py",
        """
        async def add(a, b):
            return a + b

        @workflow("total")
        async def total(payload, step: Step):
            return {"total": await step.run("add", add, *payload)}
        """,
    )
    project.serve()
    run = project.run("total", [2, 3])
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", {"total": 5}, 1)
    assert [(step["name"], step["state"], step["result"]) for step in run["steps"]] == [("add", "succeeded", 5)]


def test_a_group_at_zero_wakes_for_work_and_idles_out_again(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "300ms"\n')
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return os.getpid()\n")
    project.serve()
    assert project.group("default")["workers"] == []
    first = project.run("a")["result"]
    wait_until(lambda: project.group("default")["state"] == "zero", "the group is at zero again")
    assert project.run("a")["result"] != first


def test_a_run_that_is_due_later_does_not_wake_its_group(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return 1\n")
    project.serve()
    run_id = project.enqueue("a", delay="1s")
    assert project.group("default")["state"] == "zero"
    assert project.wait(run_id)["state"] == "succeeded"
