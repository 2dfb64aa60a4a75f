"""Stop, start and reload: no attempt is charged, no run fails, and what did not change does not blink."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tako_lite.errors import TakoError
from tests.support.project import LIMIT, Project, is_gone, wait_until
from tests.support.runs import STEPS, charged, release

GROUPS = """
    @workflow("a", worker="one")
    async def a(payload):
        return os.getpid()

    @workflow("hold", worker="one")
    async def hold(payload, step: Step):
        witness("hold", group="one")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        return await step.run("pid", os.getpid)
"""

OTHER = """
    @workflow("b", worker="two")
    async def b(payload):
        return os.getpid()
"""


def send(project: Project, number: int) -> None:
    assert project.process is not None
    project.process.send_signal(number)


def ended(project: Project) -> Callable[[], bool]:
    process = project.process
    assert process is not None
    return lambda: process.poll() is not None


# Stop


def test_sigterm_lets_a_run_reach_its_next_step_and_gives_it_back_uncharged(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        def first():
            witness("first")
            while not os.path.exists("go"):
                time.sleep(0.01)
            return 1

        def second():
            witness("second")
            return 2

        @workflow("a")
        async def a(payload, step: Step):
            return [await step.run("first", first), await step.run("second", second)]
        """,
    )
    project.serve()
    run_id = project.enqueue("a")
    project.wait_for_fact("first")
    send(project, signal.SIGTERM)
    wait_until(lambda: "stopping" in project.daemon_log(), "it is stopping")
    release(project)
    assert project.stop(0) == 0
    assert project.facts("second") == []
    project.serve()
    run = project.wait(run_id)
    assert (run["result"], *charged(run)) == ([1, 2], "succeeded", 1, 0)
    assert len(project.facts("first")) == 1


def test_a_worker_that_does_not_stop_is_killed_after_drain_timeout(project: Project) -> None:
    project.configure('[workflows]\ndrain_timeout = "300ms"\n')
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    assert project.stop(limit=5) == 0
    assert is_gone(fact["pid"])
    release(project)
    project.serve()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


def test_a_second_sigterm_kills_at_once(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    send(project, signal.SIGTERM)
    wait_until(lambda: "stopping" in project.daemon_log(), "it is stopping")
    assert not is_gone(fact["pid"])
    assert project.stop(signal.SIGTERM, limit=5) == 0
    release(project)
    project.serve()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


def test_three_interrupts_at_once_and_a_hangup_while_stopping_end_it_cleanly(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    project.wait_for_fact("second")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGINT, signal.SIGINT):
        send(project, number)
    release(project)  # signals of one kind that come at once may be one
    wait_until(ended(project), "it has ended", 5)
    assert project.stop(0) == 0
    assert "Traceback" not in project.daemon_log()
    project.serve()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


def test_an_interrupt_at_the_terminal_reaches_the_daemon_and_no_worker(project: Project) -> None:
    project.workflow("a.py", STEPS)
    pid = project.serve()
    run_id = project.enqueue("two-steps", 1)
    project.wait_for_fact("second")
    os.killpg(os.getpgid(pid), signal.SIGINT)
    wait_until(lambda: "stopping" in project.daemon_log(), "it is stopping")
    release(project)
    wait_until(ended(project), "it has ended", 5)
    assert project.stop(0) == 0
    project.serve()
    run = project.wait(run_id)
    assert charged(run) == ("succeeded", 1, 0)
    assert len(project.facts("second")) == 1


def test_a_worker_that_ignores_sigterm_still_ends_with_the_daemon(project: Project) -> None:
    project.configure('[workflows]\ndrain_timeout = "200ms"\n')
    project.workflow(
        "a.py",
        """
        @workflow("stubborn")
        async def stubborn(payload):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            witness("stubborn")
            time.sleep(1000)
        """,
    )
    project.serve()
    project.enqueue("stubborn")
    (fact,) = project.wait_for_fact("stubborn")
    assert project.stop(limit=5) == 0
    assert is_gone(fact["pid"])


def test_what_is_enqueued_while_it_stops_is_kept_or_refused_but_never_lost(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.serve()
    project.enqueue("hold")
    project.wait_for_fact("hold")
    send(project, signal.SIGTERM)
    wait_until(lambda: "stopping" in project.daemon_log(), "it is stopping")
    late = project.enqueue("a")
    release(project)
    wait_until(ended(project), "it has ended")
    assert project.stop(0) == 0
    project.serve()
    assert project.wait(late)["state"] == "succeeded"


def test_the_command_waits_for_the_drain_or_for_its_timeout_and_then_no_daemon_is_left(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    pid = project.serve()
    run_id = project.enqueue("hold")
    project.wait_for_fact("hold")
    late = project.command("stop", "--timeout", "50ms")
    assert (late.returncode, "is still stopping after 50ms" in late.stderr) == (124, True)
    assert project.get(run_id)["state"] == "running"
    waiting = project.start("stop", "--json")
    wait_until(lambda: len(project.call("activity")["activity"]) == 2, "the daemon was told again")
    release(project)
    out, _ = waiting.communicate(timeout=LIMIT)
    assert (waiting.returncode, json.loads(out)) == (0, {"schema": 1, "pid": pid})
    assert project.stop(0) == 0
    assert project.command("stop").returncode == 4
    run = project.get(run_id)
    assert (run["state"], run["attempts"], run["crashes"]) == ("pending", 0, 0)


def test_the_command_can_kill_the_workers_at_once_without_charging_their_runs(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    pid = project.serve()
    run_id = project.enqueue("hold")
    (fact,) = project.wait_for_fact("hold")
    assert f"stopped the daemon (pid {pid})" in project.command("stop", "--now").stdout
    assert is_gone(fact["pid"])
    assert project.stop(0) == 0
    run = project.get(run_id)
    assert (run["state"], run["attempts"], run["crashes"]) == ("pending", 0, 0)
    assert "`stop` by" in project.daemon_log()
    assert [entry["action"] for entry in json.loads(project.command("activity", "--json").stdout)["activity"]] == ["stop"]


# Start


def test_a_second_daemon_exits_6_and_names_the_first(project: Project) -> None:
    pid = project.serve()
    second = project.cli("serve", "--server", "here")
    assert second.returncode == 6
    assert str(pid) in second.stderr
    assert project.status()["daemon"]["pid"] == pid


def test_of_daemons_that_start_at_once_one_serves_and_the_others_exit_6(project: Project) -> None:
    command = [sys.executable, "-m", "tako_lite", "serve", "--server", "here"]
    contenders = [
        subprocess.Popen(command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(5)
    ]
    project.started += [contender.pid for contender in contenders]
    wait_until(lambda: sum(contender.poll() is not None for contender in contenders) == 4, "all but one gave up", 30)
    (winner,) = [contender for contender in contenders if contender.poll() is None]
    assert {contender.returncode for contender in contenders if contender is not winner} == {6}
    wait_until(lambda: (daemon := project.status()["daemon"]) and daemon["pid"] == winner.pid, "the one left answers")
    winner.terminate()
    assert winner.wait(10) == 0


def test_a_stale_socket_is_no_obstacle(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.serve()
    project.stop(signal.SIGKILL)
    assert (project.root / ".tako/tako.sock").exists()
    project.serve()
    assert project.run("a")["state"] == "succeeded"


def test_stopping_leaves_no_socket_and_no_record_of_workers(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.serve()
    project.run("a")
    assert list((project.root / ".tako/workers").iterdir())
    assert project.stop() == 0
    assert not (project.root / ".tako/tako.sock").exists()
    assert not list((project.root / ".tako/workers").iterdir())


# Reload


def test_a_reload_replaces_the_workers_of_changed_groups_and_no_others(project: Project) -> None:
    project.configure("[workflows]\nworkers = 1\n")
    project.workflow("a.py", GROUPS)
    project.workflow("b.py", OTHER)
    project.serve()
    one, two = project.run("a")["result"], project.run("b")["result"]
    assert project.command("reload").returncode == 0
    assert (project.run("a")["result"], project.run("b")["result"]) == (one, two)
    project.configure("[workflows]\nworkers = 1\n[workflows.two]\nenv = { NEW = '1' }\n")
    assert project.command("reload").returncode == 0
    assert project.run("a")["result"] == one
    assert project.run("b")["result"] != two
    project.workflow("a.py", GROUPS + "    # changed\n")
    two = project.run("b")["result"]
    send(project, signal.SIGHUP)
    wait_until(lambda: project.run("a")["result"] != one, "the other group has a new worker")
    assert project.run("b")["result"] == two


def test_a_reload_gives_runs_of_a_changed_group_to_the_new_worker_uncharged(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.serve()
    run_id = project.enqueue("hold")
    (fact,) = project.wait_for_fact("hold")
    project.workflow("a.py", GROUPS + "    # changed\n")
    assert project.command("reload").returncode == 0
    assert not is_gone(fact["pid"])
    release(project)
    run = project.wait(run_id)
    assert charged(run) == ("succeeded", 1, 0)
    assert run["result"] != fact["pid"]


def test_a_changed_module_that_workflows_import_replaces_their_workers(project: Project) -> None:
    (project.root / "prices.py").write_text("PRICE = 1\n")
    project.workflow("a.py", "import prices\n@workflow('a')\nasync def a(payload):\n    return prices.PRICE\n")
    project.serve()
    assert project.run("a")["result"] == 1
    (project.root / "prices.py").write_text("PRICE = 1000\n")
    assert project.command("reload").returncode == 0
    assert project.run("a")["result"] == 1000


def test_a_broken_tako_toml_changes_nothing(project: Project) -> None:
    project.configure("[workflows.one]\nworkers = 1\n")
    project.workflow("a.py", GROUPS)
    project.serve()
    pid = project.run("a")["result"]
    project.configure("[workflows.one]\nworkers = 'many'\nconcurency = 3\n")
    refused = project.command("reload")
    assert refused.returncode == 3
    assert "tako.toml:3" in refused.stderr and "tako.toml:4" in refused.stderr
    send(project, signal.SIGHUP)
    wait_until(lambda: "not reloaded" in project.daemon_log(), "the log says so")
    assert project.run("a")["result"] == pid
    assert project.group("one")["min_workers"] == 1


def test_workflow_files_that_contradict_each_other_are_refused_by_a_reload(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.serve()
    pid = project.run("a")["result"]
    project.workflow("c.py", GROUPS)
    refused = project.command("reload")
    assert refused.returncode == 3
    assert "a.py" in refused.stderr and "c.py" in refused.stderr
    assert project.run("a")["result"] == pid


def test_a_reload_brings_new_groups_and_workflows_and_runs_that_waited_for_them(project: Project) -> None:
    file = project.workflow("b.py", OTHER)
    project.workflow("a.py", GROUPS)
    project.serve()
    file.unlink()
    late = project.enqueue("b", delay="100ms")
    assert project.command("reload").returncode == 0
    wait_until(lambda: "no workflow file defines b" in project.command("why", late).stdout, "it has no handler")
    project.workflow("b.py", OTHER)
    assert project.command("reload").returncode == 0
    assert project.wait(late)["state"] == "succeeded"


def test_a_file_that_a_reload_finds_broken_keeps_its_runs_until_it_is_fixed(project: Project) -> None:
    project.workflow("a.py", GROUPS)
    project.workflow("b.py", OTHER)
    project.serve()
    before = project.run("b")["result"]
    project.run("a")
    project.workflow("a.py", GROUPS + "    raise RuntimeError('half done')\n")
    assert project.command("reload").returncode == 0
    run_id = project.enqueue("a")
    wait_until(lambda: project.group("one")["last_error"], "it cannot start")
    assert "a.py" in project.group("one")["last_error"] and "half done" in project.group("one")["last_error"]
    assert project.run("b")["result"] == before
    project.workflow("a.py", GROUPS)
    mended = time.monotonic()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)
    assert time.monotonic() - mended < 3


def test_clients_that_wait_hold_a_stop_up_for_a_moment_only_and_end_it_in_order(project: Project) -> None:
    project.workflow("b.py", OTHER)
    project.serve()
    with project.client() as client:
        run_id = client.enqueue("b", delay="1h").id
    waiting = threading.Barrier(41)

    def wait(timeout: float) -> None:
        with project.client() as client:
            waiting.wait(10)
            with pytest.raises(TakoError):
                client.wait(run_id, timeout=timeout)

    # Some of the requests end while the daemon waits for them to end, most do not.
    threads = [threading.Thread(target=wait, args=(0.2 if number % 4 == 0 else 3.0,)) for number in range(40)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    assert project.stop(limit=8.0) == 0  # one after another, they would take 20 s
    for thread in threads:
        thread.join()
    assert "failed" not in project.daemon_log()
