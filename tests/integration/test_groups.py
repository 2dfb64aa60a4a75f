"""How groups grow, shrink, recycle, back off, and are paused and scaled."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.project import Project, is_gone, wait_until
from tests.support.scrape import monitor_of, scrape

PID = """
    @workflow("pid")
    async def pid(payload):
        return os.getpid()

    @workflow("hold")
    async def hold(payload):
        witness("hold")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        return os.getpid()
"""


def pids(project: Project, group: str = "default") -> list[int]:
    """The workers of a group that take work."""
    return sorted(worker["pid"] for worker in project.group(group)["workers"] if worker["state"] in ("idle", "busy"))


def waited(run: dict[str, str]) -> float:
    """Seconds from the enqueue of a run to its start."""
    return (datetime.fromisoformat(run["started_at"]) - datetime.fromisoformat(run["created_at"])).total_seconds()


# Sizes


def test_work_that_comes_when_the_last_worker_idles_out_starts_within_a_second(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "50ms"\n')
    project.workflow("a.py", PID)
    project.serve()
    dice = random.Random(7)
    with project.client() as client:
        for _ in range(50):
            run = client.wait(client.enqueue("pid").id, timeout=5)
            assert run["state"] == "succeeded" and waited(run) < 1
            pause = time.monotonic() + dice.uniform(0.04, 0.07)
            wait_until(lambda pause=pause: time.monotonic() > pause, "about the idle time-out")
    wait_until(lambda: project.group("default")["state"] == "zero", "the group is at zero")


def test_an_idle_timeout_of_nothing_still_lets_work_run(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "0s"\n')
    project.workflow("a.py", PID)
    project.serve()
    assert project.run("pid")["result"] != project.run("pid")["result"]


def test_a_group_grows_to_max_workers_while_work_waits_and_shrinks_to_its_always_on_ones(project: Project) -> None:
    project.configure('[workflows]\nworkers = 1\nmax_workers = 3\nconcurrency = 2\nidle_timeout = "200ms"\n')
    project.workflow("a.py", PID)
    project.serve()
    (first,) = wait_until(lambda: pids(project), "the always-on worker is there")
    runs = [project.enqueue("hold") for _ in range(8)]
    project.wait_for_fact("hold", 6)
    group = project.group("default")
    assert (len(group["workers"]), group["busy"], group["pending"]) == (3, 6, 2)
    (project.root / "go").touch()
    assert len({project.wait(run_id)["result"] for run_id in runs}) == 3
    wait_until(lambda: len(project.group("default")["workers"]) == 1, "it is at its always-on size again")
    assert not is_gone(first) or pids(project)


def test_a_group_that_idled_out_starts_nothing_by_itself(project: Project) -> None:
    project.configure('[workflows]\nmax_workers = 2\nconcurrency = 1\nidle_timeout = "100ms"\n')
    project.workflow("a.py", PID + "    open('imports', 'a').write('x')\n")
    project.serve()
    runs = [project.enqueue("hold") for _ in range(5)]
    project.wait_for_fact("hold", 2)
    (project.root / "go").touch()
    for run_id in runs:
        project.wait(run_id)
    wait_until(lambda: project.group("default")["state"] == "zero", "the group is at zero")
    still = time.monotonic() + 0.5
    assert wait_until(lambda: time.monotonic() > still or project.group("default")["workers"], "half a second") is True
    assert (project.root / "imports").read_text() == "xx"


def switches(pid: int) -> int:
    """How often the threads of a process have woken up."""
    statuses = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in statuses for line in text.splitlines() if line.startswith("voluntary_"))


@pytest.mark.sqlite
def test_with_nothing_to_do_no_process_wakes_up_though_the_daemon_listens_for_scrapes(project: Project) -> None:
    project.configure('[workflows]\nworkers = 1\n[monitor]\nlisten = "127.0.0.1:0"\n')
    project.workflow("a.py", PID)
    daemon = project.serve()
    assert scrape(monitor_of(project)).get_one("tako_ready") == 1
    processes = [daemon, project.run("pid")["result"], project.status()["daemon"]["zygote_pid"]]
    since: dict[tuple[int, ...], float] = {}

    def still() -> bool:
        now = tuple(switches(pid) for pid in processes)
        return time.monotonic() - since.setdefault(now, time.monotonic()) > 2.5

    wait_until(still, "all of them sleep")


def test_always_on_workers_come_back_after_a_kill(project: Project) -> None:
    project.configure("[workflows.mail]\nworkers = 2\n")
    project.workflow("a.py", "@workflow('mail', worker='mail')\nasync def mail(payload):\n    return os.getpid()\n")
    project.serve()
    before = wait_until(lambda: len(found := pids(project, "mail")) == 2 and found, "two workers")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(found := pids(project, "mail")) == 2 and not set(found) & set(before), "two other workers", 5)
    assert project.run("mail")["state"] == "succeeded"


def test_a_worker_is_replaced_after_max_runs(project: Project) -> None:
    project.configure("[workflows]\nmax_runs = 2\n")
    project.workflow("a.py", PID)
    project.serve()
    seen = [project.run("pid")["result"] for _ in range(6)]
    assert seen[0] == seen[1] and seen[2] == seen[3] and seen[4] == seen[5]
    assert len(set(seen)) == 3
    assert "WARNING" not in project.daemon_log()


def test_a_worker_that_exceeded_max_memory_is_replaced_after_its_other_runs_end(project: Project) -> None:
    project.configure('[workflows]\nmax_memory = "100MB"\n')
    project.workflow(
        "a.py",
        PID
        + """
    kept = []

    @workflow("eats")
    async def eats(payload):
        kept.append(b"x" * 150_000_000)
        return os.getpid()
    """,
    )
    project.serve()
    held = project.enqueue("hold")
    (fact,) = project.wait_for_fact("hold")
    assert project.run("pid")["result"] == fact["pid"]
    assert project.run("eats")["result"] == fact["pid"]
    assert project.run("pid")["result"] != fact["pid"]
    (project.root / "go").touch()
    run = project.wait(held)
    assert (run["result"], run["attempts"]) == (fact["pid"], 1)
    wait_until(lambda: is_gone(fact["pid"]), "the large worker is gone")


# What people ask of a group


def test_a_paused_group_takes_no_work_until_it_is_resumed_also_after_a_restart(project: Project) -> None:
    project.workflow("a.py", PID)
    project.serve()
    assert project.command("pause", "default", "--note", "a new disk").returncode == 0
    assert project.call("activity", limit=1)["activity"][0]["detail"] == {"note": "a new disk"}
    run_id = project.enqueue("pid")
    project.stop(signal.SIGKILL)
    project.serve()
    assert project.group("default")["state"] == "paused"
    assert project.get(run_id)["state"] == "pending"
    assert "resume default" in project.command("why", run_id).stdout
    assert project.command("resume", "default").returncode == 0
    assert project.wait(run_id)["state"] == "succeeded"


def test_a_group_whose_runs_were_cancelled_while_it_was_paused_starts_no_worker_when_resumed(project: Project) -> None:
    project.workflow("a.py", PID)
    project.serve()
    project.call("pause", group="default")
    cancelled, kept = [project.enqueue("pid") for _ in range(2)], project.enqueue("pid", delay="1h")
    assert project.command("cancel", *cancelled).returncode == 0
    project.call("resume", group="default")
    assert (project.group("default")["state"], project.group("default")["workers"]) == ("zero", [])
    assert project.run("pid")["state"] == "succeeded"
    assert project.get(kept)["state"] == "pending"


def test_executing_runs_of_a_paused_group_continue(project: Project) -> None:
    project.workflow("a.py", PID)
    project.serve()
    run_id = project.enqueue("hold")
    project.wait_for_fact("hold")
    project.command("pause", "default")
    (project.root / "go").touch()
    assert project.wait(run_id)["state"] == "succeeded"


def test_scale_holds_over_a_restart_until_auto(project: Project) -> None:
    project.workflow("a.py", PID)
    project.serve()
    assert project.command("scale", "default", "2").returncode == 0
    wait_until(lambda: len(pids(project)) == 2, "two workers")
    project.stop()
    project.serve()
    wait_until(lambda: len(pids(project)) == 2, "two workers again")
    assert project.command("scale", "default", "1").returncode == 0
    wait_until(lambda: len(project.group("default")["workers"]) == 1, "one worker")
    project.configure('[workflows]\nidle_timeout = "100ms"\n')
    assert project.command("reload").returncode == 0
    assert project.command("scale", "default", "auto").returncode == 0
    wait_until(lambda: project.group("default")["workers"] == [], "none, as tako.toml says")


# Groups that cannot start


def broken(project: Project, line: str = "import nothing_of_this_name") -> Path:
    return project.workflow(
        "broken.py", line + "\n\n@workflow('b', worker='broken')\nasync def b(payload):\n    return 'mended'\n"
    )


def test_a_run_whose_file_fails_to_import_is_accepted_with_the_line_and_runs_when_it_is_fixed(
    project: Project,
) -> None:
    line = broken(project).read_text().splitlines().index("import nothing_of_this_name") + 1
    project.serve()
    with project.client() as client:
        made = client.enqueue("b")
    place = f"workflows/broken.py:{line}"
    assert place in (made.warning or "") and "nothing_of_this_name" in (made.warning or "")
    assert place in project.group("broken")["last_error"]
    assert project.group("broken")["state"] in ("backoff", "unhealthy")
    assert place in project.command("why", made.id).stdout
    assert project.get(made.id)["state"] == "pending"
    broken(project, "")
    started = time.monotonic()
    run = project.wait(made.id)
    assert (run["result"], run["attempts"]) == ("mended", 1)
    assert time.monotonic() - started < 4
    assert project.group("broken")["last_error"] is None


WRONG_PARAMETERS = [
    ("payload: bytes", "BadInput: payload: bytes cannot be made from JSON (annotate with"),
    (
        'payload: "Photo"',
        "BadInput: an annotation means nothing: name 'Photo' is not defined (import what it names at run time)",
    ),
]


@pytest.mark.parametrize(("parameters", "said"), WRONG_PARAMETERS, ids=[row[0] for row in WRONG_PARAMETERS])
def test_a_handler_whose_annotations_cannot_be_is_named_with_its_file_and_line(
    parameters: str, said: str, project: Project
) -> None:
    sound = "@workflow('sound', worker='broken')\nasync def sound(payload: int): ...\n"
    wrong = f"@workflow('wrong', worker='broken')\nasync def wrong({parameters}): ...\n"
    file = project.workflow("broken.py", sound + wrong)
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "'wrong'" in text)
    project.serve()
    with project.client() as client:
        warning = client.enqueue("wrong", 1).warning or ""
    assert f"workflows/broken.py:{line} (wrong): {said}" in warning
    assert f"workflows/broken.py:{line} (wrong): {said}" in project.group("broken")["last_error"]
    assert f"broken.py:{line} (wrong)" in project.command("doctor").stdout


def test_an_unhealthy_group_is_tried_again_as_soon_as_its_file_changes(project: Project) -> None:
    broken(project)
    project.serve()
    run_id = project.enqueue("b")
    wait_until(lambda: project.group("broken")["state"] == "unhealthy", "it is unhealthy", 15)
    broken(project, "")
    assert project.wait(run_id, limit=10)["result"] == "mended"  # by itself it is tried again after 30 s


def test_resume_tries_a_broken_group_at_once(project: Project) -> None:
    (project.root / "helper.py").write_text("raise RuntimeError('not yet')\n")
    broken(project, "import helper")
    project.serve()
    run_id = project.enqueue("b")
    wait_until(lambda: project.group("broken")["state"] == "unhealthy", "it is unhealthy", 15)
    assert "helper.py:1" in project.group("broken")["last_error"]
    (project.root / "helper.py").write_text("")
    assert project.command("resume", "broken").returncode == 0
    assert project.wait(run_id, limit=10)["result"] == "mended"  # by itself it is tried again after 30 s


def test_a_broken_group_delays_no_other(project: Project) -> None:
    broken(project)
    project.workflow("a.py", PID)
    project.serve()
    project.enqueue("b")
    assert waited(project.run("pid")) < 1


def test_a_worker_that_ends_during_its_imports_is_reported_as_such(project: Project) -> None:
    broken(project, "os._exit(9)")
    project.serve()
    with project.client() as client:
        made = client.enqueue("b")
    assert "code 9" in (made.warning or "")


def test_a_worker_that_is_not_ready_in_time_is_killed_and_the_limit_is_named(project: Project) -> None:
    project.configure('[workflows.broken]\nstartup_timeout = "300ms"\n')
    broken(project, "time.sleep(60)")
    project.serve()
    with project.client() as client:
        made = client.enqueue("b")
    wait_until(lambda: project.group("broken")["last_error"], "it gave up")
    assert "startup_timeout" in project.group("broken")["last_error"]
    broken(project, "")
    assert project.wait(made.id)["result"] == "mended"
