"""What people do about dead runs: acknowledge them, run them again with another payload, read what they printed."""

from __future__ import annotations

import asyncio
import json

import pytest

from tako_lite.client import AsyncClient
from tests.support.project import Project

DIES = """\
    @workflow("dies", retries=0, priority=7)
    async def dies(payload, step: Step):
        print("got", payload)
        if payload == "bad":
            raise ValueError("no luck")
        return payload
    """


@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "without one"])
def test_a_discarded_run_stays_dead_and_is_counted_no_more(project: Project, daemon: bool) -> None:
    project.workflow("a.py", DIES)
    project.serve()
    ids = [project.enqueue("dies", "bad") for _ in range(3)]
    good = project.run("dies", 1)["id"]
    assert {project.wait(id)["state"] for id in ids} == {"dead"}
    if not daemon:
        assert project.stop() == 0
    assert project.group("default")["dead"] == 3
    assert project.command("discard", ids[0]).stdout == f"{ids[0]} discarded\n"
    with project.client() as client:
        assert client.discard(ids[0], ids[1], good) == {ids[0]: "discarded", ids[1]: "discarded", good: "not_dead"}
        shown = client.get(ids[0])
    assert (shown["state"], shown["discarded_at"] is not None) == ("dead", True)
    assert project.group("default")["dead"] == 1
    refused = project.command("discard", good)
    assert (refused.returncode, "it is not dead" in refused.stderr) == (1, True)
    assert json.loads(project.command("discard", "--all", "--json").stdout)["outcomes"] == dict.fromkeys(ids, "discarded")
    assert project.group("default")["dead"] == 0


def test_a_discarded_run_that_is_retried_and_dies_counts_again(project: Project) -> None:
    project.workflow("a.py", DIES)
    project.serve()
    run_id = project.run("dies", "bad")["id"]
    project.command("discard", run_id)
    project.command("retry", run_id)
    run = project.wait(run_id)
    assert (run["state"], run["discarded_at"]) == ("dead", None)
    assert project.group("default")["dead"] == 1


def test_a_dead_run_is_run_again_with_another_payload_as_a_new_run(project: Project) -> None:
    project.configure("[tenants.acme]\n")
    project.workflow("a.py", DIES)
    project.serve()
    old = project.run("dies", "bad", tenant="acme", retries=1, priority=9, unique_key="k")
    done = json.loads(project.command("retry", old["id"], "--payload", '"good"', "--json").stdout)
    assert done["again"] == old["id"] != done["id"]
    new = project.wait(done["id"])
    assert (new["state"], new["result"]) == ("succeeded", "good")
    for key in ("tenant", "priority", "max_attempts", "unique_key", "workflow", "group"):
        assert new[key] == old[key], key
    assert project.get(old["id"])["state"] == "dead"
    for words in (
        ["--payload", "1"],
        [old["id"], new["id"], "--payload", "1"],
        [new["id"], "--payload", "1"],
        [old["id"], "--payload", "{"],
    ):
        refused = project.command("retry", *words)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), words


def test_a_client_reads_what_a_run_printed(project: Project) -> None:
    project.workflow("a.py", DIES)
    project.serve()
    run = project.run("dies", "hello")
    project.run("dies", "another")
    with project.client() as client:
        lines = client.logs(run["id"][-8:])
    assert [(line["run"], line["text"], line["group"]) for line in lines] == [(run["id"], "got hello", "default")]

    async def the_same() -> list[dict[str, object]]:
        async with AsyncClient(project.root) as client:
            return await client.logs(run["id"])

    assert asyncio.run(the_same()) == lines
