"""A queue is brought back from a backup with the very commands that the documentation gives."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project, wait_until
from tests.support.queue_file import queue_file, wal
from tests.support.restore import WORKFLOWS, run_commands
from tests.support.runs import release

pytestmark = pytest.mark.sqlite

PAGE = Path(__file__).resolve().parents[2] / "docs/operations.md"


def documented() -> list[str]:
    """The commands below `**Restore.**`."""
    block = re.search(r"^\*\*Restore\.\*\*.*?^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].rstrip().split(" &&\n")


def everything(project: Project) -> dict[str, Any]:
    """What a client can see of the queue."""
    with project.client() as client:
        listed = client.call("runs", limit=100)["runs"]
        runs = {run["id"]: client.get(run["id"]) for run in listed}
        schedules = client.call("schedules")["schedules"]
        paused = {group["name"] for group in client.status()["groups"] if group["state"] == "paused"}
    for run in runs.values():
        del run["worker_pid"], run["in_flight"]  # which are known to a daemon only
    return {"runs": runs, "schedules": [{**schedule, "next_at": None} for schedule in schedules], "paused": paused}


def test_beside_a_living_daemon_nothing_is_restored(project: Project) -> None:
    project.serve()
    assert project.command("backup", "backup.db").returncode == 0
    refused = project.command("restore", "backup.db", "--json")
    assert (refused.returncode, json.loads(refused.stderr)["error"]["hint"]) == (6, "stop it: tako-lite stop")
    assert not list(queue_file(project).parent.glob("queue.db.re*"))


def test_the_documented_commands_restore_everything_and_running_work_continues(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    ended = project.run("quick", "kept")["id"]
    dead = project.run("fails")["id"]
    running, waiting = project.enqueue("hold"), project.enqueue("waits", "later")
    project.wait_for_fact("second")
    project.wait_for_state(waiting, "waiting")
    project.call("signal", event="sent", payload="in time")
    project.call("pause_schedule", workflow="yearly", paused=True)
    project.call("pause", group="other")
    pending = project.enqueue("quick", "p" * 5_000, unique_key="k")
    assert project.cli("backup", "backup.db").returncode == 0
    before = everything(project)

    project.call("cancel", run_ids=[running, pending])
    project.call("signal", event="later", payload="forgotten")
    wait_until(lambda: project.get(waiting)["state"] == "succeeded", "it has its signal")
    project.call("pause_schedule", workflow="yearly", paused=False)
    forgotten = project.enqueue("waits", "never")
    project.stop(signal.SIGKILL)
    wait_until(lambda: not project.survivors(), "its workers are gone")
    assert wal(project).stat().st_size > 0
    lost = everything(project)

    commands = documented()
    assert commands.pop() == "tako-lite serve"
    run_commands(project, commands)
    assert everything(project) == before
    (replaced,) = queue_file(project).parent.glob("queue.db.replaced-*Z")
    assert {path.stat().st_mode & 0o777 for path in queue_file(project).parent.glob("queue.db*")} == {0o600}

    assert project.command("restore", str(replaced)).returncode == 0
    assert everything(project) == lost
    assert project.command("restore", "backup.db").returncode == 0

    release(project)
    project.serve()
    assert forgotten not in everything(project)["runs"]
    assert (project.get(ended)["result"], project.get(dead)["state"]) == ("kept", "dead")
    assert project.wait(running)["result"] == 7
    assert (len(project.facts("first")), len(project.facts("second"))) == (1, 2)
    assert project.get(pending)["state"] == "pending"
    assert project.call("enqueue", workflow="quick", payload=None, unique_key="k")["id"] == pending
    project.call("resume", group="other")
    assert project.wait(pending)["result"] == "p" * 5_000
    assert project.run("waits", "sent")["result"] == "in time"
    project.call("signal", event="later", payload="again")
    assert project.wait(waiting)["result"] == "again"
