"""Conformance: how attempts end, and what an old claim can no longer do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tako_lite.records import Claimed, Failure
from tako_lite.states import TERMINAL, RunState
from tako_lite.store import transactional as store
from tako_lite.store.base import Completed, EnqueuedRuns
from tests.support.store_bench import LARGE, LARGEST, SMALL, WORKER, Bench, failed_with, stale

pytestmark = pytest.mark.anyio

Write = Callable[[Bench, Claimed], Awaitable[Any]]

WRITES: dict[str, Write] = {
    "complete": lambda bench, run: bench.complete(run, LARGE),
    "try_again": lambda bench, run: bench.store.reschedule_run(
        run.id, run.token, failed_with("other"), 0, WORKER, charged=True
    ),
    "try_again_with_a_large_error": lambda bench, run: bench.store.reschedule_run(
        run.id, run.token, failed_with(LARGE), 0, WORKER, charged=True
    ),
    "finish": lambda bench, run: bench.store.finish_run(run.id, run.token, "dead", failed_with("other"), WORKER, charged=True),
    "finish_with_a_large_error": lambda bench, run: bench.store.finish_run(
        run.id, run.token, "dead", failed_with(LARGE), WORKER, charged=True
    ),
    "give_back": lambda bench, run: bench.store.requeue_runs([(run.id, run.token)], "suspect"),
    "charge_crash": lambda bench, run: bench.store.charge_crash(run.id, run.token, failed_with("other"), 1, WORKER),
    "charge_crash_with_a_large_error": lambda bench, run: bench.store.charge_crash(
        run.id, run.token, failed_with(LARGE), 1, WORKER
    ),
    "set_progress": lambda bench, run: bench.store.set_progress(run.id, run.token, 0.9, "late"),
    "save_steps": lambda bench, run: bench.store.save_steps([bench.step(run, "late")]),
    "save_large_steps": lambda bench, run: bench.store.save_steps([bench.step(run, "late", LARGE)]),
    "add_wait": lambda bench, run: bench.store.add_wait(bench.wait(run, "late", lasting=5)),
    "invoke": lambda bench, run: bench.store.invoke_child(run.id, run.token, "late", bench.new()),
    "enqueue_child": lambda bench, run: bench.store.enqueue_child(run.id, run.token, "late", bench.new()),
    "park": lambda bench, run: bench.store.park_run(run.id, run.token, []),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_stale_claim_changes_nothing_of_a_running_run(bench: Bench, write: str) -> None:
    run = await bench.running()
    before = await bench.show(run.id)
    await WRITES[write](bench, stale(run))
    assert await bench.show(run.id) == before
    assert bench.told_nothing


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("error", ["boom", LARGE], ids=["error", "large_error"])
async def test_a_claim_changes_nothing_of_a_run_that_ended(bench: Bench, write: str, error: str) -> None:
    run = await bench.running()
    await bench.store.finish_run(run.id, run.token, "dead", failed_with(error), WORKER, charged=True)
    before = await bench.show(run.id)
    await WRITES[write](bench, run)
    assert await bench.show(run.id) == before
    assert bench.told_nothing


@pytest.mark.parametrize("write", WRITES)
async def test_a_claim_changes_nothing_of_a_run_that_was_requeued(bench: Bench, write: str) -> None:
    run = await bench.running()
    await bench.store.requeue_runs([(run.id, run.token)])
    before = await bench.show(run.id)
    await WRITES[write](bench, run)
    assert await bench.show(run.id) == before


@pytest.mark.parametrize("write", ["invoke", "enqueue_child"])
async def test_a_stale_claim_starts_no_child(bench: Bench, write: str) -> None:
    run = await bench.running()
    assert await WRITES[write](bench, stale(run)) is None
    assert (await bench.store.count_by_group()).keys() == {(await bench.show(run.id)).group}


async def test_writes_with_a_stale_claim_say_so(bench: Bench) -> None:
    run = stale(await bench.running())
    store = bench.store
    assert await store.reschedule_run(run.id, run.token, None, 0, WORKER, charged=False) is False
    assert await store.finish_run(run.id, run.token, "dead", None, WORKER, charged=True) is False
    assert await store.charge_crash(run.id, run.token, failed_with(), 3, WORKER) is None
    assert await store.save_steps([bench.step(run, "a")]) == [None]
    assert await store.add_wait(bench.wait(run, "w", lasting=5)) is None
    assert await store.park_run(run.id, run.token, []) is None


async def test_a_result_is_stored_with_the_end(bench: Bench) -> None:
    run = await bench.running(group="g")
    bench.clock.move(250)
    await bench.complete(run, '{"thumb": "t.png"}')
    shown = await bench.show(run.id)
    assert (shown.state, shown.result, shown.error, shown.attempts) == ("succeeded", {"thumb": "t.png"}, None, 1)
    assert (shown.finished_at, shown.worker_pid) == (bench.clock.now(), WORKER)
    assert list(bench.effects.succeeded) == [run.id]
    assert bench.ended_ids == []


@pytest.mark.parametrize("result", [SMALL, LARGE, LARGEST], ids=["small", "large", "largest"])
async def test_a_result_of_any_length_is_kept(bench: Bench, result: str) -> None:
    run = await bench.running()
    await bench.complete(run, result)
    assert (await bench.show(run.id)).result == result.strip('"')


async def test_several_results_are_stored_in_one_call_and_a_stale_one_among_them_is_passed_over(bench: Bench) -> None:
    one, two, three = [await bench.running() for _ in range(3)]
    runs = [one, stale(two), three]
    await bench.store.complete_runs([Completed(run.id, run.token, LARGE, WORKER) for run in runs])
    assert [await bench.state(run.id) for run in runs] == ["succeeded", "running", "succeeded"]
    assert sorted(bench.effects.succeeded) == sorted([one.id, three.id])


async def test_the_first_of_two_results_stays(bench: Bench) -> None:
    run = await bench.running()
    await bench.complete(run, '"first"')
    await bench.complete(run, LARGE)
    assert (await bench.show(run.id)).result == "first"


async def test_a_failed_attempt_is_charged_and_tried_again_later(bench: Bench) -> None:
    run = await bench.running(group="g", priority=2)
    later = bench.clock.now() + 2_000
    assert await bench.store.reschedule_run(run.id, run.token, failed_with(), later, WORKER, charged=True)
    shown = await bench.show(run.id)
    assert (shown.state, shown.attempts, shown.run_at, shown.finished_at) == ("pending", 1, later, None)
    assert shown.error == failed_with().as_json()
    assert (bench.effects.ready, bench.effects.due) == (set(), later)
    assert (await bench.store.claim_runs("g", 1)).runs == []


async def test_an_attempt_that_asked_to_be_tried_again_is_not_charged(bench: Bench) -> None:
    run = await bench.running(group="g")
    assert await bench.store.reschedule_run(run.id, run.token, None, bench.clock.now(), WORKER, charged=False)
    assert bench.effects.ready == {"g"}
    assert (await bench.claim_one("g")).attempts == 0


@pytest.mark.parametrize("message", ["short", "x" * 5_000, "x" * 900_000], ids=["small", "large", "largest"])
async def test_an_error_of_any_length_is_kept(bench: Bench, message: str) -> None:
    run = await bench.running()
    await bench.store.finish_run(run.id, run.token, "dead", failed_with(message), WORKER, charged=True)
    error = (await bench.show(run.id)).error
    assert error is not None
    assert error["message"] == message


@pytest.mark.parametrize("first", ["short", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("second", ["other", LARGE + "other"], ids=["small", "large"])
async def test_the_error_of_the_last_attempt_is_the_one_that_is_shown(bench: Bench, first: str, second: str) -> None:
    run = await bench.running(group="g")
    await bench.store.reschedule_run(run.id, run.token, failed_with(first), bench.clock.now(), WORKER, charged=True)
    again = await bench.claim_one("g")
    await bench.store.finish_run(again.id, again.token, "dead", failed_with(second), WORKER, charged=True)
    assert (await bench.show(run.id)).error == failed_with(second).as_json()


@pytest.mark.parametrize("message", ["short", LARGE], ids=["small", "large"])
async def test_a_run_that_succeeds_after_a_failed_attempt_shows_no_error(bench: Bench, message: str) -> None:
    run = await bench.running(group="g")
    await bench.store.reschedule_run(run.id, run.token, failed_with(message), bench.clock.now(), WORKER, charged=True)
    await bench.complete(await bench.claim_one("g"))
    shown = await bench.show(run.id)
    assert (shown.state, shown.error, shown.attempts) == ("succeeded", None, 2)


@pytest.mark.parametrize("message", ["short", LARGE], ids=["small", "large"])
async def test_an_attempt_without_an_error_leaves_none_of_the_one_before(bench: Bench, message: str) -> None:
    run = await bench.running(group="g")
    await bench.store.reschedule_run(run.id, run.token, failed_with(message), bench.clock.now(), WORKER, charged=True)
    again = await bench.claim_one("g")
    await bench.store.reschedule_run(again.id, again.token, None, bench.clock.now(), WORKER, charged=False)
    assert (await bench.show(run.id)).error is None


@pytest.mark.parametrize("state", ["dead", "cancelled"])
@pytest.mark.parametrize("charged", [True, False])
async def test_a_run_ends_without_success(bench: Bench, state: RunState, charged: bool) -> None:
    run = await bench.running()
    assert await bench.store.finish_run(run.id, run.token, state, failed_with(reason="why"), WORKER, charged=charged)
    shown = await bench.show(run.id)
    assert (shown.state, shown.attempts, shown.finished_at) == (state, int(charged), bench.clock.now())
    assert shown.error == failed_with(reason="why").as_json()
    assert (bench.ended_ids, list(bench.effects.succeeded)) == ([run.id], [])


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_run_ends_once(bench: Bench, state: RunState) -> None:
    run = await bench.ended(state)
    assert await bench.store.finish_run(run.id, run.token, "dead", failed_with("second"), WORKER, charged=True) is False
    assert await bench.store.cancel_runs([run.id]) == {run.id: "ended"}
    assert await bench.state(run.id) == state


async def test_a_requeued_run_is_due_in_its_old_place_and_uncharged(bench: Bench) -> None:
    run = await bench.running(group="g")
    behind = await bench.add(group="g")
    await bench.store.requeue_runs([(run.id, run.token)])
    assert bench.effects.ready == {"g"}
    claimed = (await bench.store.claim_runs("g", 2)).runs
    assert [(run.id, run.attempts, run.crashes) for run in claimed] == [(run.id, 0, 0), (behind, 0, 0)]


async def test_giving_back_several_runs_passes_over_a_stale_claim(bench: Bench) -> None:
    one, two = await bench.running(group="g"), await bench.running(group="h")
    await bench.store.requeue_runs([(one.id, one.token - 1), (two.id, two.token)])
    assert (await bench.state(one.id), await bench.state(two.id)) == ("running", "pending")
    assert bench.effects.ready == {"h"}


async def test_suspects_are_distinguished_from_ready_runs(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    assert (bench.effects.ready, bench.effects.suspects) == (set(), {"g"})
    assert (await bench.show(run.id)).hold == "suspect"


async def test_a_suspect_that_is_requeued_for_another_reason_stays_a_suspect(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    (again,) = (await bench.store.claim_runs("g", 1, "suspect")).runs
    await bench.store.requeue_runs([(again.id, again.token)])
    assert (await bench.show(run.id)).hold == "suspect"
    assert bench.effects.suspects == {"g"}


async def test_a_suspect_that_fails_like_any_other_run_is_no_suspect_any_more(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    (again,) = (await bench.store.claim_runs("g", 1, "suspect")).runs
    await bench.store.reschedule_run(again.id, again.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    assert (bench.effects.ready, bench.effects.suspects) == ({"g"}, set())
    assert (await bench.claim_one("g")).id == run.id


async def test_a_crash_is_counted_apart_from_attempts_and_makes_a_suspect(bench: Bench) -> None:
    run = await bench.running(group="g")
    assert await bench.store.charge_crash(run.id, run.token, failed_with(reason="crashed"), 3, WORKER) == "pending"
    shown = await bench.show(run.id)
    assert (shown.state, shown.hold, shown.attempts, shown.crashes) == ("pending", "suspect", 0, 1)
    assert (bench.effects.ready, bench.effects.suspects) == (set(), {"g"})


async def test_the_last_crash_that_is_allowed_ends_the_run_dead(bench: Bench) -> None:
    run = await bench.running(group="g")
    assert await bench.store.charge_crash(run.id, run.token, failed_with(reason="crashed"), 2, WORKER) == "pending"
    (again,) = (await bench.store.claim_runs("g", 1, "suspect")).runs
    assert again.crashes == 1
    assert await bench.store.charge_crash(again.id, again.token, failed_with(reason="crashed"), 2, WORKER) == "dead"
    shown = await bench.show(run.id)
    assert (shown.state, shown.crashes, shown.attempts, shown.hold) == ("dead", 2, 0, None)
    assert shown.error == failed_with(reason="crashed").as_json()
    assert bench.ended_ids == [run.id]


async def test_what_was_running_when_the_daemon_died_is_due_again_uncharged(bench: Bench) -> None:
    one, two = await bench.running(group="g"), await bench.running(group="h")
    pending, waiting = await bench.add(), await bench.waiting()
    assert await bench.store.recover_runs("lax", "next") == {"lax": 2}
    assert bench.effects.ready == {"g", "h"}
    for run in (one, two):
        shown = await bench.show(run.id)
        assert (shown.state, shown.attempts, shown.crashes) == ("pending", 0, 0)
    assert (await bench.state(pending), await bench.state(waiting.id)) == ("pending", "waiting")
    assert (await bench.claim_one("g")).token > one.token


async def test_a_suspect_that_was_running_when_the_daemon_died_stays_a_suspect(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    await bench.store.claim_runs("g", 1, "suspect")
    await bench.store.recover_runs("lax", "next")
    assert bench.effects.suspects == {"g"}
    assert (await bench.store.list_groups_with_work())[1] == {"g"}


async def test_a_run_without_a_handler_is_held_until_there_is_one(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "no_handler")
    assert bench.effects.suspects == set()
    assert (await bench.show(run.id)).hold == "no_handler"
    for hold in (None, "suspect"):
        assert (await bench.store.claim_runs("g", 1, hold)).runs == []
    await bench.store.release_held_runs("no_handler")
    assert bench.effects.ready == {"g"}
    assert (await bench.claim_one("g")).id == run.id


async def test_releasing_one_hold_leaves_another(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    await bench.store.release_held_runs("no_handler")
    assert bench.told_nothing
    assert (await bench.show(run.id)).hold == "suspect"


async def test_many_are_released_in_portions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RELEASED_AT_ONCE", 2)
    runs = [await bench.running(group=group) for group in ("a", "a", "a", "b", "b")]
    await bench.store.requeue_runs([(run.id, run.token) for run in runs], "no_handler")
    told = len(bench.told)
    await bench.store.release_held_runs("no_handler")
    assert [effects.ready for effects in bench.told[told:]] == [{"a"}, {"a", "b"}, {"b"}]
    assert [(await bench.show(run.id)).hold for run in runs] == [None] * 5


async def test_with_nothing_running_there_is_nothing_to_recover(bench: Bench) -> None:
    await bench.add()
    assert await bench.store.recover_runs("lax", "next") == {}


async def test_progress_is_shown(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.set_progress(run.id, run.token, 0.5, "half")
    shown = await bench.show(run.id)
    assert (shown.progress, shown.progress_note) == (0.5, "half")


async def test_an_end_is_reported_with_its_workflow_its_state_and_the_reason_of_its_error(bench: Bench) -> None:
    long = Failure("WorkerCrashed", "x" * 5_000, None, "crashed")
    for failure, reason in ((long, "crashed"), (failed_with(), None)):
        run = await bench.running(workflow="resize", group="media")
        await bench.store.finish_run(run.id, run.token, "dead", failure, WORKER, charged=True)
        (ended,) = bench.effects.ended
        assert (ended.group, ended.workflow, ended.state, ended.reason) == ("media", "resize", "dead", reason)


async def test_what_a_step_a_schedule_and_a_retry_enqueue_is_reported_once(bench: Bench) -> None:
    run = await bench.running()
    child = bench.new(workflow="child", group="media")
    for _ in range(2):
        await bench.store.enqueue_child(run.id, run.token, "beside", child)
        await bench.store.invoke_child(run.id, run.token, "within", bench.new(id=child.id, workflow="child"))
    dead = await bench.ended("dead", group="mail")
    await bench.retry([dead.id], fresh=False)
    told = [new for effects in bench.told for new in effects.enqueued]
    assert told == [EnqueuedRuns("media", "child", "step"), EnqueuedRuns("mail", "greet", "retry")]
