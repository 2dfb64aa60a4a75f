"""Conformance: the code that a run began with, and runs that are held because their stored steps were not reached again."""

from __future__ import annotations

import pytest

from tako_lite.records import Claimed, Failure
from tako_lite.store.base import Limit, OtherCode
from tests.support.store_bench import WORKER, Bench, failed_with, stale

pytestmark = pytest.mark.anyio

MISSED = Failure("StepsChanged", "stored step `charge` was not reached again; was it renamed?")


async def hold(bench: Bench, run: Claimed) -> bool:
    return await bench.store.hold_run(run.id, run.token, ["charge"], MISSED, 7, WORKER)


async def test_a_run_keeps_the_hash_of_the_code_at_its_first_claim(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one"})
    id = await bench.add()
    assert (await bench.show(id)).code is None
    run = await bench.claim_one()
    assert (run.code, (await bench.show(id)).code) == ("one", "one")

    await bench.store.put_code({"greet": "two"})
    await bench.store.requeue_runs([(run.id, run.token)])
    assert (await bench.claim_one()).code == "one"
    assert (await bench.running()).code == "two"


async def test_a_run_of_a_workflow_without_a_hash_has_none(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one", "other": "two"})
    await bench.store.put_code({"other": "two"})
    assert (await bench.running()).code is None


async def test_a_run_that_a_limit_holds_at_its_first_claim_has_not_begun(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one"})
    await bench.store.set_limits({"greet": Limit(1)})
    await bench.add(limit_key="")
    second = await bench.add(limit_key="")
    first = await bench.claim_one()
    assert (await bench.store.claim_runs("default", 1)).runs == []
    assert (await bench.show(second)).code is None
    await bench.store.put_code({"greet": "two"})
    await bench.complete(first)
    assert (await bench.claim_one()).code == "two"


async def test_a_retry_with_fresh_begins_with_the_code_of_now_and_another_one_does_not(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one"})
    runs = [await bench.ended("dead") for _ in range(2)]
    await bench.store.put_code({"greet": "two"})
    await bench.retry([runs[0].id], fresh=False)
    await bench.retry([runs[1].id], fresh=True)
    assert [(await bench.show(run.id)).code for run in runs] == ["one", None]


async def test_waiting_runs_that_began_with_other_code_are_counted_by_workflow(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one", "other": "same"})
    runs = [await bench.waiting(), await bench.waiting(), await bench.waiting(workflow="other")]
    assert await bench.store.list_other_code() == []
    await bench.store.put_code({"greet": "two", "other": "same"})
    await bench.waiting()
    assert await bench.store.list_other_code() == [OtherCode("greet", 2, runs[0].id)]


async def test_the_steps_that_an_attempt_did_not_reach_are_stored_until_the_next_claim(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.note_not_reached(run.id, stale(run).token, ["never"])
    assert (await bench.show(run.id)).not_reached == ()
    await bench.store.note_not_reached(run.id, run.token, ["charge", "é`\n"])
    await bench.store.reschedule_run(run.id, run.token, failed_with(), 0, WORKER, charged=True)
    assert (await bench.show(run.id)).not_reached == ("charge", "é`\n")
    await bench.claim_one((await bench.show(run.id)).group)
    assert (await bench.show(run.id)).not_reached == ()


async def test_a_held_run_is_not_claimed_until_a_person_releases_it(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one"})
    run = await bench.running(group="g")
    await bench.store.put_code({"greet": "two"})
    assert await hold(bench, run)
    shown = await bench.show(run.id)
    assert (shown.state, shown.hold, shown.not_reached, shown.attempts) == ("pending", "changed_steps", ("charge",), 0)
    assert [(attempt.kind, (attempt.error or {})["message"]) for attempt in shown.history] == [("released", MISSED.message)]
    assert (await bench.store.claim_runs("g", 1)).runs == []

    assert await bench.store.run_now([run.id]) == {run.id: "due"}
    assert bench.effects.ready == {"g"}
    assert (await bench.claim_one("g")).code == "two"


async def test_held_runs_are_released_together_and_keep_the_code_that_they_began_with(bench: Bench) -> None:
    await bench.store.put_code({"greet": "one"})
    run = await bench.running(group="g")
    await bench.store.put_code({"greet": "two"})
    await hold(bench, run)
    await bench.store.release_held_runs("changed_steps")
    assert (await bench.claim_one("g")).code == "one"


async def test_a_stale_claim_holds_nothing_and_a_requested_cancel_comes_first(bench: Bench) -> None:
    run = await bench.running(group="g")
    assert not await hold(bench, stale(run))
    assert await bench.state(run.id) == "running"
    await bench.store.cancel_runs([run.id])
    assert await hold(bench, run)
    assert await bench.state(run.id) == "cancelled"


async def test_a_held_run_occupies_no_limit(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1)})
    await bench.add(limit_key="")
    second = await bench.add(limit_key="")
    first = await bench.claim_one()
    assert (await bench.store.claim_runs("default", 1)).runs == []
    await hold(bench, first)
    assert (await bench.claim_one()).id == second
