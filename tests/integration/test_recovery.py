"""What a lost claim, a death of everything at once and an acknowledged signal leave behind."""

from __future__ import annotations

import os
import signal

from tests.support.project import Project, is_gone, wait_until
from tests.support.runs import charged, release


def test_a_worker_whose_claim_was_taken_drops_the_run_at_its_next_step_and_stores_nothing(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        def first():
            witness("first")
            while not os.path.exists("go"):
                time.sleep(0.01)
            return "late"

        @workflow("loses-its-claim", retries=0)
        async def loses_its_claim(payload, step: Step):
            if payload == "quick":
                return os.getpid()
            try:
                await step.run("first", first)
                witness("went on")
            finally:
                witness("left")
        """,
    )
    project.serve()
    worker = project.run("loses-its-claim", "quick")["result"]
    run_id = project.enqueue("loses-its-claim")
    project.wait_for_fact("first")
    project.query(f"UPDATE runs SET claim_token = claim_token + 1 WHERE id = '{run_id}'")
    release(project)
    project.wait_for_fact("left")
    wait_until(lambda: project.group("default")["busy"] == 0, "the slot is free again")
    assert project.facts("went on") == []
    run = project.get(run_id)
    assert (run["steps"], run["error"], *charged(run)) == ([], None, "running", 0, 0)
    assert project.run("loses-its-claim", "quick")["result"] == worker
    project.stop()
    project.serve()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)
    assert len(project.facts("first")) == 2


def test_the_next_start_kills_children_of_a_worker_that_died_with_daemon_and_fork_server(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import subprocess

        @workflow("parent")
        async def parent(payload):
            child = subprocess.Popen(["sleep", "1000"], process_group=0)
            witness("child", child=child.pid)
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
        """,
    )
    daemon = project.serve()
    run_id = project.enqueue("parent")
    (fact,) = project.wait_for_fact("child")
    zygote = project.status()["daemon"]["zygote_pid"]
    for pid in (daemon, zygote, fact["pid"]):
        os.kill(pid, signal.SIGSTOP)  # none of them can see another one go
    for pid in (daemon, zygote, fact["pid"]):
        os.kill(pid, signal.SIGKILL)
    project.stop(0)
    wait_until(lambda: is_gone(fact["pid"]), "the worker is dead")
    assert not is_gone(fact["child"])
    project.serve()
    assert is_gone(fact["child"])
    project.wait_for_fact("child", 2, limit=5.0)
    release(project)
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


def test_an_acknowledged_signal_reaches_a_wait_that_starts_after_the_death_of_the_daemon(
    project: Project,
) -> None:
    project.workflow(
        "a.py", "@workflow('gate')\nasync def gate(name, step: Step):\n    return await step.wait_for(name, timeout='5s')\n"
    )
    project.serve()
    with project.client() as client:
        for number in range(20):
            client.signal(f"order:{number}", {"number": number})
    project.stop(signal.SIGKILL)
    project.serve()
    with project.client() as client:
        client.signal("order:0", "the second one")
        runs = client.enqueue_many("gate", [f"order:{number}" for number in range(20)])
    assert [project.wait(run_id)["result"] for run_id in runs] == [{"number": number} for number in range(20)]
