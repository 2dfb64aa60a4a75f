"""Conformance: each payload that an evaluation finds becomes one run, with the cursor, or none does."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tako_lite.records import Batch, Claimed, Failure, Refusal, StoredTrigger, new_ids
from tako_lite.store.base import RunFilter
from tests.support.store_bench import LARGE, WORKER, Bench, failed_with, stale

pytestmark = pytest.mark.anyio

EVERY = 30_000
RUNS = RunFilter()
FILES = StoredTrigger("files", "media", "greet", EVERY)


async def only(bench: Bench) -> StoredTrigger:
    """The one trigger that is stored."""
    (trigger,) = await bench.store.list_triggers()
    return trigger


async def begin(bench: Bench, **options: Any) -> bool:
    """Evaluate the trigger, if it is due."""
    run = bench.new(workflow="@files", group="media", payload="null", max_attempts=1)
    return await bench.store.begin_evaluation("files", run, **options)


async def evaluating(bench: Bench) -> Claimed:
    """An evaluation that a worker has."""
    assert await begin(bench)
    return await bench.claim_one("media")


def found(bench: Bench, *payloads: str, **changes: Any) -> list[Batch]:
    """Runs for payloads, as an evaluation makes them."""
    return [(bench.new(**changes), list(zip(new_ids(len(payloads)), payloads, strict=True)))]


async def test_a_new_trigger_is_due_at_once_from_a_cursor_of_none(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    assert bench.effects.triggers == {"files": bench.clock.now()}
    assert await only(bench) == FILES._replace(next_at=bench.clock.now())


async def test_an_evaluation_is_a_run_with_the_cursor_that_no_list_shows(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    assert await begin(bench)
    assert (bench.effects.triggers, bench.effects.ready) == ({}, {"media"})
    assert (await only(bench)).evaluating
    assert (
        await bench.store.count_by_group(),
        await bench.store.list_run_ids(RUNS),
        await bench.store.list_runs(RUNS, None),
    ) == ({}, [], [])
    run = await bench.claim_one("media")
    assert (run.workflow, run.payload) == ("@files", "null")
    assert (
        await bench.store.count_by_group(),
        await bench.store.list_run_ids(RUNS),
        await bench.store.list_runs(RUNS, None),
    ) == ({}, [], [])


async def test_runs_beside_an_evaluation_are_counted_as_ever(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    await begin(bench)
    bench.clock.move(5_000)
    await bench.add(group="media")
    counts = (await bench.store.count_by_group())["media"]
    assert (counts.pending, counts.oldest_due) == (1, bench.clock.now())


async def test_a_trigger_is_evaluated_by_one_run_however_many_ask(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    begun: list[bool] = []

    async def ask(by_hand: bool) -> None:
        begun.append(await begin(bench, by_hand=by_hand))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number % 2 == 0)
    assert begun.count(True) == 1
    assert len((await bench.store.claim_runs("media", 5)).runs) == 1


async def test_payloads_and_cursor_are_stored_together_and_the_evaluation_goes(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    bench.clock.move(1_000)
    assert await bench.store.complete_evaluation(run.id, run.token, LARGE, found(bench, '"a"', LARGE))
    assert (bench.effects.ready, bench.effects.triggers) == ({"default"}, {"files": bench.clock.now() + EVERY})
    now = bench.clock.now()
    assert await only(bench) == FILES._replace(cursor=LARGE, next_at=now + EVERY, evaluated_at=now, started=2)
    assert [run.payload for run in (await bench.store.claim_runs("default", 5)).runs] == ['"a"', LARGE]
    assert await bench.store.get_run(run.id) is None
    assert await begin(bench, by_hand=True)
    assert (await bench.claim_one("media")).payload == LARGE


async def test_an_evaluation_that_found_nothing_moves_the_cursor_alone(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    assert await bench.store.complete_evaluation(run.id, run.token, "7", [])
    assert ((await only(bench)).cursor, (await only(bench)).started) == ("7", 0)
    assert await bench.store.list_run_ids(RUNS) == []


async def test_what_an_evaluation_found_is_stored_once(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    batches = found(bench, "1")
    stored = [await bench.store.complete_evaluation(run.id, run.token, cursor, batches) for cursor in ("1", "2")]
    assert (stored, (await only(bench)).cursor) == ([True, False], "1")
    assert len(await bench.store.list_run_ids(RUNS)) == 1


async def test_a_worker_whose_claim_was_taken_changes_nothing(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    old = stale(run := await evaluating(bench))
    assert not await bench.store.complete_evaluation(old.id, old.token, "1", found(bench, "1"))
    assert not await bench.store.finish_run(old.id, old.token, "dead", failed_with(), WORKER, charged=True)
    assert ((await only(bench)).cursor, (await only(bench)).evaluating) == ("null", True)
    await bench.store.requeue_runs([(run.id, run.token)])
    again = await bench.claim_one("media")
    assert not await bench.store.complete_evaluation(run.id, run.token, "1", found(bench, "1"))
    assert await bench.store.complete_evaluation(again.id, again.token, "2", found(bench, "2"))
    assert len(await bench.store.list_run_ids(RUNS)) == 1


async def test_where_the_runs_cannot_be_stored_the_cursor_is_not_either(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    with pytest.raises(Exception, match=r"(?i)check"):
        await bench.store.complete_evaluation(run.id, run.token, "1", found(bench, "1", max_attempts=0))
    assert ((await only(bench)).cursor, await bench.store.list_run_ids(RUNS)) == ("null", [])
    assert await bench.store.complete_evaluation(run.id, run.token, "1", found(bench, "1"))


async def test_what_died_before_it_was_stored_is_looked_for_again_from_the_same_cursor(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    first = await evaluating(bench)
    assert await bench.store.complete_evaluation(first.id, first.token, "1", found(bench, "1"))
    bench.clock.move(EVERY)
    run = await evaluating(bench)
    await bench.store.stop()
    await bench.store.start()
    assert await bench.store.recover_runs("lax", "next") == {}
    await bench.store.put_triggers([FILES])
    assert bench.effects.triggers == {"files": bench.clock.now()}
    assert not await bench.store.complete_evaluation(run.id, run.token, "2", found(bench, "2"))
    assert (await evaluating(bench)).payload == "1"
    assert len(await bench.store.list_run_ids(RUNS)) == 1


async def test_payloads_that_are_refused_are_stored_dead(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    refusal = Refusal("dead", Failure("NoWorker", "nobody serves it", None, "no_worker"))
    assert await bench.store.complete_evaluation(run.id, run.token, "1", found(bench, "1", refusal=refusal))
    (id,) = await bench.store.list_run_ids(RUNS)
    assert (await bench.state(id), bench.effects.ready, (await only(bench)).started) == ("dead", set(), 1)


@pytest.mark.parametrize("long", ["", "x" * 5_000])
async def test_an_error_is_remembered_until_an_evaluation_succeeds_and_the_cursor_stays(bench: Bench, long: str) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    failure = failed_with(traceback=long)
    assert await bench.store.finish_run(run.id, run.token, "dead", failure, WORKER, charged=True)
    now = bench.clock.now()
    assert bench.effects.triggers == {"files": now + EVERY}
    assert await only(bench) == FILES._replace(next_at=now + EVERY, evaluated_at=now, error=failure.as_json())
    assert (await bench.store.count_by_group(), await bench.store.list_run_ids(RUNS), await bench.store.get_run(run.id)) == (
        {},
        [],
        None,
    )
    assert not await begin(bench)
    bench.clock.move(EVERY)
    again = await evaluating(bench)
    assert await bench.store.complete_evaluation(again.id, again.token, "1", [])
    assert (await only(bench)).error is None


async def test_crashes_are_counted_as_those_of_a_run_and_the_last_is_the_error(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    crash = Failure("WorkerCrashed", "its worker was killed", None, "crashed")
    assert await bench.store.charge_crash(run.id, run.token, crash, 2, WORKER) == "pending"
    (run,) = (await bench.store.claim_runs("media", 1, "suspect")).runs
    assert await bench.store.charge_crash(run.id, run.token, crash, 2, WORKER) == "dead"
    assert ((await only(bench)).error, await bench.store.list_run_ids(RUNS)) == (crash.as_json(), [])


async def test_an_evaluation_that_is_cancelled_leaves_its_trigger_free(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    assert await begin(bench)
    (queued,) = (await bench.store.claim_runs("media", 1)).runs
    await bench.store.requeue_runs([(queued.id, queued.token)])
    assert await bench.store.cancel_runs([queued.id]) == {queued.id: "cancelled"}
    assert not (await only(bench)).evaluating
    assert await bench.store.get_run(queued.id) is None


async def test_a_paused_trigger_is_evaluated_by_hand_alone(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    assert await bench.store.pause_trigger("files", True)
    assert bench.effects.triggers == {}
    assert not await begin(bench)
    assert await begin(bench, by_hand=True)
    run = await bench.claim_one("media")
    await bench.store.complete_evaluation(run.id, run.token, "1", [])
    assert (bench.effects.triggers, (await only(bench)).paused) == ({}, True)
    bench.clock.move(EVERY)
    assert await bench.store.pause_trigger("files", False)
    assert bench.effects.triggers == {"files": bench.clock.now()}
    assert await begin(bench)


async def test_a_pause_takes_back_what_no_worker_has_begun_and_lets_others_finish(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    await begin(bench)
    await bench.store.pause_trigger("files", True)
    assert (await bench.store.claim_runs("media", 1)).runs == []
    await bench.store.pause_trigger("files", False)
    run = await evaluating(bench)
    await bench.store.pause_trigger("files", True)
    assert await bench.store.complete_evaluation(run.id, run.token, "1", found(bench, "1"))


async def test_a_trigger_that_left_the_catalog_is_not_evaluated_and_comes_back_with_its_cursor(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    await bench.store.complete_evaluation(run.id, run.token, "1", [])
    await bench.store.put_triggers([])
    assert (bench.effects.triggers, await bench.store.list_triggers()) == ({}, [])
    bench.clock.move(EVERY)
    assert not await begin(bench)
    assert not await begin(bench, by_hand=True)
    assert not await bench.store.pause_trigger("files", True)
    await bench.store.put_triggers([FILES._replace(group="other")])
    assert ((await only(bench)).cursor, (await only(bench)).group) == ("1", "other")
    assert await begin(bench)


async def test_an_evaluation_that_no_worker_started_is_repeated_after_a_reload(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    await begin(bench)
    await bench.store.put_triggers([FILES])
    assert bench.effects.triggers == {"files": bench.clock.now()}
    assert (await bench.store.claim_runs("media", 1)).runs == []
    run = await evaluating(bench)
    await bench.store.put_triggers([FILES])
    assert bench.effects.triggers == {}
    assert await bench.store.complete_evaluation(run.id, run.token, "1", [])


async def test_a_shorter_time_holds_at_once_and_a_longer_one_after_the_next_evaluation(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    await bench.store.complete_evaluation(run.id, run.token, "1", [])
    await bench.store.put_triggers([FILES._replace(every_ms=3_600_000)])
    assert bench.effects.triggers == {"files": bench.clock.now() + EVERY}
    await bench.store.put_triggers([FILES._replace(every_ms=1_000)])
    assert bench.effects.triggers == {"files": bench.clock.now() + 1_000}


async def test_a_clock_that_is_set_back_does_not_stop_a_trigger(bench: Bench) -> None:
    await bench.store.put_triggers([FILES])
    run = await evaluating(bench)
    await bench.store.complete_evaluation(run.id, run.token, "1", [])
    assert not await begin(bench)
    bench.clock.move(-24 * 3_600_000)
    assert await begin(bench)


async def test_an_unknown_trigger_cannot_be_paused_or_evaluated(bench: Bench) -> None:
    assert not await bench.store.pause_trigger("files", True)
    assert not await begin(bench, by_hand=True)
    assert (await bench.store.claim_runs("media", 1)).runs == []
