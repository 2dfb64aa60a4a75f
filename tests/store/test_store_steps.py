"""Conformance: memoised steps."""

from __future__ import annotations

import pytest

from tako_lite.store.base import StoredStep
from tests.support.store_bench import LARGE, LARGEST, SMALL, Bench

pytestmark = pytest.mark.anyio

FAILED = '{"type": "ValueError", "message": "boom", "traceback": null, "reason": null}'


@pytest.mark.parametrize("value", ["null", SMALL, LARGE, LARGEST], ids=["null", "small", "large", "largest"])
async def test_a_saved_value_is_reported_shown_and_passed_to_the_next_attempt(bench: Bench, value: str) -> None:
    run = await bench.running(group="g")
    assert await bench.store.save_steps([bench.step(run, "a", value)]) == [StoredStep("succeeded", value, 1)]
    steps = (await bench.show(run.id)).steps
    assert steps is not None
    (step,) = steps
    assert step.result == (None if value == "null" else value.strip('"'))
    assert (step.name, step.state, step.attempts, step.error) == ("a", "succeeded", 1, None)
    await bench.store.requeue_runs([(run.id, run.token)])
    assert (await bench.claim_one("g")).stored == (("a", "succeeded", value, 1),)


@pytest.mark.parametrize("first", [SMALL, LARGE, "null"], ids=["small", "large", "null"])
@pytest.mark.parametrize("second", ['"other"', LARGEST, "null"], ids=["small", "large", "null"])
async def test_the_first_value_of_a_step_stays(bench: Bench, first: str, second: str) -> None:
    run = await bench.running(group="g")
    await bench.store.save_steps([bench.step(run, "a", first)])
    assert await bench.store.save_steps([bench.step(run, "a", second)]) == [StoredStep("succeeded", first, 1)]
    await bench.store.requeue_runs([(run.id, run.token)])
    assert (await bench.claim_one("g")).stored == (("a", "succeeded", first, 1),)


async def test_a_failure_does_not_take_the_place_of_a_value(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.save_steps([bench.step(run, "a")])
    assert await bench.store.save_steps([bench.step(run, "a", error=FAILED)]) == [StoredStep("succeeded", SMALL, 1)]


async def test_a_failed_step_keeps_its_error_and_its_tries(bench: Bench) -> None:
    run = await bench.running()
    saved = await bench.store.save_steps([bench.step(run, "a", error=FAILED, tries=2)])
    assert saved == [StoredStep("failed", FAILED, 2)]
    steps = (await bench.show(run.id)).steps
    assert steps is not None
    assert (steps[0].state, steps[0].result, steps[0].attempts) == ("failed", None, 2)
    assert steps[0].error is not None
    assert steps[0].error["message"] == "boom"


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
async def test_a_failed_step_may_succeed_later(bench: Bench, value: str) -> None:
    run = await bench.running()
    await bench.store.save_steps([bench.step(run, "a", error=FAILED)])
    saved = await bench.store.save_steps([bench.step(run, "a", value, tries=2)])
    assert saved == [StoredStep("succeeded", value, 2)]
    steps = (await bench.show(run.id)).steps
    assert steps is not None
    assert (steps[0].result, steps[0].error, steps[0].attempts) == (value.strip('"'), None, 2)


async def test_steps_of_several_runs_are_saved_in_one_call_each_with_its_own_answer(bench: Bench) -> None:
    one, two = await bench.running(), await bench.running()
    await bench.store.save_steps([bench.step(one, "known")])
    saved = await bench.store.save_steps(
        [
            bench.step(one, "known", '"other"'),
            bench.step(one, "large", LARGE),
            bench.step(two._replace(token=two.token - 1), "stale"),
            bench.step(two, "bad", error=FAILED),
            bench.step(two, "good"),
        ]
    )
    assert saved == [
        StoredStep("succeeded", SMALL, 1),
        StoredStep("succeeded", LARGE, 1),
        None,
        StoredStep("failed", FAILED, 1),
        StoredStep("succeeded", SMALL, 1),
    ]


async def test_one_name_twice_in_one_call_keeps_the_first_value(bench: Bench) -> None:
    run = await bench.running()
    saved = await bench.store.save_steps([bench.step(run, "a", "1"), bench.step(run, "a", "2")])
    assert saved == [StoredStep("succeeded", "1", 1), StoredStep("succeeded", "1", 1)]


async def test_steps_of_one_name_in_two_runs_are_two_steps(bench: Bench) -> None:
    one, two = await bench.running(), await bench.running()
    saved = await bench.store.save_steps([bench.step(one, "a", "1"), bench.step(two, "a", "2")])
    assert saved == [StoredStep("succeeded", "1", 1), StoredStep("succeeded", "2", 1)]


async def test_steps_are_shown_in_the_order_in_which_they_ended(bench: Bench) -> None:
    run = await bench.running()
    for name in ("c", "a", "b"):
        bench.clock.move(10)
        await bench.store.save_steps([bench.step(run, name)])
    steps = (await bench.show(run.id)).steps
    assert steps is not None
    assert [step.name for step in steps] == ["c", "a", "b"]


async def test_a_child_is_started_once_however_often_its_step_is_replayed(bench: Bench) -> None:
    run = await bench.running(group="g")
    first, second = bench.new(group="media"), bench.new(group="media")
    stored = StoredStep("succeeded", f'"{first.id}"', 1)
    assert await bench.store.enqueue_child(run.id, run.token, "start", first) == stored
    assert bench.effects.ready == {"media"}
    await bench.store.requeue_runs([(run.id, run.token)])
    again = await bench.claim_one("g")
    assert again.stored == (("start", "succeeded", f'"{first.id}"', 1),)
    assert await bench.store.enqueue_child(again.id, again.token, "start", second) == stored
    assert await bench.store.get_run(second.id) is None


async def test_a_child_that_a_unique_key_joins_to_a_live_run_is_that_run(bench: Bench) -> None:
    holder = await bench.add(unique_key="k")
    run = await bench.running()
    stored = await bench.store.enqueue_child(run.id, run.token, "start", bench.new(unique_key="k"))
    assert stored == StoredStep("succeeded", f'"{holder}"', 1)
