"""What people change by hand: one run, or all that match a filter; and what is kept of it."""

from __future__ import annotations

import getpass
import json
from typing import Any

import pytest

from tako_lite.client import Client
from tako_lite.clock import milliseconds
from tako_lite.errors import BadInput, NotFound
from tako_lite.records import new_id
from tests.support.project import Project

WORKFLOWS = """\
    @workflow("boom", retries=0)
    async def boom(payload, step: Step):
        raise ValueError(f"order {payload} is unpaid")

    @workflow("fine")
    async def fine(payload):
        return payload
    """


def bulk(client: Client, action: str, **options: Any) -> dict[str, Any]:
    """Carry out a bulk action with a new id, unless one is given."""
    arguments = {"bulk_id": new_id(), "filter": {}, **options}
    return client.call("bulk", action=action, **arguments)


@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "without one"])
def test_one_command_changes_all_runs_that_match_and_says_what_it_skipped(project: Project, daemon: bool) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    with project.client() as client:
        later = client.enqueue_many("fine", range(1_200), delay="1h")
        other = client.enqueue("fine", 7, delay="1h", tenant=None, unique_key="k")
        dead = [client.enqueue("boom", number).id for number in (4711, 99)]
        assert {client.wait(id, timeout=20)["state"] for id in dead} == {"dead"}
        (print_of_error,) = {client.get(id)["fingerprint"] for id in dead}
    if not daemon:
        assert project.stop() == 0
    with project.client() as client:
        assert client.call("count", workflow="fine")["count"] == 1_201
        assert client.call("count", workflow="fine", limit=10)["count"] == 10
        cancelled = bulk(client, "cancel", filter={"workflow": "fine", "unique_key": "k"})
        assert (cancelled["matched"], cancelled["outcomes"]) == (1, {other.id: "cancelled"})
        done = bulk(client, "cancel", filter={"workflow": "fine"}, wait=20)
        assert (done["done"], done["matched"], done["changed"], done["skipped"]) == (True, 1_200, 1_200, {})
        assert set(done["outcomes"]) == set(later)
        gone = bulk(client, "discard", filter={"fingerprint": print_of_error}, expect=2)
        assert gone["counts"] == {"discarded": 2}
        with pytest.raises(BadInput, match="2 runs match now, and 1 were confirmed"):
            bulk(client, "discard", filter={"workflow": "boom"}, expect=1)
        with pytest.raises(BadInput, match="does not change runs that are succeeded"):
            bulk(client, "retry", filter={"states": ["succeeded"]})
        with pytest.raises(NotFound, match="nowhere"):
            bulk(client, "move", filter={"workflow": "fine"}, to="nowhere")
        entries = client.call("activity")["activity"]
    assert [entry["action"] for entry in entries] == ["bulk_discard", "bulk_cancel", "bulk_cancel"]
    assert {entry["actor"] for entry in entries} == {getpass.getuser()}
    assert entries[1]["detail"]["changed"] == 1_200
    assert entries[1]["detail"]["filter"] == {"workflow": "fine"}


def test_the_same_command_again_joins_the_action_and_changes_nothing_twice(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    with project.client() as client:
        run = client.enqueue("boom", 1).id
        client.wait(run, timeout=20)
        id = new_id()
        first = bulk(client, "discard", filter={"workflow": "boom"}, bulk_id=id, wait=20)
        assert first["counts"] == {"discarded": 1}
        again = client.enqueue("boom", 2).id
        client.wait(again, timeout=20)
        assert bulk(client, "discard", filter={"workflow": "boom"}, bulk_id=id) == first
        assert client.get(again)["discarded_at"] is None
        assert client.call("stop_bulk", bulk_id=id)["stopped"] is False
        with pytest.raises(NotFound, match="no such bulk action"):
            client.call("stop_bulk", bulk_id=new_id())


@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "without one"])
def test_one_run_is_edited_moved_and_started_now(project: Project, daemon: bool) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.configure("[workflows.other]\n")
    project.serve()
    with project.client() as client:
        ended = client.enqueue("fine", 1).id
        client.wait(ended, timeout=20)
        project.command("pause", "default")
        id = client.enqueue("fine", 2, delay="1h").id
    if not daemon:
        assert project.stop() == 0
    assert project.command("edit", id, "--delay", "2h", "--priority", "5", "--retries", "7").stdout == f"{id} edited\n"
    with project.client() as client:
        run = client.get(id)
        assert (run["priority"], run["max_attempts"], run["state"]) == (5, 8, "pending")
        assert milliseconds(run["run_at"]) > milliseconds(run["created_at"]) + 7_100_000
        assert client.call("edit", run_id=ended, priority=1) == {"outcome": "ended"}
        assert client.call("edit", run_id=new_id(), priority=1) == {"outcome": "unknown"}
        with pytest.raises(BadInput, match="nothing to change"):
            client.call("edit", run_id=id)
        assert client.call("move", run_ids=[id, ended], to="other")["outcomes"] == {id: "moved", ended: "ended"}
        assert client.call("run_now", run_ids=[id, ended])["outcomes"] == {id: "due", ended: "ended"}
        assert client.get(id)["group"] == "other"
    if not daemon:
        project.serve()
    assert project.wait(id)["state"] == "succeeded"
    refused = project.command("edit", ended, "--delay", "1h")
    assert (refused.returncode, "it has ended" in refused.stderr) == (1, True)
    actions = json.loads(project.command("activity", "--json").stdout)["activity"]
    assert [(entry["action"], entry["target"]) for entry in actions if entry["action"] != "pause"] == [
        ("run_now", "2 runs"),
        ("move", "2 runs"),
        ("edit", id),
    ]


def test_activity_names_who_sent_a_command_and_has_no_payloads(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    with Client(project.root, source="admin-panel") as client:
        client.call("scale", group="default", workers=1, by={"actor": "ann", "source": "web"})
        client.call("signal", event="go", payload="secret", by={"actor": "ann", "source": "web"})
        client.call("pause", group="default")
        client.signal("quiet", "secret")
        client.enqueue("fine", "secret")
        entries = client.call("activity")["activity"]
        assert client.call("activity", actor="ann", limit=1)["activity"] == entries[1:2]
        assert client.call("activity", before=entries[1]["id"])["activity"] == entries[2:]
    assert [(entry["actor"], entry["source"], entry["action"], entry["target"]) for entry in entries] == [
        (getpass.getuser(), "admin-panel", "pause", "default"),
        ("ann", "web", "signal", "go"),
        ("ann", "web", "scale", "default"),
    ]
    assert "secret" not in json.dumps(entries)
    assert entries[2]["detail"] == {"workers": 1}


def test_runs_are_found_by_what_people_know_of_them(project: Project) -> None:
    project.configure("[tenants.acme]\n")
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    with project.client() as client:
        client.call("pause", group="default")
        one = client.enqueue("fine", {"order": "o-4711"}, tenant="acme", unique_key="k").id
        two = client.enqueue("fine", 2, delay="1h").id
        client.cancel(two)
        made = milliseconds(client.get(two)["created_at"])

        def found(**chosen: Any) -> list[str]:
            return [run["id"] for run in client.call("runs", **chosen)["runs"]]

        assert found(tenant="acme") == found(unique_key="k") == found(text="o-47") == [one]
        assert found(ended_since=made) == found(reason="cancelled") == found(states=["cancelled"]) == [two]
        assert found(until=made + 1) == found(since=made - 60_000) == [two, one]
        assert found(after=one) == [two]
        assert found(due_before=made + 60_000) == [one]
        assert found(parent=one) == found(fingerprint="1") == found(min_duration=5) == []
    page = json.loads(project.command("runs", "--limit", "1", "--json").stdout)
    assert (page["next"], page["runs"][0]["id"]) == (two, two)
    page = json.loads(project.command("runs", "--limit", "1", "--before", two, "--json").stdout)
    assert page["runs"][0]["id"] == one


def test_a_client_chooses_runs_by_the_same_filters(project: Project) -> None:
    project.configure("[tenants.acme]\n")
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    with project.client() as client:
        one = client.enqueue("fine", 1, tenant="acme").id
        two = client.enqueue("fine", 2).id
        client.wait(one, timeout=20)
        client.wait(two, timeout=20)
        assert [run["id"] for run in client.runs(workflow="fine", tenant="acme", ended_since="1h")] == [one]
        assert [run["id"] for run in client.runs(state="succeeded", until="1h")] == []
        with pytest.raises(BadInput, match="'tennant' is no filter") as refused:
            next(client.runs(tennant="acme"))  # type: ignore[call-arg]
        assert refused.value.hint == "did you mean `tenant`?"
