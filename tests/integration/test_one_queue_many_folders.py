"""Several folders that name one queue, and clients that are in the wrong folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tako_lite.client import AsyncClient, Client
from tako_lite.errors import NoProject, WrongProject
from tako_lite.lock import Holder
from tako_lite.store.sqlite.queue import SqliteQueue
from tests.support.project import REPOSITORY, Project, command_in, is_gone, wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.long]

ECHO = """\
    @workflow("echo")
    async def echo(payload, step: Step):
        return payload
    """
LONG = """\
    @workflow("long")
    async def long(payload, step: Step):
        witness("begin", run=step.run_id)
        await asyncio.sleep(60)
    """
FORKS = """\
    @workflow("forks")
    def forks(payload, step: BlockingStep):
        child = os.fork()
        if child == 0:
            os.execvp("sleep", ["sleep", "600"])
        witness("forked", child=child)
        time.sleep(600)
    """


def release(project: Project, name: str, toml: str = "", workflows: bool = True) -> Path:
    """Another folder below that of a project, which names the queue of that one."""
    folder = project.root / name
    folder.mkdir()
    (folder / "tako.toml").write_text(f'name = "test"\n[queue]\nurl = "sqlite:///../.tako/queue.db"\n{toml}')
    if workflows:
        shutil.copytree(project.root / "workflows", folder / "workflows")
    return folder


def tako(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line in a folder."""
    if words[0] != "serve":
        return command_in(folder, *words)
    command = [sys.executable, "-m", "tako_lite", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a command that was refused printed."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_serve_on_one_queue_exits_with_6_and_names_the_folder_that_is_served(project: Project) -> None:
    project.workflow("a.py", LONG)
    pid = project.serve()
    project.enqueue("long")
    project.wait_for_fact("begin")
    green = release(project, "green")

    message = refused(tako(green, "serve"), 6)

    assert f"serves the queue {project.root}/.tako/queue.db from {project.root} (pid {pid})" in message
    assert f"kill {pid} ends it" in message
    assert len(project.facts("begin")) == 1
    assert project.status()["daemon"]["pid"] == pid


@pytest.mark.parametrize("through", ["link to the folder", "link to the file", "relative path"])
def test_no_spelling_of_the_queue_lets_a_second_daemon_in(project: Project, through: str) -> None:
    project.serve()
    queue = project.root / ".tako/queue.db"
    (project.root / "linked").symlink_to(queue.parent)
    (project.root / "linked.db").symlink_to(queue)
    spelling = {"link to the folder": "linked/queue.db", "link to the file": "linked.db", "relative path": "./.tako//queue.db"}
    green = release(project, "green")
    (green / "tako.toml").write_text(f'[queue]\nurl = "sqlite:///../{spelling[through]}"\n')

    assert "another daemon serves the queue" in refused(tako(green, "serve"), 6)


def test_clients_of_another_folder_reach_the_daemon_that_holds_the_queue(project: Project) -> None:
    project.workflow("a.py", ECHO)
    pid = project.serve()
    green = release(project, "green")

    with Client(green) as client:
        made = client.enqueue("echo", 1)
        assert made.warning is None
        assert client.wait(made.id, timeout="15s")["result"] == 1
        assert client.enqueue_many("echo", [2, 3]).warning is None
        assert client.status()["daemon"]["pid"] == pid
    said = tako(green, "enqueue", "echo", "4", "--wait", "--json")
    assert json.loads(said.stdout)["result"] == 4
    assert "no daemon" not in said.stderr
    assert f"a daemon in another folder serves this queue: {project.root} (pid {pid})" in tako(green, "status").stderr
    (lock,) = (
        finding
        for finding in json.loads(tako(green, "doctor", "--json").stdout)["findings"]
        if finding["check"] == "lock"
    )  # fmt: skip
    assert f"pid {pid} on here, from {project.root}" in lock["message"]


def test_without_a_daemon_the_folders_of_one_queue_write_it_side_by_side(project: Project) -> None:
    project.workflow("a.py", ECHO)
    green = release(project, "green")
    for folder in (project.root, green, project.root):
        assert tako(folder, "enqueue", "echo", "1").returncode == 0
    assert len(json.loads(tako(green, "runs", "--json").stdout)["runs"]) == 3
    assert not SqliteQueue(project.root / ".tako/queue.db").serving_lock().is_held()
    project.serve()
    assert all(project.wait(run["id"])["state"] == "succeeded" for run in project.call("runs")["runs"])


def test_reload_is_refused_from_a_folder_that_the_daemon_does_not_serve(project: Project) -> None:
    project.serve()
    green = release(project, "green")
    message = refused(tako(green, "reload"), 3)
    assert f"serves {project.root}/tako.toml" in message
    assert f"{green}/tako.toml" in message


def test_a_client_that_asked_before_may_not_reload_a_daemon_of_another_folder_either(project: Project) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    with Client(release(project, "green")) as client:
        client.enqueue("echo", 1)
        with pytest.raises(WrongProject, match="green"):
            client.call("reload")
        assert client.status()["daemon"]["pid"] == project.process.pid  # type: ignore[union-attr]


@pytest.mark.parametrize("command", ["scale default 2 --save", "groups set default workers=2"])
def test_settings_saved_in_a_folder_that_is_not_served_leave_the_daemon_alone_and_say_so(
    project: Project, command: str
) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    assert tako(project.root, "scale", "default", "1").returncode == 0
    green = release(project, "green")

    done = tako(green, *command.split())

    assert done.returncode == 0
    assert f"the change takes effect once a daemon serves this file: the daemon (pid {project.process.pid})" in done.stderr  # type: ignore[union-attr]
    assert "no daemon is running" not in done.stderr
    assert "workers = 2" in (green / "tako.toml").read_text()
    assert project.group("default")["min_workers"] == 1


def test_logs_are_those_of_the_daemon_that_serves_the_queue(project: Project) -> None:
    project.workflow("a.py", '@workflow("say")\nasync def say(payload, step: Step):\n    print("hello from there")\n')
    project.serve()
    project.run("say")
    green = release(project, "green")
    assert "hello from there" in tako(green, "logs").stdout


def test_once_the_first_daemon_stops_the_next_release_takes_the_runs_over(project: Project) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    green = release(project, "green")
    assert project.stop() == 0
    waiting = project.enqueue("echo", 7)
    blue, project.root = project.root, green
    project.spoilt = "the queue is not in the folder that is served"
    try:
        project.serve()
        assert project.wait(waiting)["result"] == 7
        (blue / ".tako/tako.sock").unlink(missing_ok=True)
        assert tako(blue, "status", "--json").returncode == 0
        assert project.stop() == 0
    finally:
        project.root = blue


def test_what_a_killed_daemon_of_another_folder_left_running_ends_before_its_runs_start_again(project: Project) -> None:
    """Its workers stand in the other folder's records, which the lock of the queue names."""
    project.configure('[workflows]\nheartbeat_timeout = "30s"\n')
    project.workflow("a.py", FORKS)
    pid = project.serve()
    run_id = project.enqueue("forks")
    (fact,) = project.wait_for_fact("forked")
    zygote = project.status()["daemon"]["zygote_pid"]
    os.kill(fact["pid"], signal.SIGSTOP)  # its guard cannot end the session
    for victim in (zygote, pid):
        os.kill(victim, signal.SIGKILL)
    assert project.process is not None
    project.process.wait()
    project.process = None
    assert not is_gone(fact["child"])
    green = release(project, "green")
    blue, project.root = project.root, green
    project.spoilt = "the queue is not in the folder that is served"
    try:
        project.serve()
        assert is_gone(fact["child"])
        assert is_gone(fact["pid"])
        project.command("cancel", run_id)
        assert project.stop() == 0
    finally:
        project.root = blue


def test_a_folder_with_a_new_queue_keeps_its_workers_when_its_first_queue_is_served_again(
    project: Project,
) -> None:
    project.workflow("a.py", LONG)
    project.serve()
    assert project.stop() == 0
    green = release(project, "green")
    project.configure('[queue]\nurl = "sqlite:///other.db"\n')
    project.spoilt = "the queue is not where the checker looks"
    project.serve()
    project.enqueue("long")
    (fact,) = project.wait_for_fact("begin")
    command = [sys.executable, "-m", "tako_lite", "serve"]
    with (
        (green / "serve.log").open("wb") as log,
        subprocess.Popen(command, cwd=green, stdout=log, stderr=log, start_new_session=True) as second,
    ):
        try:
            wait_until(lambda: "serving test" in (green / "serve.log").read_text(), "the second daemon serves")
            assert not is_gone(fact["pid"])
            assert len(project.facts("begin")) == 1
        finally:
            second.terminate()
            second.wait(15)


def test_a_client_of_a_configuration_that_is_not_served_is_refused_with_both(project: Project) -> None:
    project.workflow("a.py", ECHO)
    pid = project.serve()
    staging = project.root / "staging.toml"
    staging.write_text('name = "test"\n[queue]\nurl = "sqlite:///staging.db"\n')

    for words in (["enqueue", "echo"], ["status"], ["signal", "x"], ["pause", "default"], ["runs"], ["reload"]):
        message = refused(tako(project.root, *words, "-c", "staging.toml"), 3)
        assert f"the daemon (pid {pid}) serves {project.root}/tako.toml with the queue {project.root}/.tako/queue.db" in message
        assert f"{staging} names the queue {project.root}/staging.db" in message
    with Client(staging) as client:
        for attempt in (lambda: client.enqueue("echo"), lambda: client.enqueue_many("echo", [1]), lambda: client.signal("x")):
            with pytest.raises(WrongProject, match="names the queue"):
                attempt()
    assert project.call("runs")["runs"] == []
    assert not (project.root / "staging.db").exists()


def test_another_file_of_the_same_folder_and_queue_is_refused_as_well(project: Project) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    (project.root / "other.toml").write_text('name = "test"\n')
    assert f"but this is {project.root}/other.toml" in refused(tako(project.root, "enqueue", "echo", "-c", "other.toml"), 3)
    assert project.call("runs")["runs"] == []


def test_two_applications_with_one_queue_are_distinguished_by_name(project: Project) -> None:
    project.serve()
    green = release(project, "green")
    (green / "tako.toml").write_text('name = "blog"\n[queue]\nurl = "sqlite:///../.tako/queue.db"\n')
    assert f"{green}/tako.toml is the project blog" in refused(tako(green, "status"), 3)


def test_a_changed_queue_in_the_served_file_is_reported_before_anything_is_sent(project: Project) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    project.configure('[queue]\nurl = "sqlite:///elsewhere.db"\n')
    assert f"names the queue {project.root}/elsewhere.db" in refused(tako(project.root, "enqueue", "echo"), 3)
    project.configure("# another comment\n")
    assert project.run("echo", 1)["result"] == 1


def test_a_mistake_in_the_file_that_is_served_keeps_no_client_away(project: Project) -> None:
    project.workflow("a.py", ECHO)
    project.serve()
    (project.root / "tako.toml").write_text("workflows = [")
    assert project.run("echo", 1)["result"] == 1
    assert tako(project.root, "signal", "x").returncode == 0
    project.configure("")


def test_a_project_behind_a_link_that_was_turned_is_still_found(project: Project) -> None:
    """Release folders with a `current` link: the daemon began in the one before."""
    blue = release(project, "blue")
    (blue / "workflows/a.py").write_text('from tako_lite import workflow\n@workflow("echo")\ndef echo(x):\n    return x\n')
    green = project.root / "green"
    shutil.copytree(blue, green)
    current = project.root / "current"
    current.symlink_to(blue)
    project.root, root = current, project.root
    project.spoilt = "the queue is not in the folder that is served"
    try:
        project.serve()
        current.unlink()
        current.symlink_to(green)
        with Client(current) as client:
            made = client.enqueue("echo", 5)
            assert made.warning is None
            assert client.wait(made.id, timeout="15s")["result"] == 5
        assert "another daemon serves" in refused(tako(current, "serve"), 6)
        assert project.stop() == 0
    finally:
        project.root = root


def test_the_lock_of_the_queue_says_who_serves_it(project: Project) -> None:
    pid = project.serve()
    holder = Holder.parse((project.root / ".tako/queue.db.lock").read_text())
    assert holder is not None
    assert (holder.pid, holder.server, holder.project) == (pid, "here", "test")
    assert (holder.root, holder.state_dir) == (str(project.root), str(project.root / ".tako"))
    assert holder.socket == str(project.root / ".tako/tako.sock")
    assert (project.root / ".tako/queue.db.lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_of_the_queue_that_was_taken_away_is_taken_again(project: Project) -> None:
    project.serve()
    (project.root / ".tako/queue.db.lock").unlink()
    wait_until(
        SqliteQueue(project.root / ".tako/queue.db").serving_lock().is_held, "the daemon holds the lock of its queue again"
    )
    assert "another daemon serves the queue" in refused(tako(release(project, "green"), "serve"), 6)


def test_no_hint_suggests_to_kill_a_pid_of_another_namespace(project: Project) -> None:
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("this user may not make a pid namespace")
    project.wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    log = (project.root / "daemon.log").open("ab")
    command = [*project.wrapper, sys.executable, "-m", "tako_lite", "serve"]
    with log, subprocess.Popen(command, cwd=project.root, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            wait_until(lambda: project.status()["daemon"], "the daemon answers")
            project.spoilt = "the daemon ends with its namespace"
            for folder in (project.root, release(project, "green")):
                message = refused(tako(folder, "serve"), 6)
                assert "kill 1" not in message
                assert "another container or pid namespace" in message
        finally:
            process.kill()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    return tmp_path


def test_clients_in_a_folder_that_is_no_project_raise_and_leave_it_empty(nowhere: Path) -> None:
    makers: list[Any] = [Client, AsyncClient]
    for make in makers:
        with pytest.raises(NoProject, match=f"{nowhere} is not a project"):
            make()
    assert list(nowhere.iterdir()) == []


HANDLE = """\
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from workflows.a import echo
print(json.dumps([echo.enqueue(1).id, asyncio.run(echo.aenqueue(2)).id]))
"""


def test_a_handle_in_a_folder_that_is_no_project_finds_that_of_its_own_file(project: Project, tmp_path_factory: Any) -> None:
    project.workflow("a.py", '@workflow("echo")\nasync def echo(payload):\n    return payload\n')
    project.serve()
    nowhere = tmp_path_factory.mktemp("nowhere")
    command = [sys.executable, "-c", HANDLE, str(project.root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert [project.wait(id)["result"] for id in json.loads(done.stdout)] == [1, 2]
    assert list(nowhere.iterdir()) == []


def test_serve_in_an_empty_folder_is_refused(nowhere: Path) -> None:
    assert f"{nowhere} is not a project" in refused(tako(nowhere, "serve"), 3)
    assert list(nowhere.iterdir()) == []


FOREIGN: Any = {"pid": "x", "server": 1, "project": None, "config": 3, "root": 7, "state_dir": [], "socket": {}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff\x00\x01",
        "[1, 2]",
        "9" * 5000,
        "[" * 60_000,
        "x" * 1_000_000,
        json.dumps(FOREIGN),
        json.dumps(
            {**FOREIGN, "pid": 1, "server": "a", "project": "b", "config": None, "root": "/", "state_dir": "a\0b", "socket": ""}
        ),
    ],
    ids=["empty", "binary", "list", "digits", "deep", "long", "types", "nul"],
)
def test_a_lock_of_the_queue_with_a_foreign_text_keeps_neither_clients_nor_the_daemon_away(project: Project, text: str) -> None:
    project.workflow("a.py", ECHO)
    (project.root / ".tako").mkdir()
    (project.root / ".tako/queue.db.lock").write_text(text, encoding="latin-1")

    early = project.enqueue("echo", 1)
    assert project.status()["daemon"] is None
    project.serve()

    assert project.wait(early)["result"] == 1
    with Client(release(project, "green")) as client:
        assert client.status()["daemon"]["pid"] == project.process.pid  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["queue.db.lock", "queue.db.write.lock", "daemon.lock"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "lost link"])
def test_what_is_in_the_way_of_a_lock_is_named_by_serve_and_by_doctor(project: Project, name: str, kind: str) -> None:
    path = project.root / ".tako" / name
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/nonexistent/lock")

    assert str(path) in refused(tako(project.root, "serve"), 1)
    assert tako(project.root, "status").returncode == 0
    found = json.loads(tako(project.root, "doctor", "--json").stdout)["findings"]
    assert [each["mend"] for each in found if each["check"] == "lock" and each["level"] == "problem"] == [
        f"mv {path} {path}.old"
    ]
