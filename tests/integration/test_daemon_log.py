"""What the daemon's log says of groups that cannot start and of workers that end: who, why, and what happens to their runs."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.support.project import Project, wait_until

STUBBORN = """
    @workflow("stubborn", timeout=TIMEOUT, retries=0)
    async def stubborn(payload, step: Step):
        witness("begun", run=step.run_id)
        while not os.path.exists("go"):
            try:
                await asyncio.sleep(0.05)
            except BaseException:
                pass

    @workflow("frozen", retries=0)
    async def frozen(payload, step: Step):
        witness("begun", run=step.run_id)
        if not os.path.exists("go"):
            os.kill(os.getpid(), signal.SIGSTOP)

    @workflow("quick")
    async def quick(payload):
        return payload
"""


def said(project: Project, pattern: str, limit: float = 20.0) -> str:
    """The line of the log that matches, once there is one."""

    def line() -> str | None:
        return next((line for line in project.daemon_log().splitlines() if re.search(pattern, line)), None)

    return wait_until(line, f"{pattern!r} is logged", limit) or ""


def warnings(project: Project) -> list[str]:
    return [line for line in project.daemon_log().splitlines() if " WARNING " in line or " ERROR " in line]


def stubborn(project: Project, timeout: str | None = None, **table: str) -> None:
    project.configure("[workflows.default]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items()))
    project.workflow("a.py", STUBBORN.replace("TIMEOUT", repr(timeout)))


def begun(project: Project) -> tuple[int, str]:
    """The worker and the run that began."""
    (fact,) = project.wait_for_fact("begun")
    return fact["pid"], fact["run"]


def test_a_group_that_cannot_start_is_logged_at_first_when_unhealthy_and_when_healthy(
    project: Project,
) -> None:
    broken = "@workflow('b', worker='io')\nasync def b(payload):\n    return 1\n"
    project.workflow("broken.py", "import nothing_of_this_name\n" + broken)
    project.serve()
    run_id = project.enqueue("b")
    first = said(project, "group io failed to start and will be retried in 0[.]. s: ")
    assert "workflows/broken.py:" in first and "nothing_of_this_name" in first
    said(project, "group io is unhealthy: it failed to start 5 times and will be retried every 30 s: .*nothing_of_this_name")
    for _ in range(3):
        assert project.command("resume", "io").returncode == 0
    assert len(warnings(project)) == 2, warnings(project)
    project.workflow("broken.py", "import another_of_no_name\n" + broken)
    said(project, "group io .*another_of_no_name")
    project.workflow("broken.py", broken)
    said(project, "INFO group io is running again")
    assert project.wait(run_id)["result"] == 1
    assert len(warnings(project)) == 3, warnings(project)
    assert "exited with code 0" not in project.daemon_log()


def test_a_worker_that_is_killed_at_drain_timeout_is_said_to_be(project: Project) -> None:
    stubborn(project, drain_timeout="300ms")
    project.serve()
    project.enqueue("stubborn")
    pid, run_id = begun(project)
    file = project.root / "workflows/a.py"
    file.write_text(f"{file.read_text()}\n")
    project.call("reload")
    line = said(project, f"worker {pid} of group default ")
    assert line.endswith("did not reach its next step within drain_timeout (300ms) and was killed; its 1 run was re-queued"), (
        line
    )
    (project.root / "go").touch()
    assert project.wait(run_id)["attempts"] == 1
    assert "SIGKILL" not in project.daemon_log()


@pytest.mark.parametrize("cause", ["timeout", "cancel"])
def test_a_worker_that_is_killed_for_a_run_names_the_run_and_the_cause(project: Project, cause: str) -> None:
    stubborn(project, timeout="300ms" if cause == "timeout" else None)
    project.serve()
    project.enqueue("stubborn")
    pid, run_id = begun(project)
    if cause == "cancel":
        project.command("cancel", run_id)
    why = "its timeout" if cause == "timeout" else "that it was cancelled"
    said(project, f"killing worker {pid} of group default: run {run_id} has ignored {why}")
    line = said(project, f"worker {pid} of group default was killed, because")
    assert line.endswith(f"because run {run_id} ignored {why}"), line
    assert "SIGKILL" not in project.daemon_log()


def test_a_worker_that_is_killed_for_its_silence_names_heartbeat_timeout(project: Project) -> None:
    stubborn(project, heartbeat_timeout="1s")
    project.serve()
    project.enqueue("frozen")
    pid, run_id = begun(project)
    (project.root / "go").touch()
    line = said(project, f"worker {pid} of group default was killed, because")
    assert line.endswith(f"no sign of life within heartbeat_timeout (1s); run {run_id} is charged with a crash"), line
    assert project.wait(run_id)["crashes"] == 1


def test_the_log_distinguishes_workers_killed_by_the_daemon_from_others(project: Project) -> None:
    stubborn(project)
    project.serve()
    project.enqueue("stubborn")
    pid, run_id = begun(project)
    (project.root / "go").touch()
    os.kill(pid, signal.SIGKILL)
    line = said(project, f"worker {pid} of group default was killed by SIGKILL")
    assert line.endswith(f"(the daemon sent no signal); run {run_id} is charged with a crash"), line


def test_a_worker_killed_by_a_second_stop_signal_is_logged_as_such(project: Project) -> None:
    stubborn(project)
    project.serve()
    project.enqueue("stubborn")
    pid, _ = begun(project)
    assert project.process is not None
    project.process.terminate()
    said(project, "stopping gracefully [(]SIGTERM[)]")
    project.process.terminate()
    said(
        project,
        f"worker {pid} of group default was killed, because the daemon was told to stop at once; its 1 run was re-queued",
    )
    assert project.process.wait(15) == 0
    project.process = None
    project.serve()
    (project.root / "go").touch()


@pytest.mark.parametrize("runs", [1, 2])
def test_runs_that_the_previous_daemon_was_running_are_counted_in_one_line(project: Project, runs: int) -> None:
    stubborn(project)
    project.serve()
    for _ in range(runs):
        project.enqueue("stubborn")
    project.wait_for_fact("begun", runs)
    project.stop(signal.SIGKILL)
    (project.root / "go").touch()
    project.serve()
    line = said(project, "re-queued")
    assert line.endswith(f"WARNING re-queued {'1 run' if runs == 1 else '2 runs'} that the previous daemon was running"), line


def test_verbose_logs_each_run_each_step_and_what_workers_print(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("told", retries=0)
        async def told(payload, step: Step):
            print("from the handler")
            await step.run("first", lambda: 1)
            if payload is None:
                raise ValueError("on purpose")
            return payload
        """,
    )
    project.serve_with("--verbose")
    run_id = project.run("told", {"answer": 42})["id"]
    said(project, rf"INFO told \(run {run_id}\) started: attempt 1 of 1, in worker \d+ of group default")
    said(project, rf"INFO default {run_id} \| from the handler")
    said(project, rf"INFO step first of run {run_id} succeeded in \d+ms")
    said(project, rf"INFO told \(run {run_id}\) succeeded in \S+: .*42")
    project.run("told")
    said(project, "ValueError: on purpose")
    assert 'workflows/a.py", line' in project.daemon_log()
