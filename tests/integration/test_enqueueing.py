"""What the options of an enqueue do to a run: when it starts, before whom, and whether it is made at all."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tako_lite.errors import BadInput, NotFound
from tests.support.profiles import dice, scaled
from tests.support.project import Project, wait_until

QUICK = "@workflow('quick')\nasync def quick(payload):\n    witness('quick', payload=payload)\n    return payload\n"


def test_runs_of_a_group_start_in_the_order_of_priority_and_then_of_their_time(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow("quick.py", QUICK)
    project.serve()
    project.call("pause", group="default")
    with project.client() as client:
        client.enqueue_many("quick", ["a", "b", "c"])
        client.enqueue("quick", "first", priority=60)
        client.enqueue("quick", "last", priority=-60)
        client.enqueue("quick", "d")
    project.call("resume", group="default")
    project.wait_for_fact("quick", 6)
    assert [fact["payload"] for fact in project.facts("quick")] == ["first", "a", "b", "c", "d", "last"]


def test_a_run_is_not_started_before_its_time(live: Project) -> None:
    live.add("quick.py", QUICK)
    due = datetime.now(UTC) + timedelta(milliseconds=400)
    delayed = live.wait(live.enqueue("quick", delay="400ms"))
    at = live.wait(live.enqueue("quick", at=due))
    assert delayed["started_at"] >= delayed["run_at"] > delayed["created_at"]
    assert at["started_at"] >= at["run_at"]
    assert datetime.fromisoformat(at["run_at"]) == due.replace(microsecond=due.microsecond // 1000 * 1000)


def test_a_unique_key_returns_the_unfinished_run_that_has_it(live: Project) -> None:
    live.add("quick.py", QUICK)
    with live.client() as client:
        first = client.enqueue("quick", 1, unique_key="order-1", delay="1h")
        again = client.enqueue("quick", 2, unique_key="order-1")
        assert (first.deduplicated, again.deduplicated, again.id) == (False, True, first.id)
        client.cancel(first.id)
        after = client.enqueue("quick", 3, unique_key="order-1")
        assert (after.deduplicated, live.wait(after.id)["result"]) == (False, 3)


def test_an_id_of_ones_own_makes_one_run_also_after_its_end(live: Project) -> None:
    live.add("quick.py", QUICK)
    own = str(uuid.uuid4())
    with live.client() as client:
        assert client.enqueue("quick", "mine", id=own).id == own
        live.wait(own)
        again = client.enqueue("quick", "other", id=own)
    assert (again.id, again.state) == (own, "succeeded")
    assert live.get(own)["result"] == "mine"
    assert [fact["payload"] for fact in live.facts("quick")].count("other") == 0


def test_a_run_goes_to_the_group_that_the_enqueue_names(live: Project) -> None:
    live.add("quick.py", QUICK + "\n@workflow('elsewhere', worker='elsewhere')\nasync def elsewhere():\n    return 1\n")
    run = live.run("quick", worker="elsewhere")
    assert (run["group"], run["group_source"], run["state"]) == ("elsewhere", "enqueue", "succeeded")
    assert live.run("elsewhere")["group_source"] == "workflow"
    with live.client() as client, pytest.raises(NotFound, match="elsewere") as refused:
        client.enqueue("quick", worker="elsewere")
    assert "elsewhere" in str(refused.value.hint)


def test_what_cannot_be_enqueued_is_refused_and_nothing_is_stored(live: Project) -> None:
    live.add("quick.py", QUICK)
    before = live.call("ids")["ids"]
    refused: list[dict[str, object]] = [
        {"payload": b"bytes"},
        {"payload": float("nan")},
        {"payload": "\ud800"},
        {"payload": "x" * (1 << 20)},
        {"delay": "soon"},
        {"delay": -1},
        {"at": "2040-01-01T00:00:00"},
        {"at": "yesterday"},
        {"delay": "1s", "at": "2040-01-01T00:00:00Z"},
        {"priority": 1 << 70},
        {"priority": "high"},
        {"retries": -1},
        {"unique_key": ""},
        {"unique_key": "x" * 2000},
        {"id": "not-an-id"},
        {"nonsense": 1},
    ]
    with live.client() as client:
        for options in refused:
            with pytest.raises(BadInput):
                client.enqueue("quick", **options)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="quik") as unknown:
            client.enqueue("quik")
        assert "quick" in str(unknown.value.hint)
    assert live.call("ids")["ids"] == before


def test_many_runs_of_one_call_are_all_stored_and_run(live: Project) -> None:
    live.add("quick.py", "@workflow('plain')\nasync def plain(payload):\n    return payload\n")
    with live.client() as client:
        ids = client.enqueue_many("plain", range(3000))
        assert len(set(ids)) == 3000
        assert client.wait(ids[-1], timeout=60)["result"] == 2999
        wait_until(lambda: not client.call("ids", workflow="plain", states=["pending", "running"])["ids"], "all ran", 60)
        assert len(client.call("ids", workflow="plain", states=["succeeded"])["ids"]) == 3000


def test_runs_that_were_enqueued_without_a_daemon_run_when_one_starts(project: Project) -> None:
    project.workflow("quick.py", QUICK)
    with project.client() as client:
        made = client.enqueue("quick", {"made": "offline"})
        later = client.enqueue("quick", "later", delay="1h")
        gone = client.enqueue("quick", "cancelled")
        assert made.state == "pending"
        assert client.cancel(gone.id) == {gone.id: "cancelled"}
        client.signal("offline", 1)
        assert client.status()["daemon"] is None
    project.serve()
    assert project.wait(made.id)["result"] == {"made": "offline"}
    assert project.get(later.id)["state"] == "pending"
    assert project.get(gone.id)["state"] == "cancelled"


@pytest.mark.full
def test_clients_that_enqueue_while_daemons_are_killed_lose_nothing_and_make_nothing_twice(project: Project) -> None:
    project.workflow("quick.py", QUICK)
    project.serve()
    over = threading.Event()
    chance = dice()

    def enqueue(who: int) -> dict[str, str]:
        made = {}
        with project.client() as client:
            while not over.wait(0.02):
                payload = f"{who}-{len(made)}"
                made[client.enqueue("quick", payload).id] = payload
        return made

    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(enqueue, who) for who in range(8)]
        try:
            for _ in range(scaled(3, 200)):
                seen = project.witness.stat().st_size if project.witness.exists() else 0
                wait_until(lambda seen=seen: project.witness.exists() and project.witness.stat().st_size > seen, "runs go by")
                moment = time.monotonic() + chance.uniform(0, 0.3)
                wait_until(lambda moment=moment: time.monotonic() > moment, "a random moment")
                project.stop(signal.SIGKILL)
                project.serve()
        finally:
            over.set()
        made = {id: payload for client in clients for id, payload in client.result().items()}
    print(f"{len(made)} runs of 8 clients over {len(project.started) - 1} kills")
    wait_until(lambda: not project.call("ids", states=["pending", "running"])["ids"], "every run is over", 60)
    listed = project.cli("runs", "--all", "--json", limit=120)  # many pages
    stored = json.loads(listed.stdout)["runs"]
    assert len(stored) == len(made)
    assert {run["id"]: run["payload"] for run in stored} == made
    assert {run["state"] for run in stored} == {"succeeded"}
    assert {fact["payload"] for fact in project.facts("quick")} == set(made.values())


TYPED = """
from dataclasses import dataclass

@dataclass
class Mail:
    email: str
    copies: int = 1

@workflow("typed-mail")
async def typed_mail(payload: Mail) -> str:
    return payload.email
"""


def test_the_command_line_refuses_a_payload_that_the_handler_could_not_read(live: Project) -> None:
    live.add("typed.py", TYPED)
    (live.root / "mails.jsonl").write_text('{"email": "ann"}\n{"email": 3}\n')
    refused = {
        ('{"email": 3}',): "error: payload.email: expected str, got int 3",
        ('{"emial": "ann"}',): "payload.emial: not a field of Mail; did you mean `email`?",
        ("email=ann", "copies=2"): "key=value is text, key:=value is JSON",
        (): "error: payload: expected an object, got null",
        ("--jsonl", "mails.jsonl"): "line 2: payload.email: expected str, got int 3",
    }
    for words, message in refused.items():
        done = live.command("enqueue", "typed-mail", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert message in done.stderr
        assert "workflows/typed.py:" in done.stderr
    assert json.loads(live.command("runs", "--workflow", "typed-mail", "--json").stdout)["runs"] == []
    dead = live.wait(live.enqueue("typed-mail", {"email": 3}))  # a program that gives the name, and not the handle
    assert dead["error"]["reason"] == "bad_payload"
    again = live.command("retry", dead["id"], "--payload", '{"email": 4}')
    assert (again.returncode, "expected str, got int 4" in again.stderr) == (2, True)
    assert live.command("retry", dead["id"], "--payload", '{"email": "ann"}').returncode == 0
