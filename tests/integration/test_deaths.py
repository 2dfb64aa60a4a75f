"""Processes are killed and frozen: whose runs go back, who is charged, and who is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

from tako_lite.linux import boot_id, read_process
from tests.support.processes import sleeps
from tests.support.profiles import scaled
from tests.support.project import Project, is_gone, wait_until, zombies
from tests.support.runs import STEPS, charged, release

CULPRIT = """
    @workflow("innocent")
    async def innocent(n, step: Step):
        witness("innocent", n=n)
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        witness("over")
        return n

    @workflow("killer", retries=5)
    async def killer(payload):
        witness("killer")
        print("these are my last words", flush=True)
        while not os.path.exists("die"):
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGSEGV)
"""


# Workers


def test_killing_a_lone_worker_brings_its_run_back_within_two_seconds_and_charges_one_crash(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    os.kill(fact["pid"], signal.SIGKILL)
    again = project.wait_for_fact("second", 2, limit=2.0)[1]
    assert again["pid"] != fact["pid"]
    release(project)
    run = project.wait(run_id)
    assert charged(run) == ("succeeded", 1, 1)
    assert len(project.facts("first")) == 1
    assert run["steps"][0]["result"] == fact["pid"]
    assert [fact["attempt"] for fact in project.facts("attempt")] == [1, 1]


def test_a_run_that_crashes_its_worker_too_often_is_dead_with_the_signal_and_its_last_lines(project: Project) -> None:
    project.configure("[workflows]\nmax_crashes = 2\n")
    project.workflow("a.py", CULPRIT)
    release(project, "die")
    project.serve()
    run = project.run("killer")
    assert charged(run) == ("dead", 0, 2)
    assert run["error"]["reason"] == "crashed"
    assert "SIGSEGV" in run["error"]["message"]
    assert "these are my last words" in run["error"]["message"]
    assert len(project.facts("killer")) == 2


@pytest.mark.parametrize(
    ("end", "said"),
    [("os._exit(7)", "code 7"), ("os.abort()", "SIGABRT"), ("os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM")],
)
def test_however_a_worker_ends_under_a_run_the_error_says_how(project: Project, end: str, said: str) -> None:
    project.configure("[workflows]\nmax_crashes = 1\n")
    project.workflow("a.py", f"@workflow('ends')\nasync def ends(payload):\n    {end}\n    await asyncio.sleep(20)\n")
    project.serve()
    run = project.run("ends")
    assert charged(run) == ("dead", 0, 1)
    assert said in run["error"]["message"]


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_an_exception_that_ends_programs_fails_the_run_and_leaves_its_worker_alone(
    project: Project, error: str, kind: str
) -> None:
    project.workflow(
        "a.py",
        f"""
        @workflow("leaves", retries=0)
        {kind} leaves(payload):
            raise {error}

        @workflow("pid")
        async def pid(payload):
            return os.getpid()
        """,
    )
    project.serve()
    before = project.run("pid")["result"]
    run = project.run("leaves")
    assert charged(run) == ("dead", 1, 0)
    assert run["error"]["type"] == error.partition("(")[0]
    assert project.run("pid")["result"] == before


def test_of_the_runs_in_a_dead_worker_only_the_one_that_kills_it_again_is_charged(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 10\nmax_crashes = 2\nmax_workers = 3\n")
    project.workflow("a.py", CULPRIT)
    project.serve()
    innocents = [project.enqueue("innocent", n) for n in range(9)]
    killer = project.enqueue("killer")
    project.wait_for_fact("innocent", 9)
    project.wait_for_fact("killer")
    (worker,) = project.group("default")["workers"]
    release(project, "die")
    wait_until(lambda: is_gone(worker["pid"]), "their worker is dead")
    release(project)
    assert charged(project.wait(killer)) == ("dead", 0, 2)
    assert [charged(project.wait(run_id)) for run_id in innocents] == [("succeeded", 1, 0)] * 9


def test_suspects_run_alone_and_side_by_side(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 10\nmax_workers = 3\n")
    project.workflow("a.py", STEPS)
    project.serve()
    runs = [project.enqueue("two-steps", n) for n in range(3)]
    project.wait_for_fact("second", 3)
    (worker,) = project.group("default")["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    project.wait_for_fact("second", 6)
    workers = project.group("default")["workers"]
    assert sorted(len(worker["running"]) for worker in workers) == [1, 1, 1]
    release(project)
    assert [charged(project.wait(run_id)) for run_id in runs] == [("succeeded", 1, 0)] * 3


def test_suspects_that_end_in_one_turn_of_the_daemon_cost_no_worker_and_are_not_charged(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 10\nmax_workers = 3\n")
    project.workflow("a.py", CULPRIT)
    daemon = project.serve()
    runs = [project.enqueue("innocent", n) for n in range(9)]
    project.wait_for_fact("innocent", 9)
    (worker,) = project.group("default")["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    alone = [fact["pid"] for fact in project.wait_for_fact("innocent", 12)[9:]]
    os.kill(daemon, signal.SIGSTOP)  # what its workers report meanwhile, it reads in one turn
    release(project)
    project.wait_for_fact("over", 3)
    wait_until(lambda: all(sleeps(pid) for pid in alone), "they have reported")
    os.kill(daemon, signal.SIGCONT)
    assert [charged(project.wait(run_id)) for run_id in runs] == [("succeeded", 1, 0)] * 9
    assert "invalid data" not in project.daemon_log()


def test_what_a_handler_started_is_killed_with_its_worker_and_no_zombie_stays(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import subprocess

        @workflow("leaves-children")
        async def leaves_children(payload):
            if not os.path.exists("once"):
                open("once", "w").close()
                plain = subprocess.Popen(["sleep", "1000"])
                grouped = subprocess.Popen(["sleep", "1000"], process_group=0)
                witness("children", pids=[plain.pid, grouped.pid])
                await asyncio.sleep(1000)
            return "done"
        """,
    )
    daemon = project.serve()
    run_id = project.enqueue("leaves-children")
    (fact,) = project.wait_for_fact("children")
    os.kill(fact["pid"], signal.SIGKILL)
    assert project.wait(run_id)["result"] == "done"
    assert all(is_gone(pid) for pid in fact["pids"])
    wait_until(lambda: not zombies(daemon), f"no zombie is left of {fact['pids']}")


@pytest.mark.full
def test_a_frozen_worker_is_killed_and_its_run_continues_elsewhere_after_one_crash(project: Project) -> None:
    project.configure(scaled('[workflows]\nheartbeat_timeout = "1s"\n', ""))  # 30 s by default
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    os.kill(fact["pid"], signal.SIGSTOP)
    frozen = time.monotonic()
    again = project.wait_for_fact("second", 2, limit=scaled(8.0, 40.0))[1]
    print(f"the run of a frozen worker was back after {time.monotonic() - frozen:.1f} s")
    assert is_gone(fact["pid"]) and again["pid"] != fact["pid"]
    release(project)
    assert charged(project.wait(run_id)) == ("succeeded", 1, 1)


def test_a_worker_that_is_frozen_for_a_moment_continues_its_run(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    os.kill(fact["pid"], signal.SIGSTOP)
    wait_until(lambda: (process := read_process(fact["pid"])) and process.state == "T", "it is frozen")
    release(project)
    os.kill(fact["pid"], signal.SIGCONT)
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)
    assert len(project.facts("attempt")) == 1


def test_a_record_of_another_boot_or_another_process_kills_no_process(project: Project) -> None:
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    records = project.root / ".tako/workers"
    records.mkdir(parents=True, mode=0o700)
    process = read_process(stranger.pid)
    assert process is not None
    try:
        for record in (f"another-boot {process.started}", f"{boot_id()} 1", ""):
            (records / str(stranger.pid)).write_text(record)
            project.serve()
            assert stranger.poll() is None
            assert not (records / str(stranger.pid)).exists()
            project.stop()
        assert "earlier daemon left" not in project.daemon_log()
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.full
def test_code_that_blocks_the_loop_or_only_waits_is_not_taken_for_a_frozen_worker(project: Project) -> None:
    seconds, heartbeat = scaled((3, "1s"), (65, "30s"))
    project.configure(f'[workflows]\nheartbeat_timeout = "{heartbeat}"\n')
    project.workflow(
        "a.py",
        """
        @workflow("blocks")
        async def blocks(seconds):
            time.sleep(seconds)
            return os.getpid()

        @workflow("waits")
        async def waits(seconds):
            await asyncio.sleep(seconds)
            return os.getpid()

        @workflow("pid")
        async def pid(payload):
            return os.getpid()
        """,
    )
    project.serve()
    pid = project.run("pid")["result"]
    runs = [project.enqueue("waits", seconds), project.enqueue("blocks", seconds)]
    ends = [project.wait(run_id, seconds + 15) for run_id in runs]
    assert [(run["result"], *charged(run)) for run in ends] == [(pid, "succeeded", 1, 0)] * 2
    log = (project.root / ".tako/logs/default.jsonl").read_text()
    (warning,) = [line for line in map(json.loads, log.splitlines()) if "has been blocked" in line["text"]]
    assert (warning["run"], "in blocks; put blocking" in warning["text"]) == (runs[1], True)


def test_a_stderr_that_fails_does_not_end_the_heartbeat_of_a_worker_that_is_held_up(project: Project) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow(
        "a.py",
        """
        class Broken:
            def write(self, text):
                raise RuntimeError("no")

        @workflow("blocks")
        async def blocks(payload):
            sys.stderr = Broken()
            time.sleep(3)
            return os.getpid()
        """,
    )
    project.serve()
    run = project.run("blocks")
    assert charged(run) == ("succeeded", 1, 0)
    assert run["result"] == run["worker_pid"]


def test_a_worker_idle_beyond_the_heartbeat_timeout_is_not_killed_at_its_next_run(project: Project) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow(
        "a.py", "@workflow('nap')\nasync def nap(seconds):\n    await asyncio.sleep(seconds)\n    return os.getpid()\n"
    )
    project.serve()
    first = project.run("nap", 0)["result"]
    idle_since = time.monotonic()
    wait_until(lambda: time.monotonic() - idle_since > 1.2, "it was idle for a while")
    assert project.run("nap", 2.2)["result"] == first


def test_a_worker_that_closes_every_descriptor_is_replaced(project: Project) -> None:
    project.configure("[workflows]\nmax_crashes = 1\n")
    project.workflow(
        "a.py",
        """
        @workflow("closes")
        async def closes(payload):
            os.closerange(0, 64)
            await asyncio.sleep(1000)

        @workflow("pid")
        async def pid(payload):
            return os.getpid()
        """,
    )
    project.serve()
    run = project.run("closes")
    assert (run["state"], run["error"]["reason"]) == ("dead", "crashed")
    assert project.run("pid")["state"] == "succeeded"


def test_a_run_that_comes_after_its_worker_hung_up_goes_to_another_and_is_not_charged(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\nmax_workers = 2\n")
    project.workflow(
        "a.py",
        """
        import socket
        from tako_lite.worker.run import current_run

        def hang_up(link):
            link.shutdown(socket.SHUT_WR)
            os.kill(os.getpid(), signal.SIGSTOP)

        @workflow("hangs-up")
        async def hangs_up(payload):
            link = current_run.get()._link._transport.get_extra_info("socket")
            asyncio.get_running_loop().call_later(0.1, hang_up, link)
            return os.getpid()

        @workflow("pid")
        async def pid(payload):
            return os.getpid()
        """,
    )
    project.serve()
    gone = project.run("hangs-up")["result"]
    wait_until(lambda: (process := read_process(gone)) is None or process.state in "TZX", "it has hung up")
    run = project.run("pid")
    assert (charged(run), run["result"] != gone) == (("succeeded", 1, 0), True)


# The fork server


def test_killing_the_fork_server_leaves_its_workers_alone_and_the_next_spawn_works(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\nmax_workers = 2\n")
    project.workflow("a.py", STEPS)
    daemon = project.serve()
    first = project.enqueue("two-steps", 1)
    project.wait_for_fact("second")
    zygote = project.status()["daemon"]["zygote_pid"]
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: is_gone(zygote), "the zygote is dead")
    second = project.enqueue("two-steps", 2)
    facts = project.wait_for_fact("second", 2)
    assert facts[0]["pid"] != facts[1]["pid"]
    os.kill(facts[0]["pid"], signal.SIGKILL)  # an orphan by now
    again = project.wait_for_fact("second", 3, limit=2.0)[2]
    assert again["n"] == 1
    release(project)
    assert charged(project.wait(first)) == ("succeeded", 1, 1)
    assert charged(project.wait(second)) == ("succeeded", 1, 0)
    assert project.status()["daemon"]["zygote_pid"] not in (zygote, None)
    wait_until(lambda: not zombies(daemon), "no zombie is left")


def test_killing_the_fork_server_at_random_moments_of_many_forks_fails_no_run(project: Project) -> None:
    project.configure("[workflows]\nmax_runs = 1\nconcurrency = 1\nmax_workers = 3\n")
    project.workflow("a.py", "@workflow('a')\nasync def a(n):\n    return n\n")
    daemon = project.serve()
    dice = random.Random(11)
    with project.client() as client:
        runs = client.enqueue_many("a", list(range(100)))
        for rest in range(88, 16, -12):
            wait_until(lambda rest=rest: client.status()["groups"][0]["pending"] < rest, "some more have run")
            moment = time.monotonic() + dice.uniform(0, 0.03)
            wait_until(lambda moment=moment: time.monotonic() > moment, "a random moment")
            os.kill(client.status()["daemon"]["zygote_pid"], signal.SIGKILL)
    assert [charged(project.wait(run_id)) for run_id in runs] == [("succeeded", 1, 0)] * 100
    wait_until(lambda: not zombies(daemon), f"no zombie is left: {zombies(daemon)}")


# The daemon


def test_killing_the_daemon_ends_every_process_and_the_next_daemon_continues_uncharged(project: Project) -> None:
    project.workflow(
        "a.py",
        STEPS
        + """
    import subprocess

    @workflow("parent")
    async def parent(payload):
        child = subprocess.Popen(["sleep", "1000"], process_group=0)
        witness("child", child=child.pid)
        await asyncio.sleep(1000)
    """,
    )
    daemon = project.serve()
    run_id = project.enqueue("two-steps", 1)
    other = project.enqueue("parent")
    (second,) = project.wait_for_fact("second")
    (child,) = project.wait_for_fact("child")
    zygote = project.status()["daemon"]["zygote_pid"]
    project.stop(signal.SIGKILL)
    for pid in (daemon, zygote, second["pid"], child["child"]):
        wait_until(lambda pid=pid: is_gone(pid), f"{pid} is gone", limit=5.0)
    release(project)
    project.serve()
    run = project.wait(run_id)
    assert charged(run) == ("succeeded", 1, 0)
    assert len(project.facts("first")) == 1
    wait_until(lambda: len(project.facts("child")) == 2, "the other one runs again")
    assert charged(project.get(other)) == ("running", 0, 0)


def test_what_outlived_the_death_of_all_at_once_is_swept_by_the_next_start(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    zygote = project.status()["daemon"]["zygote_pid"]
    os.kill(fact["pid"], signal.SIGSTOP)
    wait_until(lambda: (process := read_process(fact["pid"])) and process.state == "T", "it is frozen")
    os.kill(zygote, signal.SIGKILL)
    project.stop(signal.SIGKILL)
    assert not is_gone(fact["pid"])
    release(project)
    project.serve()
    assert is_gone(fact["pid"])
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)
    assert "earlier daemon left" in project.daemon_log()


@pytest.mark.full
def test_quick_restarts_lose_nothing_and_charge_nothing(project: Project) -> None:
    project.workflow("a.py", STEPS)
    ids = []
    restarts = scaled(10, 50)
    for n in range(restarts):
        project.serve()
        ids.append(project.enqueue("two-steps", n))
        project.stop(signal.SIGKILL)
    release(project)
    project.serve()
    assert [charged(project.wait(run_id)) for run_id in ids] == [("succeeded", 1, 0)] * restarts
