"""What `why` says while real daemons and workers are in the state that it tells of."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.processes import no_room, sleeps
from tests.support.project import Project, wait_until
from tests.support.queue_file import wal
from tests.support.runs import release

HOLD = """
    def hold():
        witness("hold")
        while not os.path.exists("go"):
            time.sleep(0.01)
        return "x" * 20_000

    @workflow("hold")
    async def held(payload, step: Step):
        await step.run("hold", hold)
        await step.run("next", hold)
"""
LATER = """
    @workflow("fails", backoff=Backoff(base=3600, max=3600))
    async def fails(payload):
        raise ValueError("boom")

    @workflow("again", retries=1, backoff=Backoff(base=0.01, max=0.01))
    async def again(payload, step: Step):
        if step.attempt == 1:
            raise ValueError("boom")
        step.retry(after="1h")

    @workflow("parent")
    async def parent(payload, step: Step):
        return await step.invoke("sub", "child")

    @workflow("child")
    async def child(payload, step: Step):
        return await step.wait_for("go")
"""


def why(project: Project, run_id: str) -> str:
    """The sentence, as the daemon says it."""
    return str(project.call("why", run_id=run_id)["sentence"])


def wait_for_words(project: Project, run_id: str, words: str) -> None:
    wait_until(lambda: words in why(project, run_id), f"why says: {words}")


def test_a_run_that_is_due_later_says_whether_it_failed_or_asked_for_it(project: Project) -> None:
    project.workflow("a.py", LATER)
    project.serve()
    delayed, failed, again = project.enqueue("again", delay="1h"), project.enqueue("fails"), project.enqueue("again")
    wait_for_words(project, failed, "after attempt 1 of 3 failed: ValueError: boom.")
    wait_for_words(project, again, "as its handler requested with step.retry.")
    assert project.get(again)["attempts"] == 1
    assert why(project, delayed).endswith((", in 1h.", ", in 59m59s.", ", in 59m58s."))
    project.call("pause", group="default")
    assert why(project, delayed).endswith("; its group default is paused.")


def test_a_run_that_waits_for_a_child_which_waits_says_so_and_the_child_for_what(project: Project) -> None:
    project.workflow("a.py", LATER)
    project.serve()
    parent = project.enqueue("parent")
    wait_for_words(project, parent, "of child, which is waiting too (tako-lite why ")
    (child,) = [run["id"] for run in project.call("runs", workflow="child")["runs"]]
    assert f"its child run {child[-8:]} of child" in why(project, parent)
    assert why(project, child) == "It waits for the signal 'go', and uses no slot meanwhile."
    project.stop()
    assert project.command("why", parent).stdout.endswith("no daemon is running, so it cannot start before tako-lite serve.\n")


def test_a_due_run_counts_those_before_it_and_a_stopping_daemon_starts_none(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow("a.py", HOLD)
    project.serve()
    running, first, second = (project.enqueue("hold") for _ in range(3))
    (fact,) = project.wait_for_fact("hold")
    assert why(project, running) == f"It is running in worker {fact['pid']} of default, attempt 1 of 3."
    assert why(project, first) == "It is due and waits for a free slot in default, next in line."
    assert why(project, second) == "It is due and waits for a free slot in default, behind 1 other due run."
    assert project.process is not None
    project.process.terminate()
    wait_for_words(project, first, "the daemon is stopping and starts no more runs")
    assert "that worker is stopping: the run ends there, or is re-queued" in why(project, running)
    release(project)
    assert project.process.wait(15) == 0
    project.process = None
    said = {project.command("why", run_id).stdout for run_id in (running, first)}
    assert said == {"It is due, but no daemon is running: start tako-lite serve and it runs in default.\n"}


def test_suspects_say_which_of_them_runs_and_how_many_are_before_the_others(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 10\nmax_workers = 1\n")
    project.workflow("a.py", HOLD)
    project.serve()
    runs = [project.enqueue("hold") for _ in range(3)]
    shared = project.wait_for_fact("hold", 3)[0]["pid"]
    os.kill(shared, signal.SIGKILL)
    alone = project.wait_for_fact("hold", 4)[3]["pid"]
    assert why(project, runs[0]) == f"It is running alone in worker {alone} of default, attempt 1 of 3."
    assert why(project, runs[1]).endswith("a worker of default crashed: it waits for a worker for such runs, next in line.")
    assert why(project, runs[2]).endswith("behind 1 other due run.")
    release(project)
    assert [project.wait(run_id)["state"] for run_id in runs] == ["succeeded"] * 3


@pytest.mark.sqlite
def test_on_a_full_disk_runs_say_that_nothing_can_be_stored(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow("a.py", HOLD)
    pid = project.serve()
    reported, due = project.enqueue("hold"), project.enqueue("hold")
    (fact,) = project.wait_for_fact("hold")
    with no_room(pid, max(wal(project).stat().st_size, 1)):
        release(project)
        wait_for_words(project, due, "no run can start while the queue cannot be written: ")
        wait_until(lambda: sleeps(fact["pid"]), "its worker waits for the step to be stored")
        assert str(wal(project).with_name("queue.db")) in why(project, due)
        assert why(project, reported) == f"It is running in worker {fact['pid']} of default, attempt 1 of 3."
    assert project.wait(due, limit=10)["state"] == "succeeded"
    assert why(project, due).startswith("It succeeded at ")


def test_a_group_that_cannot_start_says_why_and_when_it_is_tried_again(project: Project) -> None:
    project.workflow("a.py", "import no_such_module\n@workflow('broken')\nasync def broken(payload): ...\n")
    project.serve()
    run_id = project.enqueue("broken")
    wait_for_words(project, run_id, "; the group will be started again in ")
    assert "default cannot start" in why(project, run_id) and "no_such_module" in why(project, run_id)


@pytest.mark.sqlite  # in a database, the lease of its server says that it lives
def test_without_a_daemon_the_file_shows_pauses_and_running_runs(project: Project) -> None:
    project.workflow("a.py", HOLD)
    project.serve()
    run_id = project.enqueue("hold")
    project.wait_for_fact("hold")
    project.call("pause", group="default")
    due = project.enqueue("hold")
    project.stop(signal.SIGKILL)
    assert project.command("why", run_id).stdout == (
        "It was running when the daemon ended; the next daemon will re-queue it without charging an attempt.\n"
    )
    assert project.command("why", due).stdout == (
        "It is due, but no daemon is running and its group default is paused: tako-lite serve, then tako-lite resume default.\n"
    )
