"""Conformance: cancelling in every state, and what becomes of a run that was asked to stop."""

from __future__ import annotations

import pytest

from tako_lite.states import TERMINAL, RunState
from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", ["pending", "waiting"])
async def test_a_run_that_is_not_running_is_cancelled_at_once(bench: Bench, state: RunState) -> None:
    id = await bench.in_state(state)
    assert await bench.store.cancel_runs([id]) == {id: "cancelled"}
    shown = await bench.show(id)
    assert (shown.state, shown.finished_at, shown.waits) == ("cancelled", bench.clock.now(), ())
    assert shown.error is not None
    assert shown.error["reason"] == "cancelled"
    assert (bench.ended_ids, bench.cancelling_ids) == ([id], [])


async def test_a_later_run_that_was_cancelled_never_becomes_due(bench: Bench) -> None:
    id = await bench.add(run_at=bench.clock.now() + 10)
    await bench.store.cancel_runs([id])
    bench.clock.move(20)
    await bench.store.wake_due_runs()
    assert (await bench.store.claim_runs("default", 1)).runs == []
    assert await bench.store.get_next_due() is None


async def test_the_worker_of_a_running_run_is_asked(bench: Bench) -> None:
    run = await bench.running()
    assert await bench.store.cancel_runs([run.id]) == {run.id: "cancelling"}
    shown = await bench.show(run.id)
    assert (shown.state, shown.cancel_requested) == ("running", True)
    assert (bench.cancelling_ids, bench.ended_ids) == ([run.id], [])


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_run_that_ended_stays_as_it_ended(bench: Bench, state: RunState) -> None:
    id = await bench.in_state(state)
    before = await bench.show(id)
    assert await bench.store.cancel_runs([id]) == {id: "ended"}
    assert await bench.show(id) == before


async def test_an_unknown_run_is_reported_as_unknown(bench: Bench) -> None:
    assert await bench.store.cancel_runs(["nobody"]) == {"nobody": "unknown"}


async def test_several_runs_are_cancelled_in_one_call(bench: Bench) -> None:
    pending, running, dead = await bench.add(), (await bench.running()).id, await bench.in_state("dead")
    assert await bench.store.cancel_runs([pending, running, dead]) == {
        pending: "cancelled",
        running: "cancelling",
        dead: "ended",
    }


async def test_a_result_that_comes_after_the_request_is_kept(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    await bench.complete(run, '"done"')
    shown = await bench.show(run.id)
    assert (shown.state, shown.result) == ("succeeded", "done")


async def test_a_run_that_was_to_be_cancelled_is_not_tried_again(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    await bench.store.reschedule_run(run.id, run.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    assert await bench.state(run.id) == "cancelled"
    assert (bench.ended_ids, bench.effects.ready) == ([run.id], set())


async def test_a_run_that_was_to_be_cancelled_may_end_dead(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    assert await bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    assert await bench.state(run.id) == "dead"


async def test_the_worker_ends_a_run_that_was_to_be_cancelled(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    assert await bench.store.finish_run(run.id, run.token, "cancelled", failed_with(reason="cancelled"), WORKER, charged=False)
    assert await bench.state(run.id) == "cancelled"


@pytest.mark.parametrize("hold", [None, "suspect"])
async def test_a_run_with_a_requested_cancel_is_not_requeued(bench: Bench, hold: None) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    await bench.store.requeue_runs([(run.id, run.token)], hold)
    shown = await bench.show(run.id)
    assert (shown.state, shown.worker_pid) == ("cancelled", None)
    assert (bench.ended_ids, bench.effects.ready, bench.effects.suspects) == ([run.id], set(), set())


@pytest.mark.parametrize("max_crashes", [1, 3])
async def test_a_run_that_was_to_be_cancelled_and_crashed_is_cancelled(bench: Bench, max_crashes: int) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    assert await bench.store.charge_crash(run.id, run.token, failed_with(), max_crashes, WORKER) == "cancelled"
    assert await bench.state(run.id) == "cancelled"


async def test_a_run_that_was_to_be_cancelled_when_the_daemon_died_is_cancelled(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.cancel_runs([run.id])
    await bench.store.recover_runs("lax", "next")
    assert await bench.state(run.id) == "cancelled"


async def test_a_run_that_was_to_be_cancelled_does_not_park_but_is_cancelled(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "w", lasting=1_000))
    await bench.store.cancel_runs([run.id])
    assert await bench.store.park_run(run.id, run.token, ["w"]) == "cancelled"
    assert await bench.state(run.id) == "cancelled"
    assert bench.ended_ids == [run.id]


async def test_a_retry_of_a_cancelled_run_is_not_cancelled_by_the_old_request(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.cancel_runs([run.id])
    await bench.store.requeue_runs([(run.id, run.token)])
    await bench.retry([run.id], fresh=False)
    again = await bench.claim_one("g")
    await bench.store.requeue_runs([(again.id, again.token)])
    assert await bench.state(run.id) == "pending"


async def test_many_runs_that_are_cancelled_at_once_end_as_each_would_alone(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    child = bench.new(group="children", parent=parent.id)
    await bench.store.invoke_child(parent.id, parent.token, "c", child)
    await bench.store.park_run(parent.id, parent.token, ["c"])
    fresh = [await bench.add() for _ in range(3)]
    later = await bench.add(run_at=bench.clock.now() + 10)
    again = await bench.running()
    await bench.store.requeue_runs([(again.id, again.token)], None)
    ids = [*fresh, later, again.id, child.id]
    assert await bench.store.cancel_runs([*ids, "nobody"]) == {**dict.fromkeys(ids, "cancelled"), "nobody": "unknown"}
    assert sorted(bench.ended_ids) == sorted(ids)
    assert {(await bench.show(id)).error["reason"] for id in ids} == {"cancelled"}  # type: ignore[index]
    assert await bench.state(parent.id) == "pending", "what it waited for has ended"
    assert (await bench.show(parent.id)).waits == ()
