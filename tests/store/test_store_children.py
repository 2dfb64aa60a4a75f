"""Conformance: children and the parents that wait for them."""

from __future__ import annotations

import json

import pytest

from tako_lite.records import RunWait
from tako_lite.states import RunState
from tako_lite.store.base import RunFilter, StoredStep
from tests.support.store_bench import LARGE, LARGEST, SMALL, WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("result", [SMALL, LARGE, LARGEST], ids=["small", "large", "largest"])
async def test_the_result_of_a_child_wakes_its_parent(bench: Bench, result: str) -> None:
    parent = await bench.running(group="parents")
    child = bench.new(group="children", parent=parent.id)
    assert await bench.store.invoke_child(parent.id, parent.token, "call", child) == "waiting"
    assert bench.effects.ready == {"children"}
    await bench.store.park_run(parent.id, parent.token, ["call"])
    await bench.complete(await bench.claim_one("children"), result)
    assert bench.effects.ready == {"parents"}
    assert (await bench.claim_one("parents")).stored == (("call", "succeeded", result, 1),)


@pytest.mark.parametrize("ending", ["dead", "cancelled", "crashed", "cancelled by a person"])
@pytest.mark.parametrize("message", ["boom", LARGE], ids=["small", "large"])
async def test_the_failure_of_a_child_wakes_its_parent(bench: Bench, ending: str, message: str) -> None:
    parent = await bench.running(group="parents")
    new = bench.new(group="children", parent=parent.id)
    await bench.store.invoke_child(parent.id, parent.token, "call", new)
    await bench.store.park_run(parent.id, parent.token, ["call"])
    if ending == "cancelled by a person":
        await bench.store.cancel_runs([new.id])
    else:
        child = await bench.claim_one("children")
        if ending == "crashed":
            await bench.store.charge_crash(child.id, child.token, failed_with(message), 1, WORKER)
        else:
            state: RunState = "dead" if ending == "dead" else "cancelled"
            await bench.store.finish_run(child.id, child.token, state, failed_with(message), WORKER, charged=True)
    again = await bench.claim_one("parents")
    ((name, step_state, text, _),) = again.stored
    assert (name, step_state) == ("call", "failed")
    failure = json.loads(text or "")
    assert (failure["child_id"], failure["state"]) == (new.id, await bench.state(new.id))
    assert failure["message"] == (message if ending != "cancelled by a person" else "cancelled on request")


async def test_a_child_is_invoked_once_however_often_its_step_is_replayed(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    first, second = bench.new(group="children"), bench.new(group="children")
    await bench.store.invoke_child(parent.id, parent.token, "call", first)
    await bench.store.requeue_runs([(parent.id, parent.token)])
    again = await bench.claim_one("parents")
    assert await bench.store.invoke_child(again.id, again.token, "call", second) == "waiting"
    assert (await bench.show(parent.id)).waits == (RunWait("call", "child", first.id, None, bench.clock.now()),)
    assert await bench.store.get_run(second.id) is None


async def test_a_child_that_ended_before_the_parent_waits_is_reported_at_once(bench: Bench) -> None:
    child = await bench.ended("succeeded")
    parent = await bench.running()
    answer = await bench.store.invoke_child(parent.id, parent.token, "call", bench.new(id=child.id))
    assert answer == StoredStep("succeeded", "null", 1)


@pytest.mark.parametrize("claimed_before", [True, False])
async def test_a_parent_hears_of_a_run_that_a_unique_key_joined_it_to(bench: Bench, claimed_before: bool) -> None:
    await bench.add(group="children", unique_key="k")
    child = await bench.claim_one("children") if claimed_before else None
    parent = await bench.running(group="parents")
    new = bench.new(group="children", unique_key="k", parent=parent.id)
    await bench.store.invoke_child(parent.id, parent.token, "call", new)
    await bench.store.park_run(parent.id, parent.token, ["call"])
    await bench.complete(child or await bench.claim_one("children"), SMALL)
    assert (await bench.claim_one("parents")).stored == (("call", "succeeded", SMALL, 1),)


async def test_a_failed_child_is_invoked_again_by_the_next_attempt(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    first, second = (bench.new(group="children", parent=parent.id) for _ in range(2))
    await bench.store.invoke_child(parent.id, parent.token, "call", first)
    child = await bench.claim_one("children")
    await bench.store.finish_run(child.id, child.token, "dead", failed_with(), WORKER, charged=True)
    assert bench.effects.resolved[0][:3] == (parent.id, "call", "failed")
    await bench.store.reschedule_run(parent.id, parent.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    again = await bench.claim_one("parents")
    assert again.stored is None
    assert await bench.store.invoke_child(again.id, again.token, "call", second) == "waiting"


async def test_several_children_are_waited_for_side_by_side(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    for name in ("a", "b"):
        await bench.store.invoke_child(parent.id, parent.token, name, bench.new(group=name, parent=parent.id))
    await bench.store.park_run(parent.id, parent.token, ["a", "b"])
    await bench.complete(await bench.claim_one("a"), "1")
    again = await bench.claim_one("parents")
    assert again.stored == (("a", "succeeded", "1", 1),)
    await bench.store.park_run(again.id, again.token, ["b"])
    await bench.complete(await bench.claim_one("b"), "2")
    assert {(name, text) for name, _, text, _ in (await bench.claim_one("parents")).stored} == {("a", "1"), ("b", "2")}


async def test_a_cancel_reaches_the_end_of_a_very_long_family(bench: Bench) -> None:
    root = run = await bench.running(group="deep")
    ids = [root.id]
    for _ in range(520):
        child = bench.new(group="deep", parent=run.id)
        assert await bench.store.invoke_child(run.id, run.token, "child", child) == "waiting"
        assert await bench.store.park_run(run.id, run.token, ["child"]) == "waiting"
        run = await bench.claim_one("deep")
        ids.append(run.id)
    assert await bench.store.requeue_runs([(run.id, run.token)]) is None
    assert await bench.store.cancel_runs([root.id]) == {root.id: "cancelled"}
    assert {run.state for run in await bench.store.list_runs(RunFilter(), None) if run.id in ids} == {"cancelled"}
