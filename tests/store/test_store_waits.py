"""Conformance: sleeps and signals, parked or not."""

from __future__ import annotations

import pytest

from tako_lite.records import RunWait
from tako_lite.states import TERMINAL, RunState
from tako_lite.store.base import Resolved, Signalled, StoredStep
from tests.support.store_bench import BOOT_ID, DAY, LARGE, LARGEST, SMALL, WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio

NULL = StoredStep("succeeded", "null", 1)


async def test_a_sleep_parks_its_run_until_its_time_and_charges_nothing(bench: Bench) -> None:
    run = await bench.running(group="g")
    assert await bench.store.add_wait(bench.wait(run, "nap", lasting=1_000)) == "waiting"
    over = bench.clock.now() + 1_000
    assert bench.effects.due == over
    assert await bench.store.park_run(run.id, run.token, ["nap"]) == "waiting"
    assert (await bench.show(run.id)).waits == (RunWait("nap", "sleep", None, over, bench.clock.now()),)
    assert await bench.store.get_next_due() == over
    bench.clock.move(999)
    await bench.store.wake_due_runs()
    assert await bench.state(run.id) == "waiting"
    bench.clock.move(1)
    await bench.store.wake_due_runs()
    assert bench.effects.ready == {"g"}
    again = await bench.claim_one("g")
    assert (again.id, again.attempts, again.stored) == (run.id, 0, (("nap", "succeeded", "null", 1),))
    assert (await bench.show(run.id)).waits == ()
    assert await bench.store.get_next_due() is None


async def test_a_sleep_that_is_over_is_reported_at_once(bench: Bench) -> None:
    run = await bench.running()
    assert await bench.store.add_wait(bench.wait(run, "nap", lasting=0)) == NULL


async def test_the_end_of_a_wait_of_a_running_run_is_reported_to_its_worker(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "nap", lasting=10))
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    assert bench.effects.resolved == [Resolved(run.id, "nap", "succeeded", "null", BOOT_ID)]
    assert await bench.state(run.id) == "running"
    assert await bench.store.add_wait(bench.wait(run, "nap", lasting=10)) == NULL


async def test_a_run_whose_wait_ended_just_before_it_parked_is_due_at_once(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "nap", lasting=10))
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    assert await bench.store.park_run(run.id, run.token, ["nap"]) == "pending"
    assert bench.effects.ready == {"g"}
    assert (await bench.claim_one("g")).id == run.id


async def test_a_wait_keeps_its_deadline_over_replays(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "nap", lasting=1_000))
    over = bench.clock.now() + 1_000
    for _ in range(3):
        bench.clock.move(100)
        await bench.store.requeue_runs([(run.id, run.token)])
        run = await bench.claim_one("g")
        assert await bench.store.add_wait(bench.wait(run, "nap", lasting=1_000)) == "waiting"
    assert (await bench.show(run.id)).waits == (RunWait("nap", "sleep", None, over, over - 1_000),)


async def test_a_sleep_that_passes_while_its_run_is_pending_is_over_at_its_next_claim(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "nap", lasting=100))
    await bench.store.requeue_runs([(run.id, run.token)])
    bench.clock.move(100)
    await bench.store.wake_due_runs()
    assert (await bench.claim_one("g")).stored == (("nap", "succeeded", "null", 1),)


@pytest.mark.parametrize("payload", [SMALL, LARGE, LARGEST], ids=["small", "large", "largest"])
async def test_a_signal_wakes_the_run_that_waits_for_it(bench: Bench, payload: str) -> None:
    run = await bench.waiting("approval:17", group="g")
    assert await bench.store.store_signal("approval:17", payload) == Signalled(stored=True, woken=1)
    assert bench.effects.ready == {"g"}
    assert (await bench.claim_one("g")).stored == (("wait", "succeeded", payload, 1),)
    assert (await bench.show(run.id)).waits == ()


@pytest.mark.parametrize("payload", [SMALL, LARGE, LARGEST], ids=["small", "large", "largest"])
async def test_a_signal_that_came_before_the_wait_is_delivered(bench: Bench, payload: str) -> None:
    assert await bench.store.store_signal("early", payload) == Signalled(stored=True, woken=0)
    run = await bench.running(group="g")
    assert await bench.store.add_wait(bench.wait(run, "w", "signal", "early")) == StoredStep("succeeded", payload, 1)
    await bench.store.requeue_runs([(run.id, run.token)])
    assert (await bench.claim_one("g")).stored == (("w", "succeeded", payload, 1),)


async def test_the_first_signal_of_a_name_wins_for_every_wait(bench: Bench) -> None:
    before = await bench.waiting("go", group="g")
    await bench.store.store_signal("go", '"first"')
    assert await bench.store.store_signal("go", '"second"') == Signalled(stored=False, woken=0)
    assert (await bench.claim_one("g")).stored == (("wait", "succeeded", '"first"', 1),)
    after = await bench.running()
    stored = await bench.store.add_wait(bench.wait(after, "w", "signal", "go"))
    assert stored == StoredStep("succeeded", '"first"', 1)
    assert before.id != after.id


async def test_a_signal_wakes_every_run_that_waits_for_it_and_no_other(bench: Bench) -> None:
    runs = [await bench.waiting("go", group=group) for group in ("g", "h")]
    other = await bench.waiting("stop")
    assert (await bench.store.store_signal("go", "null")).woken == 2
    assert bench.effects.ready == {"g", "h"}
    assert [await bench.state(run.id) for run in [*runs, other]] == ["pending", "pending", "waiting"]


async def test_a_signal_to_a_run_that_waits_in_its_slot_is_reported_to_its_worker(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "w", "signal", "go"))
    assert (await bench.store.store_signal("go", SMALL)).woken == 1
    assert bench.effects.resolved == [Resolved(run.id, "w", "succeeded", SMALL, BOOT_ID)]


async def test_a_wait_for_a_signal_that_does_not_come_ends_with_null(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "w", "signal", "never", lasting=50))
    await bench.store.park_run(run.id, run.token, ["w"])
    bench.clock.move(50)
    await bench.store.wake_due_runs()
    assert (await bench.claim_one("g")).stored == (("w", "succeeded", "null", 1),)
    assert (await bench.store.store_signal("never", SMALL)).woken == 0


async def test_a_signal_that_came_in_time_wins_over_the_deadline(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "w", "signal", "go", lasting=50))
    await bench.store.park_run(run.id, run.token, ["w"])
    await bench.store.store_signal("go", SMALL)
    bench.clock.move(50)
    await bench.store.wake_due_runs()
    assert (await bench.claim_one("g")).stored == (("w", "succeeded", SMALL, 1),)


async def test_signals_are_kept_for_a_week(bench: Bench) -> None:
    await bench.store.store_signal("go", SMALL)
    bench.clock.move(7 * DAY)
    await bench.store.prune_runs({}, 100)
    run = await bench.running()
    assert await bench.store.add_wait(bench.wait(run, "a", "signal", "go")) == StoredStep("succeeded", SMALL, 1)
    bench.clock.move(1)
    await bench.store.prune_runs({}, 100)
    assert await bench.store.add_wait(bench.wait(run, "b", "signal", "go")) == "waiting"


async def test_the_pause_between_two_tries_of_a_step_stores_nothing(bench: Bench) -> None:
    run = await bench.running(group="g")
    failed = '{"type": "E"}'
    await bench.store.save_steps([bench.step(run, "a", error=failed)])
    assert await bench.store.add_wait(bench.wait(run, "a", "retry", lasting=100)) == "waiting"
    await bench.store.park_run(run.id, run.token, ["a"])
    bench.clock.move(100)
    await bench.store.wake_due_runs()
    again = await bench.claim_one("g")
    assert again.stored == (("a", "failed", failed, 1),)
    assert await bench.store.save_steps([bench.step(again, "a", tries=2)]) == [StoredStep("succeeded", SMALL, 2)]


async def test_a_pause_that_ends_in_its_slot_is_reported_as_gone(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "a", "retry", lasting=100))
    bench.clock.move(100)
    await bench.store.wake_due_runs()
    (resolved,) = bench.effects.resolved
    assert (resolved.name, resolved.state) == ("a", "gone")


async def test_of_parallel_waits_the_first_that_ends_wakes_the_run_and_the_others_remain(bench: Bench) -> None:
    run = await bench.running(group="g")
    for wait in (bench.wait(run, "long", lasting=1_000), bench.wait(run, "short", lasting=10),
                 bench.wait(run, "go", "signal", "go")):  # fmt: skip
        await bench.store.add_wait(wait)
    assert await bench.store.park_run(run.id, run.token, ["long", "short", "go"]) == "waiting"
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    again = await bench.claim_one("g")
    assert again.stored == (("short", "succeeded", "null", 1),)
    assert {wait.name for wait in (await bench.show(run.id)).waits} == {"long", "go"}
    assert await bench.store.park_run(again.id, again.token, ["long", "go"]) == "waiting"
    await bench.store.store_signal("go", SMALL)
    third = await bench.claim_one("g")
    assert {name for name, *_ in third.stored} == {"short", "go"}
    assert (await bench.show(run.id)).waits == (
        RunWait("long", "sleep", None, bench.clock.now() + 990, bench.clock.now() - 10),
    )


async def test_two_waits_that_end_at_once_wake_their_run_once(bench: Bench) -> None:
    run = await bench.running(group="g")
    for name in ("a", "b"):
        await bench.store.add_wait(bench.wait(run, name, lasting=10))
    await bench.store.park_run(run.id, run.token, ["a", "b"])
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    claimed = (await bench.store.claim_runs("g", 5)).runs
    assert [{name for name, *_ in run.stored} for run in claimed] == [{"a", "b"}]


async def test_a_thousand_sleeps_of_one_millisecond_all_end(bench: Bench) -> None:
    await bench.store.enqueue_runs([bench.new(group="g") for _ in range(1_000)])
    runs = (await bench.store.claim_runs("g", 1_000)).runs
    sleeps = [bench.store.add_wait(bench.wait(run, "nap", lasting=5)) for run in runs]
    parks = [bench.store.park_run(run.id, run.token, ["nap"]) for run in runs]
    assert {await sleep for sleep in sleeps} == {"waiting"}
    assert {await park for park in parks} == {"waiting"}
    bench.clock.move(5)
    await bench.store.wake_due_runs()
    assert len((await bench.store.claim_runs("g", 2_000)).runs) == 1_000


async def test_later_runs_become_ready_when_their_time_comes(bench: Bench) -> None:
    now = bench.clock.now()
    await bench.store.enqueue_runs([bench.new(run_at=now + 10), bench.new(run_at=now + 20, group="media")])
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    assert bench.effects.ready == {"default"}
    assert await bench.store.get_next_due() == now + 20
    assert await bench.store.list_groups_with_work() == ({"default"}, set())


async def test_a_clock_that_goes_back_takes_nothing_back(bench: Bench) -> None:
    await bench.add(run_at=bench.clock.now() + 10)
    bench.clock.move(10)
    await bench.store.wake_due_runs()
    bench.clock.move(-DAY)
    await bench.store.wake_due_runs()
    assert len((await bench.store.claim_runs("default", 1)).runs) == 1


async def test_waking_with_nothing_due_reports_nothing(bench: Bench) -> None:
    await bench.store.wake_due_runs()
    assert bench.effects.ready == set()
    assert await bench.store.get_next_due() is None


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_run_that_ends_waits_for_nothing_any_more(bench: Bench, state: RunState) -> None:
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "left", "signal", "go"))
    await bench.store.add_wait(bench.wait(run, "behind", lasting=1_000))
    if state == "succeeded":
        await bench.complete(run)
    else:
        await bench.store.finish_run(run.id, run.token, state, failed_with(), WORKER, charged=True)
    assert (await bench.show(run.id)).waits == ()
    assert await bench.store.get_next_due() is None
    assert (await bench.store.store_signal("go", SMALL)).woken == 0


async def test_the_time_that_an_attempt_executed_is_kept_while_it_waits_and_forgotten_with_it(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "nap", lasting=1000))
    assert await bench.store.park_run(run.id, run.token, ["nap"], executed_ms=700) == "waiting"
    bench.clock.move(1000)
    await bench.store.wake_due_runs()
    again = await bench.claim_one("g")
    assert again.executed_ms == 700
    await bench.store.requeue_runs([(again.id, again.token)], None, 50)
    third = await bench.claim_one("g")
    assert third.executed_ms == 750
    await bench.store.reschedule_run(third.id, third.token, None, bench.clock.now(), WORKER, charged=True)
    assert (await bench.claim_one("g")).executed_ms == 0
