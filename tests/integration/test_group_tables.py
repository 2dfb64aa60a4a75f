"""`tako-lite groups` beside a daemon: what it shows, and edits that the daemon reads at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tako_lite.cli.main import main
from tests.support.backends import Backend
from tests.support.project import Project, wait_until
from tests.support.teardown import tear_down

TOML = """
[workflows.media]
concurrency = 1
description = "pictures"

[workflows.other]
fallback = "cancel"
"""
SOURCE = """
@workflow("quick")
def quick(payload):
    witness("quick", n=payload)

@workflow("steps")
async def steps(payload, step):
    for number in range(200):
        await step.run(f"s{number}", asyncio.sleep, 0.02)
        witness("step", n=number)
        if seen("stop"):
            return number

@workflow("waits")
async def waits(payload, step):
    return await step.wait_for("go")
"""


@pytest.fixture(scope="module")
def served(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose daemon runs for all tests here."""
    made = Project(tmp_path_factory.mktemp("groups"), backend)
    made.configure(TOML)
    made.workflow("jobs.py", SOURCE)
    made.serve()
    yield made
    tear_down(made)
    backend.forget(made.root)


class Tako:
    """Gives commands to the daemon of a project from this process, and keeps what they print."""

    def __init__(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        self._project = project
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        code = main([*words, "-c", str(self._project.root)])
        self.out, self.err = self._capsys.readouterr()
        return code

    def groups(self, *words: str) -> dict[str, dict[str, Any]]:
        assert self("groups", *words, "--json") == 0, self.err
        assert self.err == ""
        return {group["name"]: group for group in json.loads(self.out)["groups"]}


@pytest.fixture
def tako(served: Project, capsys: pytest.CaptureFixture[str]) -> Tako:
    return Tako(served, capsys)


def test_groups_say_who_serves_them_and_what_waits_also_at_zero_workers(served: Project, tako: Tako) -> None:
    served.call("pause", group="media")
    ids = [served.enqueue("quick", 1, worker="media"), served.enqueue("quick", 2, worker="media", delay=3600)]
    served.run("quick", 3)

    told = tako.groups()
    media, default = told["media"], told["default"]
    assert (media["state"], media["servers"], media["workers"]) == ("paused", ["here"], [])
    assert (media["pending"], media["due"], media["waiting"], media["description"]) == (2, 1, 0, "pictures")
    assert media["oldest_wait_s"] > 0
    assert (default["servers"], len(default["workers"]), default["workflows"]) == (["here"], 1, ["quick", "steps", "waits"])
    assert tako.groups("other")["other"]["fallback_source"] == "[workflows.other]"

    served.call("cancel", run_ids=ids)
    served.call("resume", group="media")


def test_an_edit_is_read_by_the_daemon_at_once(served: Project, tako: Tako) -> None:
    assert tako("groups", "add", "gpu", "--workers", "1") == 0
    assert "the daemon has reloaded it" in tako.out
    wait_until(lambda: served.group("gpu")["workers"], "gpu has a worker")

    assert tako("groups", "rm", "gpu") == 0
    wait_until(lambda: "gpu" not in tako.groups(), "gpu is gone")
    assert tako("enqueue", "quick", "--worker", "gpu") == 5


def test_the_runs_of_a_removed_group_continue_in_another(served: Project, tako: Tako) -> None:
    running = served.enqueue("steps", worker="media")
    served.wait_for_fact("step")
    queued = [served.enqueue("quick", number, worker="media") for number in range(3)]
    later = served.enqueue("quick", 9, worker="media", delay=3600)
    parked = served.enqueue("waits", worker="other")
    served.wait_for_state(parked, "waiting")
    (first,) = {fact["pid"] for fact in served.facts("step")}

    assert tako("groups", "rm", "media") == 2
    assert "group media has 5 runs that have not ended" in tako.err
    assert tako("groups", "rm", "media", "--to", "other") == 0, tako.err
    assert "moved 5 runs to group other" in tako.out

    for id in queued:
        assert (run := served.wait(id))["state"] == "succeeded", run
        assert (run["group"], run["group_source"]) == ("other", "moved")
    wait_until(lambda: {fact["pid"] for fact in served.facts("step")} - {first}, "the running one goes on in another worker")
    with served.witness.open("a") as witness:
        witness.write(json.dumps({"kind": "stop"}) + "\n")
    ended = served.wait(running)
    assert (ended["state"], ended["group"], ended["attempts"], ended["crashes"]) == ("succeeded", "other", 1, 0)
    assert served.get(later)["group"] == "other"

    served.call("signal", event="go")
    assert served.wait(parked)["state"] == "succeeded"
    wait_until(lambda: "media" not in tako.groups(), "media is gone")
