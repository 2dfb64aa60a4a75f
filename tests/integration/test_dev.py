"""`tako-lite dev`: reload on save, broken files, and what it prints."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.project import Project, is_gone, wait_until
from tests.support.teardown import tear_down
from tests.support.terminal import environment

GREET = """
    @workflow("{name}", worker="{group}", retries=0)
    async def {name}(payload, step: Step):
        return {result}
"""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that `dev` serves for all tests of this module."""
    project = Project(tmp_path_factory.mktemp("dev"))
    project.develop("--no-web")
    yield project
    tear_down(project)


def greet(dev: Project, name: str, result: str, group: str = "default") -> Path:
    return dev.workflow(f"{name}.py", GREET.format(name=name, group=group, result=result))


def printed(dev: Project, pattern: str, after: int = 0) -> str:
    """The line of the output that matches, once there is one after so many characters."""

    def found() -> str | None:
        match = re.search(f"^.*(?:{pattern}).*$", dev.daemon_log()[after:], re.MULTILINE)
        return match[0] if match else None

    return wait_until(found, f"{pattern!r} in: {dev.daemon_log()[after:]}") or ""


def position(dev: Project) -> int:
    return len(dev.daemon_log())


def save(dev: Project, name: str, result: str, group: str = "default") -> None:
    """Save a file, and wait until `dev` has read it."""
    seen = position(dev)
    greet(dev, name, result, group)
    printed(dev, "reloaded: ", seen)


def test_a_saved_file_is_served_without_a_command(dev: Project) -> None:
    save(dev, "anew", "1")
    assert dev.run("anew")["result"] == 1
    save(dev, "anew", "2")
    assert dev.run("anew")["result"] == 2


def test_a_saved_module_that_handlers_import_reloads_its_group(dev: Project) -> None:
    (dev.root / "shop").mkdir()
    (dev.root / "shop/prices.py").write_text("PRICE = 5\n")
    imports = "\n    from shop.prices import PRICE"
    dev.workflow("buys.py", imports + GREET.format(name="buys", group="till", result="PRICE"))
    printed(dev, "reloaded: till")
    assert dev.run("buys")["result"] == 5
    seen = position(dev)
    (dev.root / "shop/prices.py").write_text("PRICE = 60\n")
    printed(dev, "reloaded: till", seen)
    assert dev.run("buys")["result"] == 60


def test_a_save_names_the_waiting_runs_of_other_code_and_the_workflows_that_are_gone(dev: Project) -> None:
    source = '@workflow("{name}")\nasync def waits(payload, step: Step):\n    await step.wait_for("never")  # {note}\n'
    dev.workflow("waits.py", source.format(name="waits", note="one"))
    printed(dev, "reloaded: ")
    wait_until(lambda: any(found["name"] == "waits" for found in dev.call("workflows")["workflows"]), "the file is read")
    id = dev.enqueue("waits")
    dev.wait_for_state(id, "waiting")
    dev.workflow("waits.py", source.format(name="waits", note="two"))
    printed(dev, f"1 waiting run of waits began with other code, the oldest is {id}: tako-lite replay --all-waiting")
    dev.workflow("waits.py", source.format(name="renamed", note="two"))
    printed(dev, "no workflow file defines waits any more; 1 run of it waits")


def test_a_file_in_a_new_folder_and_one_that_is_moved_in_place_are_noticed(dev: Project) -> None:
    (dev.root / "workflows/billing/eu").mkdir(parents=True)
    dev.workflow("billing/eu/invoice.py", GREET.format(name="invoice", group="invoices", result="1"))
    printed(dev, "reloaded: .*invoices")
    file = dev.root / "workflows/billing/eu/invoice.py"
    seen = position(dev)
    draft = dev.root / "draft.py"
    draft.write_text(file.read_text().replace("return 1", "return 2"))
    draft.rename(file)
    printed(dev, "reloaded: .*invoices", seen)
    assert dev.run("invoice")["result"] == 2


def test_only_the_groups_whose_files_changed_get_new_workers(dev: Project) -> None:
    save(dev, "stays", "os.getpid()", "calm")
    save(dev, "moves", "os.getpid()", "wild")
    before = dev.run("stays")["result"]
    save(dev, "moves", "-os.getpid()", "wild")
    assert dev.run("moves")["result"] < 0
    assert not is_gone(before)


def test_a_file_that_does_not_parse_is_shown_once_with_its_line_and_refused(dev: Project) -> None:
    save(dev, "typo", "1")
    save(dev, "fine", "1", "other")
    seen = position(dev)
    file = dev.root / "workflows/typo.py"
    sound = file.read_text()
    file.write_text(sound.replace("return 1", "return (1"))
    line = printed(dev, r"workflows/typo.py:\d+:\d+: ", seen)
    assert "'(' was never closed" in line
    printed(dev, r"^ +return \(1", seen)
    refused = dev.command("enqueue", "typo")
    assert refused.returncode == 3
    assert "workflows/typo.py:" in refused.stderr and "never closed" in refused.stderr
    assert dev.run("fine")["result"] == 1
    save(dev, "fine", "2", "other")
    assert dev.daemon_log()[seen:].count("never closed") == 1
    assert "no workflow file defines typo" not in dev.daemon_log()[seen:]
    file.write_text(sound)
    printed(dev, "workflows/typo.py: no mistake any more", seen)
    assert dev.run("typo")["result"] == 1


def test_a_file_that_does_not_import_is_shown_at_once_and_refused(dev: Project) -> None:
    save(dev, "lost", "1", "far")
    save(dev, "near", "1", "far")
    seen = position(dev)
    file = dev.root / "workflows/lost.py"
    sound = file.read_text()
    file.write_text("import nothing_of_this_name\n" + sound)
    printed(dev, "workflows/lost.py:1:1: ModuleNotFoundError: .*nothing_of_this_name", seen)
    refused = dev.command("enqueue", "lost", "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stderr)["error"]["type"] == "catalog_invalid"
    assert dev.run("near")["result"] == 1
    file.write_text(sound)
    printed(dev, "workflows/lost.py: no mistake any more", seen)
    assert dev.run("lost")["result"] == 1


def test_a_run_under_way_continues_in_the_old_code_while_its_file_is_broken(dev: Project) -> None:
    source = """
        @workflow("slow", worker="slow", retries=0)
        async def slow(payload, step: Step):
            witness("slow-begun")
            while not os.path.exists("slow-go"):
                await asyncio.sleep(0.02)
            return "done"
    """
    file = dev.workflow("slow.py", source)
    printed(dev, "reloaded: slow")
    run_id = dev.enqueue("slow")
    dev.wait_for_fact("slow-begun")
    seen = position(dev)
    file.write_text(file.read_text().replace('return "done"', 'return "done'))
    printed(dev, "workflows/slow.py:", seen)
    (dev.root / "slow-go").touch()
    run = dev.wait(run_id)
    assert (run["state"], run["result"], len(dev.facts("slow-begun"))) == ("succeeded", "done", 1)
    file.unlink()


def test_a_mistake_in_tako_toml_is_shown_and_changes_nothing(dev: Project) -> None:
    save(dev, "kept", "1")
    seen = position(dev)
    dev.configure("[workflows]\nworker = 1\n")
    line = printed(dev, r"tako.toml:\d+:\d+: unknown key", seen)
    assert "worker" in line
    assert dev.run("kept")["result"] == 1
    dev.configure("[workflows]\nconcurrency = 3\n")
    printed(dev, "tako.toml: no mistake any more", seen)
    wait_until(lambda: dev.group("default")["concurrency"] == 3, "the setting holds")


def test_each_step_and_each_end_is_a_line_of_its_run(dev: Project) -> None:
    source = """
        @workflow("told", worker="told", retries=0)
        async def told(payload, step: Step):
            print("hello from the handler")
            await step.run("first", lambda: 1)
            if payload == "wait":
                await step.wait_for("told:go")
            if payload == "fail":
                raise ValueError("on purpose")
            return {"answer": 42}
    """
    dev.workflow("told.py", source)
    printed(dev, "reloaded: .*told")
    seen = position(dev)
    run_id = dev.run("told")["id"]
    prefix = rf"^\d\d:\d\d:\d\d told +{run_id[-4:]}  "
    printed(dev, prefix + "▶ told$", seen)
    printed(dev, prefix + "hello from the handler$", seen)
    printed(dev, prefix + r"✓ first \d+ms$", seen)
    printed(dev, prefix + r'✔ told \S+ → \{"answer": ?42\}$', seen)
    printed(dev, r"told +worker \d+ started in ", seen)

    failed = dev.run("told", "fail")["id"]
    printed(dev, rf"told +{failed[-4:]}  ✗ told is dead: ValueError: on purpose; see `tako-lite show {failed[-8:]}`", seen)
    text = dev.daemon_log()[seen:]
    assert "Traceback" in text and "workflows/told.py" in text and "tako_lite/" not in text

    waiting = dev.enqueue("told", "wait")
    printed(dev, rf"{waiting[-4:]}  ⏸ parked for signal told:go", seen)


def test_dev_uses_a_short_idle_timeout_and_no_fsync_unless_told_otherwise(dev: Project) -> None:
    save(dev, "brief", "os.getpid()", "brief")
    pid = dev.run("brief")["result"]
    wait_until(lambda: is_gone(pid), "the worker goes after three seconds")
    printed(dev, rf"brief +worker {pid} gone: nothing to do")


def test_a_second_dev_is_refused_with_the_pid_and_the_time_of_the_first(dev: Project) -> None:
    refused = dev.cli("dev", "--no-web")
    assert refused.returncode == 6
    assert re.search(rf"a daemon serves this project \(pid {dev.started[0]} since \d\d:\d\d\)", refused.stderr)
    assert "tako-lite logs -f" in refused.stderr


def test_once_executes_what_is_due_and_ends(project: Project) -> None:
    project.workflow("one.py", GREET.format(name="one", group="default", result="payload"))
    assert project.command("enqueue", "one", "7").returncode == 0
    done = project.cli("dev", "--once")
    assert done.returncode == 0, done.stderr
    assert "→ 7" in done.stdout
    assert json.loads(project.command("runs", "--json").stdout)["runs"][0]["state"] == "succeeded"


def test_once_exits_with_1_if_a_run_died_and_prints_json_lines_with_json(project: Project) -> None:
    project.workflow("one.py", GREET.format(name="one", group="default", result="1 / 0"))
    assert project.command("enqueue", "one").returncode == 0
    done = project.cli("dev", "--once", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert all(line["schema"] == 1 for line in lines)
    assert {"opened", "run_started", "attempt_raised", "run_died"} <= {line["event"] for line in lines}


def test_only_the_groups_that_are_asked_for_start_runs(project: Project) -> None:
    project.workflow("one.py", GREET.format(name="one", group="a", result="1"))
    project.workflow("two.py", GREET.format(name="two", group="b", result="2"))
    for name in ("one", "two"):
        assert project.command("enqueue", name).returncode == 0
    assert project.cli("dev", "--once", "--group", "b").returncode == 0
    runs = json.loads(project.command("runs", "--json").stdout)["runs"]
    assert {run["workflow"]: run["state"] for run in runs} == {"one": "pending", "two": "succeeded"}
    unknown = project.cli("dev", "--group", "bb")
    assert (unknown.returncode, "did you mean `b`?" in unknown.stderr) == (5, True)


def test_the_keys_run_a_schedule_reload_and_quit_on_a_terminal(project: Project) -> None:
    source = GREET.format(name="nightly", group="default", result="'good night'")
    project.workflow("one.py", source.replace("retries=0", 'retries=0, schedule="0 3 * * *"'))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tako_lite", "dev", "--no-schedules", "--no-web"],
        cwd=project.root,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    screen = b""

    def shows(text: str) -> bool:
        nonlocal screen
        with suppress(OSError):
            screen += os.read(ours, 65536)
        return text.encode() in screen

    try:
        wait_until(lambda: shows("keys: r reload, s run a schedule, q quit"), f"the first screen: {screen!r}")
        os.write(ours, b"s")
        wait_until(lambda: shows("good night"), "the schedule runs")
        os.write(ours, b"q")
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_without_schedules_nothing_starts_by_itself_but_a_person_can_run_a_schedule(project: Project) -> None:
    source = GREET.format(name="each", group="default", result="'now'")
    project.workflow("one.py", source.replace("retries=0", 'retries=0, schedule="* * * * * *"'))
    project.develop("--no-web", "--no-schedules")
    (schedule,) = project.call("schedules")["schedules"]
    assert schedule["next_at"] is None
    assert project.wait(project.call("run_schedule", workflow="each")["id"])["result"] == "now"
    with project.client() as client:
        assert len(client.call("runs")["runs"]) == 1
