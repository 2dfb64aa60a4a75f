"""The command line against a real daemon and without one: what is printed, in which shape, with which exit code."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from tests.support.project import Project, wait_until

WORKFLOWS = """
@workflow("quick", retries=0)
async def quick(payload):
    return payload

@workflow("dies", retries=0)
async def dies(payload):
    raise ValueError("broken <\\x1b[31m>")

@workflow("steps")
async def steps(payload, step: Step):
    await step.run("one", lambda: {"n": 1})
    return await step.wait_for(payload)

@workflow("nightly", worker="night", schedule="0 3 * * *")
async def nightly():
    return None
"""

RUN_KEYS = {
    "id", "workflow", "group", "state", "attempts", "max_attempts", "crashes", "priority", "payload", "result", "error",
    "unique_key", "parent", "created_at", "run_at", "started_at", "finished_at", "server", "worker_pid",
}  # fmt: skip


@pytest.fixture
def shop(live: Project) -> Project:
    """The project of this module, with its workflows."""
    if not (live.root / "workflows" / "shop.py").exists():
        live.add("shop.py", WORKFLOWS)
    return live


def document(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The one JSON document on stdout."""
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == 1
    return found


def error(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    """The JSON error on stderr."""
    assert (done.returncode, done.stdout) == (code, ""), done
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    assert set(found) == {"schema", "error"}
    assert set(found["error"]) == {"type", "message", "hint"}
    inner: dict[str, Any] = found["error"]
    return inner


def test_enqueue_prints_the_id_and_as_json_the_whole_answer(shop: Project) -> None:
    plain = shop.command("enqueue", "quick", '{"n": 1}')
    run_id, *rest = plain.stdout.split()
    assert rest == ["pending", "in", "default"]
    assert shop.wait(run_id)["result"] == {"n": 1}
    made = document(shop.command("enqueue", "quick", "--json", "--unique-key", "k", "--delay", "1h"))
    assert set(made) == {"schema", "id", "state", "group", "deduplicated", "warning"}
    assert (made["state"], made["deduplicated"], made["warning"]) == ("pending", False, None)
    again = document(shop.command("enqueue", "quick", "--json", "--unique-key", "k"))
    assert (again["id"], again["deduplicated"]) == (made["id"], True)


def test_a_payload_comes_from_the_argument_a_file_or_stdin(shop: Project) -> None:
    (shop.root / "payload.json").write_text('["from", "file"]')
    for arguments, stdin, payload in (
        (["-5"], None, -5),
        (["@payload.json"], None, ["from", "file"]),
        (["-"], '"from stdin"', "from stdin"),
        ([], None, None),
    ):
        done = shop.command("enqueue", "quick", "--wait", "--json", "--", *arguments, stdin=stdin)
        assert document(done)["result"] == payload


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["enqueue", "quick", "not json"], 2, "bad_input"),
        (["enqueue", "quick", "NaN"], 2, "bad_input"),
        (["enqueue", "quick", '{"a": 1, "a": 2}'], 2, "bad_input"),
        (["enqueue", "quick", "@no-such-file"], 2, "bad_input"),
        (["enqueue", "quick", "--delay", "5"], 2, "bad_input"),
        (["enqueue", "quick", "--retries", "-1"], 2, "bad_input"),
        (["enqueue", "quick", "--nonsense"], 2, "bad_input"),
        (["nonsense"], 2, "bad_input"),
        (["enqueue", "quik"], 5, "unknown_workflow"),
        (["enqueue", "quick", "--worker", "nowhere"], 5, "unknown_group"),
        (["show", "abc"], 2, "bad_input"),
        (["show", "ffffffffffff"], 5, "unknown_run"),
        (["why", "ffffffffffff"], 5, "unknown_run"),
        (["cancel", "ffffffffffff"], 5, "unknown_run"),
        (["retry", "ffffffffffff"], 5, "unknown_run"),
        (["pause", "nowhere"], 5, "unknown_group"),
        (["resume", "nowhere"], 5, "unknown_group"),
        (["scale", "nowhere", "1"], 5, "unknown_group"),
        (["scale", "default", "many"], 2, "bad_input"),
        (["schedules", "run", "quick"], 5, "unknown_schedule"),
        (["signal", "a\nb"], 2, "bad_input"),
        (["cancel"], 2, "bad_input"),
        (["runs", "--state", "nonsense"], 2, "bad_input"),
        (["runs", "--workflow", "quik"], 5, "unknown_workflow"),
        (["cancel", "--group", "nowhere"], 5, "unknown_group"),
        (["retry", "--workflow", "quik", "--dry-run"], 5, "unknown_workflow"),
        (["logs", "--group", "nowhere", "--follow"], 5, "unknown_group"),
        (["runs", "-c", "/no/such/tako.toml"], 3, "config_invalid"),
    ],
)
def test_a_mistake_has_its_exit_code_and_its_kind(shop: Project, arguments: list[str], code: int, kind: str) -> None:
    if arguments[0] not in ("pause", "resume", "scale"):
        assert error(shop.command(*arguments, "--json"), code)["type"] == kind
        return
    plain = shop.command(*arguments)
    assert (plain.returncode, plain.stdout) == (code, "")
    assert plain.stderr.startswith("error: ")


def test_an_unknown_workflow_is_refused_with_a_similar_name(shop: Project) -> None:
    assert "quick" in str(error(shop.command("enqueue", "quik", "--json"), 5)["hint"])


def test_waiting_for_a_run_prints_it_and_its_exit_code_is_the_outcome(shop: Project) -> None:
    good = document(shop.command("enqueue", "quick", "7", "--wait", "--json"))
    assert (good["state"], good["result"]) == ("succeeded", 7)
    bad = document(shop.command("enqueue", "dies", "--wait", "--json"), code=1)
    assert bad["state"] == "dead"
    assert set(bad["error"]) == {"type", "message", "traceback", "reason"}
    shown = shop.command("enqueue", "dies", "--wait")
    assert shown.returncode == 1 and "ValueError" in shown.stdout and "\x1b" not in shown.stdout
    late = shop.command("enqueue", "steps", '"never"', "--wait", "--timeout", "100ms", "--json")
    assert error(late, 124)["type"] == "wait_timeout"


def test_runs_are_shown_in_the_documented_shape(shop: Project) -> None:
    run_id = shop.enqueue("steps", "shapes")
    shop.wait_for_state(run_id, "waiting")
    shown = document(shop.command("show", run_id[-8:], "--json"))
    assert shown.keys() >= RUN_KEYS | {"schema", "steps"}
    (step,) = shown["steps"]
    assert step.keys() >= {"name", "state", "result", "attempts", "started_at", "finished_at"}
    assert (step["name"], step["state"], step["result"], step["attempts"]) == ("one", "succeeded", {"n": 1}, 1)
    assert shown["created_at"].endswith("Z") and "T" in shown["created_at"]
    listed = document(shop.command("runs", "--workflow", "steps", "--state", "waiting", "--json"))["runs"]
    assert run_id in [run["id"] for run in listed]
    assert all(run.keys() >= RUN_KEYS and "steps" not in run for run in listed)
    assert "shapes" in shop.command("why", run_id).stdout
    why = document(shop.command("why", run_id[-8:], "--json"))
    assert why["id"] == run_id and "signal" in why["sentence"]
    assert run_id[-8:] in shop.command("runs").stdout
    assert "one" in shop.command("show", run_id).stdout


def test_status_has_the_documented_shape(shop: Project) -> None:
    shop.run("quick")
    status = document(shop.command("status", "--json"))
    assert status["daemon"].keys() >= {"pid", "zygote_pid", "server", "version", "uptime_s"}
    groups = {group["name"]: group for group in status["groups"]}
    assert set(groups) >= {"default", "night"}
    for group in groups.values():
        assert group.keys() >= {
            "name", "state", "workers", "min_workers", "max_workers", "concurrency", "busy", "pending", "waiting", "dead",
            "oldest_wait_s", "last_error",
        }  # fmt: skip
    (worker,) = [worker for worker in groups["default"]["workers"] if worker["state"] == "idle"]
    assert worker.keys() >= {"pid", "state", "running", "rss_bytes"}
    assert worker["rss_bytes"] > 1_000_000
    assert groups["night"]["state"] == "zero" and groups["night"]["workers"] == []
    plain = shop.command("status")
    assert plain.returncode == 0 and "night" in plain.stdout


def test_status_says_of_each_group_who_serves_it_and_what_is_due_also_of_one_that_sleeps(shop: Project) -> None:
    later = shop.enqueue("nightly", delay="1h")
    parked = shop.enqueue("steps", "for-the-status")
    shop.wait_for_state(parked, "waiting")
    status = document(shop.command("status", "--json"))
    groups = {group["name"]: group for group in status["groups"]}
    night, default = groups["night"], groups["default"]
    assert {tuple(group["servers"]) for group in groups.values()} == {(status["daemon"]["server"],)} == {("here",)}
    assert (night["state"], night["workers"], night["busy"], night["waiting"]) == ("zero", [], 0, 0)
    assert (night["due"], night["pending"], night["oldest_wait_s"]) == (0, 1, None)
    assert (default["due"], default["waiting"] > 0) == (0, True)
    shop.call("pause", group="night")
    due = [shop.enqueue("nightly") for _ in range(2)]
    night = next(group for group in document(shop.command("status", "--json"))["groups"] if group["name"] == "night")
    assert (night["state"], night["servers"], night["workers"]) == ("paused", ["here"], [])
    assert (night["due"], night["pending"], night["oldest_wait_s"] > 0) == (2, 3, True)
    shop.call("cancel", run_ids=[*due, later, parked])
    shop.call("resume", group="night")


def test_without_a_daemon_status_shows_no_servers_and_the_due_runs(project: Project) -> None:
    project.workflow("shop.py", WORKFLOWS)
    project.command("enqueue", "nightly")
    status = document(project.command("status", "--json"))
    (night,) = [group for group in status["groups"] if group["name"] == "night"]
    assert (status["daemon"], night["servers"], night["workers"]) == (None, [], [])
    assert (night["due"], night["pending"]) == (1, 1)


def test_workflows_schedules_and_config_have_the_documented_shapes(shop: Project) -> None:
    workflows = document(shop.command("workflows", "--json"))["workflows"]
    found = {workflow["name"]: workflow for workflow in workflows}
    assert found["nightly"].keys() >= {"name", "group", "file", "line", "schedule", "retries"}
    assert (found["nightly"]["group"], found["nightly"]["schedule"]) == ("night", "0 3 * * *")
    assert found["nightly"]["file"] == "workflows/shop.py"
    (schedule,) = document(shop.command("schedules", "--json"))["schedules"]
    assert schedule.keys() >= {"workflow", "cron", "timezone", "next_at", "last_at", "paused"}
    config = document(shop.command("config", "--json"))
    assert config["groups"]["night"]["max_workers"] == {"value": 1, "source": "built-in"}
    assert (config["monitor"]["listen"], config["logs"]["stdout"], config["web"]["auth"]) == (None, "none", "token")
    for command, said in (("workflows", "nightly"), ("schedules", "nightly"), ("config", "night"), ("config", "[monitor]")):
        assert said in shop.command(command).stdout


def test_lines_of_a_file_or_a_pipe_become_a_run_each(shop: Project) -> None:
    (shop.root / "lines.jsonl").write_text('"l1"\n\n"l2"\n"l3"')
    ids = document(shop.command("enqueue", "quick", "--jsonl", "lines.jsonl", "--json"))["ids"]
    assert [shop.wait(id)["result"] for id in ids] == ["l1", "l2", "l3"]
    piped = shop.command("enqueue", "quick", "--jsonl", "-", stdin='"p1"\n"p2"\n')
    assert "2 runs enqueued" in piped.stdout
    (shop.root / "wrong.jsonl").write_text('"w1"\n{\n"w2"\n')
    before = len(shop.call("ids", workflow="quick")["ids"])
    wrong = shop.command("enqueue", "quick", "--jsonl", "wrong.jsonl")
    assert wrong.returncode == 2 and "line 2" in wrong.stderr
    assert len(shop.call("ids", workflow="quick")["ids"]) == before


def test_cancel_and_retry_take_endings_filters_and_a_dry_run(shop: Project) -> None:
    ids = [shop.enqueue("steps", f"bulk-{number}", delay="1h") for number in range(3)]
    assert document(shop.command("cancel", ids[0][-10:], "--json"))["outcomes"] == {ids[0]: "cancelled"}
    pending = ("--workflow", "steps", "--state", "pending")
    assert document(shop.command("cancel", *pending, "--dry-run", "--json"))["count"] == 2
    assert shop.command("cancel", *pending, "--dry-run").stdout.strip() == "2 runs"
    assert shop.get(ids[1])["state"] == "pending"
    assert set(document(shop.command("cancel", *pending, "--json"))["outcomes"]) == set(ids[1:])
    again = document(shop.command("retry", "--workflow", "steps", "--state", "cancelled", "--since", "1h", "--json"))
    assert again["outcomes"].keys() >= set(ids)
    assert {shop.get(id)["state"] for id in ids} <= {"pending", "running", "waiting"}
    assert document(shop.command("cancel", *ids, "--json"))["outcomes"].keys() == set(ids)
    finished = shop.run("quick")["id"]
    refused = shop.command("retry", finished)
    assert (refused.returncode, refused.stdout) == (1, "") and "succeeded" in refused.stderr


def test_a_group_is_paused_resumed_and_scaled(shop: Project) -> None:
    assert shop.command("pause", "default").returncode == 0
    held = shop.command("enqueue", "quick", "1")
    assert "paused" in held.stderr
    run_id = held.stdout.split()[0]
    assert shop.group("default")["state"] == "paused"
    assert "paused" in shop.command("why", run_id).stdout
    assert shop.get(run_id)["state"] == "pending"
    assert shop.command("resume", "default").returncode == 0
    assert shop.wait(run_id)["state"] == "succeeded"
    assert shop.command("scale", "night", "2").returncode == 0
    wait_until(lambda: [worker["state"] for worker in shop.group("night")["workers"]] == ["idle", "idle"], "two workers")
    assert shop.command("scale", "night", "auto").returncode == 0
    wait_until(lambda: shop.group("night")["min_workers"] == 0, "as the file says")


def test_signal_says_how_many_it_woke(shop: Project) -> None:
    run_id = shop.enqueue("steps", "woken")
    shop.wait_for_state(run_id, "waiting")
    told = document(shop.command("signal", "woken", "5", "--json"))
    assert (told["stored"], told["woken"]) == (True, 1)
    assert shop.wait(run_id)["result"] == 5
    assert shop.command("signal", "woken", "6").stdout == "woken was already stored; its first payload is kept\n"
    assert document(shop.command("signal", "woken", "6", "--json"))["stored"] is False


def test_logs_are_printed_for_a_run_and_for_a_group(shop: Project) -> None:
    shop.add("prints.py", "@workflow('prints', worker='printing')\nasync def prints(payload):\n    print('said', payload)\n")
    run_id = shop.enqueue("prints", "\x1b[31mred\x1b[0m")
    shop.wait(run_id)
    plain = wait_until(lambda: (done := shop.command("logs", run_id)) and "said" in done.stdout and done, "the line is there")
    assert "\x1b" not in plain.stdout
    lines = [json.loads(line) for line in shop.command("logs", "--group", "printing", "--json").stdout.splitlines()]
    said = [line for line in lines if "said" in line["text"]]
    assert said[0].keys() >= {"schema", "at", "group", "run", "pid", "stream", "text"}
    assert (said[0]["run"], said[0]["group"]) == (run_id, "printing")


def test_backup_and_prune(shop: Project) -> None:
    shop.run("quick")
    made = document(shop.command("backup", "copy.db", "--json"))
    with closing(sqlite3.connect(shop.root / "copy.db")) as copy:
        assert copy.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM runs").fetchone()[0] > 0
    assert made["bytes"] == (shop.root / "copy.db").stat().st_size
    assert shop.command("backup", "copy.db").returncode == 2
    assert document(shop.command("prune", "--json"))["pruned"].keys() <= {"succeeded", "cancelled", "dead"}


def test_hostile_text_never_reaches_a_terminal_raw(shop: Project) -> None:
    text = "\x1b]0;title\x07 \x9b31m a\u202eb line\nline '; DROP TABLE runs; --"
    run_id = shop.enqueue("steps", text.replace("\n", " "), unique_key=text, delay="1h")
    outputs = [shop.command(*command) for command in (["show", run_id], ["runs"], ["why", run_id], ["status"])]
    outputs += [shop.command(word, text) for word in ("enqueue", "signal", "pause")]
    outputs.append(shop.command("show", text + "xxxx"))
    for done in outputs:
        for output in (done.stdout, done.stderr):
            assert "\x1b" not in output and "\x9b" not in output and "Traceback" not in output
    shop.call("cancel", run_ids=[run_id])


def test_reload_refuses_a_broken_file_and_the_daemon_continues(project: Project) -> None:
    project.workflow("shop.py", WORKFLOWS)
    pid = project.serve()
    toml = (project.root / "tako.toml").read_text()
    (project.root / "tako.toml").write_text(toml + "[workflows]\nworkers = 'two'\nnonsense = 1\n")
    refused = project.command("reload")
    assert refused.returncode == 3
    lines = toml.count("\n")
    assert f"tako.toml:{lines + 2}" in refused.stderr and f"tako.toml:{lines + 3}" in refused.stderr
    assert project.process is not None
    project.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in project.daemon_log(), "the log says so")
    # The daemon is not asked for its configuration again, so that even a broken file stops nobody.
    (project.root / "tako.toml").write_text(toml)
    project.workflow("broken.py", "@workflow('quick')\nasync def again():\n    return 1\n")
    twice = project.command("reload")
    assert twice.returncode == 3 and "shop.py" in twice.stderr and "broken.py" in twice.stderr
    assert project.run("quick", "still here")["result"] == "still here"
    assert project.status()["daemon"]["pid"] == pid
    (project.root / "workflows" / "broken.py").unlink()
    assert project.command("reload").returncode == 0


def test_check_reports_all_mistakes_at_once(project: Project) -> None:
    source = "@workflow('a', retries=COUNT)\nasync def a(): ...\n@workflow('b', worker=1)\nasync def b(): ...\n"
    project.workflow("bad.py", source)
    project.workflow("worse.py", "@workflow('c')\nasync def c(): ...\nreturn 1\n")
    found = project.command("check", "--json")
    mistakes = document(found, code=3)["mistakes"]
    assert len(mistakes) == 3
    assert all(mistake.keys() >= {"file", "line", "column", "message", "hint"} for mistake in mistakes)
    assert project.command("serve").returncode == 3
    assert project.command("check").stdout.count("bad.py") == 2


@pytest.mark.sqlite
def test_commands_without_a_daemon_read_and_write_the_file_or_say_that_they_need_one(project: Project) -> None:
    project.workflow("shop.py", WORKFLOWS)
    made = project.command("enqueue", "quick", "1", "--json")
    run_id = document(made)["id"]
    assert "no daemon" in made.stderr or "no daemon" in str(document(made)["warning"])
    for command in (
        ["status"],
        ["runs"],
        ["show", run_id],
        ["why", run_id],
        ["workflows"],
        ["schedules"],
        ["config"],
        ["check"],
    ):
        assert project.command(*command).returncode == 0, command
    assert document(project.command("status", "--json"))["daemon"] is None
    assert document(project.command("cancel", run_id, "--json"))["outcomes"] == {run_id: "cancelled"}
    assert document(project.command("retry", run_id, "--json"))["outcomes"] == {run_id: "pending"}
    assert document(project.command("signal", "offline", "1", "--json"))["woken"] == 0
    for command in ("pause default", "resume default", "scale default 1", "reload", "prune"):
        assert project.command(*command.split()).returncode == 4, command
    assert error(project.command("enqueue", "quik", "--json"), 5)["type"] == "unknown_workflow"


def test_a_second_daemon_exits_with_6_and_names_the_first(project: Project) -> None:
    pid = project.serve()
    second = project.command("serve")
    assert second.returncode == 6 and str(pid) in second.stderr


@pytest.mark.sqlite
def test_a_queue_file_of_a_newer_version_is_refused_and_left_as_it_is(project: Project) -> None:
    project.workflow("shop.py", WORKFLOWS)
    run_id = json.loads(project.command("enqueue", "quick", "1", "--json").stdout)["id"]
    file = project.root / ".tako" / "queue.db"
    with closing(sqlite3.connect(file)) as connection:
        project.spoilt = "it is of a release that is not made yet"
        connection.execute("PRAGMA user_version = 999")
        versions = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%migration%'").fetchall()
        for (table,) in versions:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            row = dict(zip(columns, connection.execute(f"SELECT * FROM {table}").fetchone(), strict=True))
            row[columns[0]] = 9999 if isinstance(row[columns[0]], int) else "9999_from_the_future.sql"
            marks = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", list(row.values()))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    served = project.command("serve")
    assert served.returncode == 1 and "newer" in served.stderr
    enqueued = project.command("enqueue", "quick", "--json")
    assert error(enqueued, 1)["type"] == "newer_file"
    assert error(project.command("show", run_id, "--json"), 1)["type"] == "newer_file"
    assert file.read_bytes() == before


def test_interrupting_a_wait_exits_with_130(shop: Project) -> None:
    with shop.start("enqueue", "steps", '"interrupted"', "--wait") as waiting:
        runs = partial(shop.call, "runs", workflow="steps")
        wait_until(lambda: any(run["payload"] == "interrupted" for run in runs()["runs"]), "it is there")
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(10) == 130


def test_watching_the_status_prints_plain_lines_to_a_pipe_until_it_is_interrupted(shop: Project) -> None:
    with shop.start("status", "--watch") as watching:
        assert watching.stdout is not None
        assert "default" in "".join(watching.stdout.readline() for _ in range(2))
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=10)
        assert watching.returncode == 0
