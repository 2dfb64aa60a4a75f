"""A project whose state folder is elsewhere: absolute, with spaces, and too long for the address of a socket."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite.listening import LONGEST_PATH
from tests.support.project import Project, command_in, wait_until
from tests.support.teardown import tear_down

WORKFLOWS = """
    @workflow("parent")
    async def parent(payload, step: Step):
        print("in the parent")
        return await step.invoke("call", "child", payload)

    @workflow("child")
    async def child(payload):
        return payload
"""


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("moved"))
    made.backend.state_dir = tmp_path_factory.mktemp("state") / "with spaces, ü and 'quotes'" / ("long-" * 20) / "state"
    assert len(str(made.state_dir)) > LONGEST_PATH
    made.configure(f'state_dir = "{made.state_dir}"\n[web]\nauth = "none"\n')
    made.workflow("a.py", WORKFLOWS)
    made.serve()
    yield made
    tear_down(made)


def test_workers_clients_and_commands_work_and_nothing_is_written_beside_the_project(moved: Project) -> None:
    assert moved.run("parent", 7)["result"] == 7
    assert "in the parent" in moved.command("logs").stdout
    assert moved.command("health", "--ready").returncode == 0
    assert json.loads(moved.command("status", "--json").stdout)["daemon"]["queue"] == str(moved.state_dir / "queue.db")
    assert json.loads(moved.command("config", "--json").stdout)["state_dir"] == str(moved.state_dir)
    assert moved.command("backup", "backup.db").returncode == 0
    doctor = moved.command("doctor", "--json")
    assert [found for found in json.loads(doctor.stdout)["findings"] if found["level"] in ("problem", "warning")] == []
    assert {path.name for path in moved.root.iterdir()} >= {"tako.toml", "workflows", "backup.db"}
    assert not (moved.root / ".tako").exists()
    assert {path.name for path in moved.state_dir.iterdir()} >= {"tako.sock", "daemon.lock", "queue.db", "logs", "workers"}
    assert not (moved.state_dir / ".gitignore").exists()
    assert {path.stat().st_mode & 0o777 for path in (moved.state_dir, *moved.state_dir.iterdir())} == {0o600, 0o700}


def test_a_second_daemon_and_a_reload_with_another_state_folder_are_refused(moved: Project) -> None:
    assert moved.cli("serve").returncode == 6
    assert moved.process is not None
    before = (moved.root / "tako.toml").read_text()
    (moved.root / "tako.toml").write_text(before.replace("/state", "/other"))
    try:
        moved.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "state_dir cannot change while the daemon runs" in moved.daemon_log(), "the reload is refused")
    finally:
        (moved.root / "tako.toml").write_text(before)
    assert moved.command("reload").returncode == 0


def test_another_folder_with_its_own_state_finds_the_daemon_through_the_queue(moved: Project, tmp_path: Path) -> None:
    release = tmp_path / "release"
    (release / "workflows").mkdir(parents=True)
    (release / "tako.toml").write_text(
        f'name = "test"\nstate_dir = "state"\nqueue.url = "sqlite:///{moved.state_dir}/queue.db"\n'
    )
    assert f"a daemon in another folder serves this queue: {moved.root}" in command_in(release, "status").stderr
    assert command_in(release, "enqueue", "child", "1", "--wait").returncode == 0
