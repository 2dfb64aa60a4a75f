"""Limits and rates of workflows, with real workers: who may run at a time, and what becomes of the others."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from tako_lite.store.transitions.limits import RELEASED_AT_ONCE
from tests.support.project import Project, wait_until

ONE_BY_ONE = """
@workflow("one-by-one", worker="{where}", limit=1)
async def one_by_one(payload, step: Step):
    witness("enter", n=payload["n"])
    await asyncio.sleep(0.03)
    witness("leave", n=payload["n"])
"""

GATED = """
@workflow("{name}", limit=1{options})
async def gated(payload, step: Step):
    witness("{name}", n=payload)
    while seen("open-{name}") < payload:
        await asyncio.sleep(0.01)
"""


def open_gate(project: Project, name: str, times: int = 1) -> None:
    """Let runs of a gated workflow end: one whose payload is n ends once its gate was opened n times."""
    with project.witness.open("a") as file:
        file.writelines(f'{{"kind": "open-{name}"}}\n' for _ in range(times))


def at_a_time(facts: list[dict[str, Any]]) -> int:
    """How many were between `enter` and `leave` at the same time, at the most."""
    inside = most = 0
    for fact in facts:
        inside += {"enter": 1, "leave": -1}.get(fact["kind"], 0)
        most = max(most, inside)
    return most


def states(project: Project, ids: list[str]) -> list[str]:
    return [project.get(id)["state"] for id in ids]


def test_one_at_a_time_holds_over_the_workers_of_two_groups(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 2\n[workflows.a]\nworkers = 2\n[workflows.b]\nworkers = 2\n")
    project.workflow("limits.py", ONE_BY_ONE)
    project.serve()
    with project.client() as client:
        ids = client.enqueue_many("one-by-one", [{"n": number, "where": "ab"[number % 2]} for number in range(24)])
        assert [client.wait(id, timeout=15)["state"] for id in ids] == ["succeeded"] * 24
    assert at_a_time(project.facts()) == 1
    assert len(project.facts("enter")) == 24
    assert len({fact["pid"] for fact in project.facts("enter")}) > 1


def test_a_worker_that_is_killed_gives_its_place_away(live: Project) -> None:
    live.add("killed.py", GATED.format(name="killed", options=""))
    first, second = live.enqueue("killed", 2), live.enqueue("killed", 1)
    (entered,) = live.wait_for_fact("killed")
    wait_until(lambda: live.get(second)["hold"] == "limit", "the second run is held")
    os.kill(entered["pid"], signal.SIGKILL)
    live.wait_for_fact("killed", 2)
    open_gate(live, "killed", 2)
    assert [live.wait(id)["state"] for id in (first, second)] == ["succeeded"] * 2
    assert [live.get(id)["crashes"] for id in (first, second)] == [1, 0]


def test_a_killed_daemon_leaves_no_slot_taken_and_later_runs_are_counted(project: Project) -> None:
    project.workflow("queues.py", GATED.format(name="queues", options=""))
    project.workflow("strict.py", GATED.format(name="strict", options=', on_limit="cancel"'))
    project.serve()
    queued = [project.enqueue("queues", number) for number in (1, 2)]
    project.wait_for_fact("queues")
    project.stop(signal.SIGKILL)
    first, second = [project.enqueue("strict", 1) for _ in range(2)]
    open_gate(project, "queues", 2)
    project.serve()
    assert project.wait(second)["error"]["reason"] == "limit"
    open_gate(project, "strict")
    assert [project.wait(id)["state"] for id in (*queued, first)] == ["succeeded"] * 3


@pytest.mark.parametrize(("on_limit", "state"), [("cancel", "cancelled"), ("fail", "dead")])
def test_a_run_beyond_the_limit_is_turned_away(live: Project, on_limit: str, state: str) -> None:
    live.add(f"{on_limit}.py", GATED.format(name=on_limit, options=f', on_limit="{on_limit}"'))
    running = live.enqueue(on_limit, 1)
    live.wait_for_fact(on_limit)
    with live.client() as client:
        made = client.enqueue(on_limit, 1)
        assert (made.state, made.warning) == (state, f"1 other run of {on_limit} was running or due, which is its limit")
        away = client.get(made.id)
        assert (away["state"], away["error"]["reason"], away["attempts"], away["started_at"]) == (state, "limit", 0, None)
    assert live.run(on_limit, 1, delay=0.2)["error"]["reason"] == "limit"
    open_gate(live, on_limit)
    assert live.wait(running)["state"] == "succeeded"
    assert live.run(on_limit, 1)["state"] == "succeeded"
    assert len(live.facts(on_limit)) == 2


def test_one_customer_cannot_take_the_places_of_another(live: Project) -> None:
    live.add(
        "customers.py",
        """
        @workflow("export", limit=1, limit_key="customer.id")
        async def export(payload, step: Step):
            witness("export", of=payload["customer"]["id"])
            while not seen("done"):
                await asyncio.sleep(0.01)
        """,
    )
    greedy = [live.enqueue("export", {"customer": {"id": 7}}) for _ in range(12)]
    modest = live.enqueue("export", {"customer": {"id": 8}})
    live.wait_for_fact("export", 2)
    assert [fact["of"] for fact in live.facts("export")] == [7, 8]
    live.wait_for_state(modest, "running")
    wait_until(lambda: live.get(greedy[-1])["hold"] == "limit", "the last one is held")
    assert live.call("why", run_id=greedy[-1])["sentence"] == ("It is due, but 1 other run of export for 7 is running (limit).")
    with live.witness.open("a") as file:
        file.write('{"kind": "done"}\n')
    assert {live.wait(id)["state"] for id in (*greedy, modest)} == {"succeeded"}


def test_runs_begin_no_faster_than_the_rate_and_none_is_lost(live: Project) -> None:
    live.add(
        "rates.py",
        """
        @workflow("paced", rate="4/500ms")
        async def paced(payload, step: Step):
            witness("begun", n=payload)
            await step.sleep("nap", "20ms")
        """,
    )
    began = time.time()
    with live.client() as client:
        ids = client.enqueue_many("paced", list(range(14)))
        wait_until(lambda: client.get(ids[-1])["hold"] == "rate", "the last one is held")
        sentence = live.call("why", run_id=ids[-1])["sentence"]
        assert sentence.startswith("It is due, but ") and sentence.endswith(" of paced began in the last 500ms (rate).")
        assert {client.wait(id, timeout=15)["state"] for id in ids} == {"succeeded"}
    times = sorted(fact["at"] for fact in live.facts("begun"))
    assert all(later - earlier >= 0.5 for earlier, later in zip(times, times[4:], strict=False))
    assert median(later - earlier for earlier, later in pairwise(times)) >= 0.1  # on a busy machine a few come late
    assert [fact["n"] for fact in live.facts("begun")] == list(range(14))
    assert len(times) == 14
    assert times[-1] - began < 15


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_rate_holds_at_the_first_lines_of_handlers_in_workers_that_start_at_different_speed(
    project: Project, kind: str
) -> None:
    """Three workers that take turns to be slow: the import of the second one takes long, and runs wait for its slots."""
    project.configure("[workflows]\nmax_workers = 3\nconcurrency = 2\n")
    project.workflow(
        "a.py",
        f"""
        time.sleep(0.4 * (os.getpid() % 3))

        @workflow("call", rate="5/s")
        {kind} call(payload, step):
            witness("called")
            {"await asyncio.sleep(0.3)" if kind == "async def" else "time.sleep(0.3)"}
        """,
    )
    with project.client() as client:
        ids = client.enqueue_many("call", [None] * 15)
    project.serve()
    assert {project.wait(id)["state"] for id in ids} == {"succeeded"}
    times = sorted(fact["at"] for fact in project.facts("called"))
    assert min(later - earlier for earlier, later in zip(times, times[5:], strict=False)) >= 1


def test_a_rate_counts_from_the_first_line_of_a_handler_however_late_its_worker_comes_to_it(live: Project) -> None:
    live.configure("[workflows]\nworkers = 2\nconcurrency = 1\n")
    live.workflow(
        "a.py",
        """
        @workflow("late", rate="1/s")
        async def late(first, step):
            time.sleep(0.5 if first else 0)  # stands for a processor that is busy
            witness("called")
        """,
    )
    live.call("reload")
    with live.client() as client:
        ids = client.enqueue_many("late", [True, False])
    assert {live.wait(id)["state"] for id in ids} == {"succeeded"}
    first, second = sorted(fact["at"] for fact in live.facts("called"))
    assert second - first >= 1


def test_a_rate_of_many_lets_a_tenth_begin_at_once(live: Project) -> None:
    live.add("burst.py", '@workflow("burst", rate="40/h")\nasync def burst(payload):\n    witness("burst")\n')
    with live.client() as client:
        ids = client.enqueue_many("burst", [None] * 6)
    wait_until(lambda: states(live, ids) == ["succeeded"] * 4 + ["pending"] * 2, "a tenth has run")
    assert [live.get(id)["hold"] for id in ids[4:]] == ["rate"] * 2
    live.call("cancel", run_ids=ids)


def test_the_rate_of_one_customer_does_not_hold_up_another(live: Project) -> None:
    live.add(
        "rate_keys.py",
        """
        @workflow("api", rate="1/h", rate_key="customer.id")
        async def api(payload, step: Step):
            witness("api", of=payload["customer"]["id"])
        """,
    )
    greedy = [live.enqueue("api", {"customer": {"id": 7}}) for _ in range(4)]
    assert live.run("api", {"customer": {"id": 8}})["state"] == "succeeded"
    assert [fact["of"] for fact in live.facts("api")] == [7, 8]
    wait_until(lambda: live.get(greedy[-1])["hold"] == "rate", "the last one is held")
    sentence = live.call("why", run_id=greedy[-1])["sentence"]
    assert sentence == "It is due, but 1 run of api for 7 began in the last hour (rate)."
    live.call("cancel", run_ids=greedy)


def test_a_retry_counts_for_the_rate_and_the_end_of_a_wait_does_not(live: Project) -> None:
    live.add(
        "attempts.py",
        """
        @workflow("attempts", rate="20/h", retries=5, backoff=Backoff(base=0.01, max=0.01))
        async def attempts(payload, step: Step):
            witness("attempt", n=step.attempt)
            await step.sleep(f"nap-{step.attempt}", 1.1)
            raise RuntimeError("again")
        """,
    )
    run_id = live.enqueue("attempts")
    wait_until(lambda: live.get(run_id)["hold"] == "rate", "the third attempt is held: two may begin at once")
    assert [fact["n"] for fact in live.facts("attempt")] == [1, 1, 2, 2]
    live.call("cancel", run_ids=[run_id])


def test_each_tenant_has_a_limit_and_a_rate_of_its_own(project: Project) -> None:
    project.configure("[tenants.acme]\n[tenants.globex]\n")
    project.workflow(
        "a.py",
        """
        @workflow("own-limit", limit=1, limit_key="@tenant")
        async def own_limit(payload, step: Step):
            witness("limit", tenant=step.tenant)
            while not seen("over"):
                await asyncio.sleep(0.01)

        @workflow("own-rate", rate="1/h", rate_key="@tenant")
        async def own_rate(payload, step: Step):
            witness("rate", tenant=step.tenant)
        """,
    )
    project.serve()
    limited = [project.enqueue("own-limit", tenant=tenant) for tenant in ("acme", "acme", "globex", "globex")]
    project.wait_for_fact("limit", 2)
    assert [fact["tenant"] for fact in project.facts("limit")] == ["acme", "globex"]
    rated = [project.enqueue("own-rate", tenant=tenant) for tenant in ("acme", "acme", "globex")]
    assert project.wait(rated[2])["state"] == "succeeded"
    assert sorted(fact["tenant"] for fact in project.facts("rate")) == ["acme", "globex"]
    wait_until(lambda: project.get(rated[1])["hold"] == "rate", "the second of a tenant is held")
    with project.witness.open("a") as file:
        file.write('{"kind": "over"}\n')
    assert {project.wait(id)["state"] for id in limited} == {"succeeded"}
    project.call("cancel", run_ids=rated)


def test_a_reload_lets_go_what_another_limit_allows(live: Project) -> None:
    source = """
        @workflow("reloaded", limit={limit}{more})
        async def reloaded(payload, step: Step):
            witness("reloaded")
            while not seen("over"):
                await asyncio.sleep(0.01)
    """
    live.add("again.py", source.format(limit=1, more=""))
    ids = [live.enqueue("reloaded") for _ in range(5)]
    live.wait_for_fact("reloaded")
    wait_until(lambda: [live.get(id)["hold"] for id in ids[1:]] == ["limit"] * 4, "four are held")
    live.add("again.py", source.format(limit=3, more=', limit_key="who"'))
    wait_until(lambda: sorted(states(live, ids)) == ["pending"] * 2 + ["running"] * 3, "three are running")
    live.add("again.py", source.format(limit=None, more=""))
    wait_until(lambda: states(live, ids) == ["running"] * 5, "all are running")
    with live.witness.open("a") as file:
        file.write('{"kind": "over"}\n')
    assert {live.wait(id)["state"] for id in ids} == {"succeeded"}


def test_a_limit_that_is_gone_lets_thousands_go(live: Project) -> None:
    source = """
        @workflow("crowd", worker="crowd"{options})
        async def crowd(payload, step: Step):
            while payload == "first" and not os.path.exists("over"):
                await asyncio.sleep(0.01)
    """

    def held() -> int:
        return len(live.query("SELECT 1 FROM runs WHERE workflow = 'crowd' AND hold = 'limit'"))

    live.add("crowd.py", source.format(options=", limit=1"))
    live.wait_for_state(live.enqueue("crowd", "first"), "running")
    with live.client() as client:
        ids = client.enqueue_many("crowd", [None] * 2 * RELEASED_AT_ONCE)
    wait_until(lambda: held() == len(ids), "all are held")
    live.call("pause", group="crowd")
    live.add("crowd.py", source.format(options=""))
    wait_until(lambda: held() == 0, "none is held")
    live.call("cancel", run_ids=ids)
    live.call("resume", group="crowd")
    (live.root / "over").touch()


def test_a_limit_that_comes_with_a_reload_counts_what_is_running_and_what_waits(live: Project) -> None:
    source = """
        @workflow("new-limit"{options})
        async def new_limit(payload, step: Step):
            witness("enter")
            while not seen("through"):
                await asyncio.sleep(0.01)
            witness("leave")
    """
    live.add("late.py", source.format(options=""))
    running = live.enqueue("new-limit")
    live.wait_for_state(running, "running")
    later = [live.enqueue("new-limit", delay=0.3) for _ in range(3)]
    live.add("late.py", source.format(options=', limit=1, on_limit="cancel"'))
    assert [live.wait(id)["error"]["reason"] for id in later] == ["limit"] * 3
    with live.witness.open("a") as file:
        file.write('{"kind": "through"}\n')
    assert live.wait(running)["state"] == "succeeded"


def test_parents_and_children_of_one_limited_workflow_do_not_wait_for_each_other(live: Project) -> None:
    live.add(
        "nested.py",
        """
        @workflow("nested", limit=1)
        async def nested(payload, step: Step):
            return 1 + await step.invoke("deeper", "nested", payload - 1) if payload else 0
        """,
    )
    assert live.run("nested", 4)["result"] == 4
