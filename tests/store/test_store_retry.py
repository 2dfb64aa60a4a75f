"""Conformance: runs that people take back to the start."""

from __future__ import annotations

import pytest

from tako_lite.states import RunState
from tests.support.store_bench import LARGE, SMALL, WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", ["dead", "cancelled"])
@pytest.mark.parametrize("message", ["boom", LARGE], ids=["small", "large"])
async def test_a_run_that_ended_without_success_starts_over(bench: Bench, state: RunState, message: str) -> None:
    run = await bench.running(group="g")
    await bench.store.set_progress(run.id, run.token, 0.5, "half")
    await bench.store.finish_run(run.id, run.token, state, failed_with(message), WORKER, charged=True)
    bench.clock.move(5_000)
    assert await bench.retry([run.id], fresh=False) == {run.id: "pending"}
    assert bench.effects.ready == {"g"}
    shown = await bench.show(run.id)
    assert (shown.state, shown.attempts, shown.crashes, shown.error) == ("pending", 0, 0, None)
    assert (shown.finished_at, shown.run_at, shown.hold) == (None, bench.clock.now(), None)
    assert (shown.progress, shown.progress_note, shown.cancel_requested) == (None, None, False)
    assert (await bench.claim_one("g")).id == run.id


async def test_a_run_that_crashed_too_often_is_no_suspect_after_a_retry(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.charge_crash(run.id, run.token, failed_with(), 1, WORKER)
    await bench.retry([run.id], fresh=False)
    assert (await bench.claim_one("g")).crashes == 0


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
async def test_a_retry_keeps_the_stored_steps(bench: Bench, value: str) -> None:
    run = await bench.running(group="g")
    await bench.store.save_steps([bench.step(run, "a", value)])
    await bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    await bench.retry([run.id], fresh=False)
    assert (await bench.claim_one("g")).stored == (("a", "succeeded", value, 1),)


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
async def test_a_fresh_retry_forgets_the_stored_steps(bench: Bench, value: str) -> None:
    run = await bench.running(group="g")
    await bench.store.save_steps([bench.step(run, "a", value)])
    await bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    await bench.retry([run.id], fresh=True)
    again = await bench.claim_one("g")
    assert again.stored is None
    (saved,) = await bench.store.save_steps([bench.step(again, "a", LARGE + " ")])
    assert saved is not None
    assert saved.text == LARGE + " "


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_retry_keeps_the_payload(bench: Bench, fresh: bool) -> None:
    run = await bench.ended("dead", group="g", payload=LARGE)
    await bench.retry([run.id], fresh=fresh)
    assert (await bench.claim_one("g")).payload == LARGE


async def test_a_retry_invokes_a_failed_child_again(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    await bench.store.invoke_child(parent.id, parent.token, "call", bench.new(group="children", parent=parent.id))
    child = await bench.claim_one("children")
    await bench.store.finish_run(child.id, child.token, "dead", failed_with(), WORKER, charged=True)
    await bench.store.finish_run(parent.id, parent.token, "dead", failed_with(), WORKER, charged=True)
    await bench.retry([parent.id], fresh=False)
    assert (await bench.claim_one("parents")).stored is None


@pytest.mark.parametrize(
    ("state", "answer"),
    [("pending", "live"), ("running", "live"), ("waiting", "live"), ("succeeded", "succeeded")],
)
async def test_a_run_that_needs_no_retry_stays_as_it_is(bench: Bench, state: RunState, answer: str) -> None:
    id = await bench.in_state(state)
    before = await bench.show(id)
    assert await bench.retry([id], fresh=True) == {id: answer}
    assert await bench.show(id) == before


async def test_an_unknown_run_is_reported_as_unknown(bench: Bench) -> None:
    assert await bench.retry(["nobody"], fresh=False) == {"nobody": "unknown"}


async def test_a_run_whose_unique_key_was_taken_meanwhile_stays_as_it_ended(bench: Bench) -> None:
    run = await bench.ended("dead", unique_key="k")
    await bench.add(unique_key="k")
    before = await bench.show(run.id)
    assert await bench.retry([run.id], fresh=True) == {run.id: "duplicate"}
    assert await bench.show(run.id) == before


async def test_of_two_runs_with_one_unique_key_one_starts_over(bench: Bench) -> None:
    one = await bench.ended("dead", unique_key="k")
    two = await bench.ended("dead", unique_key="k")
    assert await bench.retry([one.id, two.id], fresh=False) == {one.id: "pending", two.id: "duplicate"}


async def test_a_retried_run_holds_its_unique_key_again(bench: Bench) -> None:
    run = await bench.ended("dead", unique_key="k")
    await bench.retry([run.id], fresh=False)
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert (second.id, second.deduplicated) == (run.id, True)
