"""What the command line says when a run does not start, or ends at once: no wait for ever, and never exit code 0."""

from __future__ import annotations

import json
from typing import Any

from tests.support.project import Project, wait_until

QUICK = """
    @workflow("quick")
    def quick(payload):
        return payload

    @workflow("rare", worker="acme-only")
    def rare(payload):
        return payload
    """
TOML = """
    [workflows.acme-only]
    allowed_tenants = ["acme"]

    [tenants.acme]
    [tenants.globex]
    """


def document(text: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(text)
    assert told["schema"] == 1
    return told


def test_a_wait_for_a_run_whose_group_cannot_import_ends_with_the_error_of_the_group(project: Project) -> None:
    project.workflow("broken.py", 'import nonsense_module\n\n@workflow("b", worker="broken")\ndef b(payload): pass\n')
    project.serve()
    done = project.command("enqueue", "b", "--wait", "--json")

    error = document(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, done.stdout, error["type"]) == (1, "", "group_failed")
    assert "group broken cannot start" in error["message"]
    assert "nonsense_module" in error["message"]
    assert "tako-lite resume broken" in error["hint"]
    assert project.group("broken")["pending"] == 1


def test_a_wait_for_a_run_whose_group_becomes_unhealthy_ends(project: Project) -> None:
    project.workflow("broken.py", 'raise ValueError("no database")\n\n@workflow("b", worker="broken")\ndef b(payload): pass\n')
    project.serve()
    done = project.command("enqueue", "b", "--wait")

    assert done.returncode == 1
    assert "error: group broken cannot start: " in done.stderr
    assert "no database" in done.stderr


def test_a_wait_for_a_paused_group_says_so_once_and_waits_on(live: Project) -> None:
    live.add("quick.py", QUICK)
    assert live.command("pause", "default").returncode == 0
    with live.start("enqueue", "quick", "7", "--wait", "--json") as waiting:
        assert waiting.stderr is not None
        assert waiting.stdout is not None
        line = waiting.stderr.readline()
        while "waits because group" not in line:
            assert line, "the wait ended"
            line = waiting.stderr.readline()
        assert "tako-lite resume default" in line
        assert live.command("resume", "default").returncode == 0
        assert document(waiting.stdout.read())["result"] == 7
        assert waiting.wait(30) == 0


def test_a_wait_without_a_daemon_ends_and_the_run_is_stored(project: Project) -> None:
    project.workflow("quick.py", QUICK)
    done = project.command("enqueue", "quick", "--wait")

    assert done.returncode == 4
    assert "is stored, but no daemon is running" in done.stderr
    (run,) = document(project.command("runs", "--json").stdout)["runs"]
    assert run["state"] == "pending"


def test_a_wait_continues_across_a_restart_of_the_daemon(project: Project) -> None:
    project.workflow(
        "slow.py", '@workflow("slow")\nasync def slow(payload, step: Step):\n    await step.wait_for("go")\n    return 1\n'
    )
    project.serve()
    with project.start("enqueue", "slow", "--wait", "--json") as waiting:
        (run,) = wait_until(lambda: project.call("runs")["runs"], "the run is stored")
        project.wait_for_state(run["id"], "waiting")
        project.stop()
        project.serve()
        with project.client() as client:
            client.signal("go")
        assert waiting.stdout is not None
        assert document(waiting.stdout.read())["state"] == "succeeded"
        assert waiting.wait(30) == 0


def test_a_run_that_its_tenant_may_not_start_is_exit_code_1_with_the_reason(project: Project) -> None:
    project.configure(TOML)
    project.workflow("quick.py", QUICK)
    project.serve()
    done = project.command("enqueue", "rare", "--tenant", "globex")
    as_json = project.command("enqueue", "rare", "--tenant", "globex", "--json")
    waited = project.command("enqueue", "rare", "--tenant", "globex", "--wait", "--json")

    assert done.returncode == as_json.returncode == waited.returncode == 1
    assert " dead in acme-only" in done.stdout
    assert "ended at once, dead: " in done.stderr
    assert "globex" in done.stderr
    assert document(as_json.stdout)["state"] == "dead"
    assert document(as_json.stderr)["error"]["type"] == "run_ended"
    assert document(waited.stdout)["state"] == "dead"
    assert project.command("enqueue", "rare", "--tenant", "acme").returncode == 0


def test_lines_of_which_runs_ended_at_once_are_counted_with_exit_code_1(project: Project) -> None:
    project.configure(TOML)
    project.workflow("quick.py", QUICK)
    project.serve()
    for words in ((), ("--json",)):
        done = project.command("enqueue", "rare", "--tenant", "globex", "--jsonl", "-", *words, stdin="1\n2\n3\n")
        assert done.returncode == 1
        assert "3 of 3 runs ended at once" in done.stderr
        if words:
            told = document(done.stdout)
            assert (len(told["ids"]), told["refused"]) == (3, 3)
    good = project.command("enqueue", "rare", "--tenant", "acme", "--jsonl", "-", "--json", stdin="1\n")
    assert (good.returncode, document(good.stdout)["refused"]) == (0, 0)


def test_a_cancelled_run_that_was_due_later_is_due_now_when_retried_and_that_is_said(live: Project) -> None:
    live.add("quick.py", QUICK)
    id = live.enqueue("quick", delay="1h")
    was_due = live.get(id)["run_at"]
    for words in ((id,), ("--all", "--state", "cancelled")):
        assert live.command("cancel", id).returncode == 0
        assert live.command("pause", "default").returncode == 0
        done = live.command("retry", *words)
        assert done.returncode == 0
        assert "due now" in done.stdout
        assert live.command("cancel", id).returncode == 0
        with live.client() as client:
            client.call("resume", group="default")
        id = live.enqueue("quick", delay="1h")
        was_due = live.get(id)["run_at"]
    assert live.command("cancel", id).returncode == 0
    told = document(live.command("retry", id, "--json").stdout)
    assert told["was_due_at"] == {id: was_due}
    assert live.wait(id)["state"] == "succeeded"


def test_what_changes_something_answers_in_json(live: Project) -> None:
    live.add("quick.py", QUICK + '\n    @workflow("nightly", schedule="0 3 * * *")\n    def nightly(): pass\n')
    for words, answer in (
        (("pause", "default"), {"group": "default", "paused": True}),
        (("resume", "default"), {"group": "default", "paused": False}),
        (("scale", "default", "1"), {"group": "default", "workers": 1, "source": "scale"}),
        (("scale", "default", "auto"), {"group": "default", "workers": 0, "source": "tako.toml"}),
        (("schedules", "pause", "nightly"), {"workflow": "nightly", "paused": True}),
        (("schedules", "resume", "nightly"), {"workflow": "nightly", "paused": False}),
    ):
        done = live.command(*words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert document(done.stdout) == {"schema": 1, **answer}


def test_a_wait_that_timed_out_and_the_time_of_a_sleep_are_shown_as_they_were(live: Project) -> None:
    live.add(
        "waits.py",
        """
        @workflow("waits")
        async def waits(payload, step: Step):
            return await step.wait_for("never", timeout="1100ms")
        """,
    )
    run = live.run("waits")
    shown = live.command("show", run["id"]).stdout

    assert [step["timed_out"] for step in run["steps"]] == [True]
    assert run["steps"][0]["error"] is None
    assert "timed out" in shown


def test_why_shows_people_their_local_time_and_programs_utc(live: Project) -> None:
    live.add("quick.py", QUICK)
    id = live.enqueue("quick", delay="1h")
    moment = live.get(id)["run_at"]

    assert moment in document(live.command("why", id, "--json").stdout)["sentence"]
    plain = live.command("why", id).stdout
    assert moment not in plain
    assert f"It is due at {moment[:4]}-" in plain
