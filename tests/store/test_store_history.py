"""The history of runs, what happened in each minute, and the activity of people."""

from __future__ import annotations

from typing import Any

import pytest

from tako_lite.records import Activity, Claimed, Failure, first_id_at
from tako_lite.store.base import MINUTES_KEPT, MinuteTotals
from tako_lite.store.transitions.activity import KEPT_MS
from tako_lite.store.transitions.history import KEPT, TRIM_EVERY
from tests.support.store_bench import DAY, WORKER, Bench

FAILED = Failure("ValueError", "no", None, None, "1abc")


async def history(bench: Bench, id: str) -> list[tuple[Any, ...]]:
    """Step, number and kind of each row of the history."""
    return [(one.step, one.number, one.kind) for one in (await bench.show(id)).history]


async def test_a_run_that_succeeds_at_once_has_no_history(bench: Bench) -> None:
    run = await bench.running()
    await bench.complete(run)
    assert await history(bench, run.id) == []


async def test_a_failed_attempt_is_kept_with_its_times_its_worker_and_its_error(bench: Bench) -> None:
    run = await bench.running(group="g")
    began = bench.clock.now()
    bench.clock.move(40)
    await bench.store.reschedule_run(run.id, run.token, FAILED, bench.clock.now(), WORKER, charged=True)
    shown = await bench.show(run.id)
    (attempt,) = shown.history
    assert attempt[:6] == ("", 1, "failed", began, began + 40, 40)
    assert (attempt.worker_pid, attempt.error) == (WORKER, FAILED.as_json())
    assert shown.fingerprint == "1abc"
    again = await bench.claim_one("g")
    bench.clock.move(5)
    await bench.complete(again)
    shown = await bench.show(run.id)
    assert [(one.number, one.kind, one.executed_ms) for one in shown.history] == [(1, "failed", 40), (2, "succeeded", 5)]
    assert (shown.fingerprint, shown.attempts) == (None, 2)


ENDS: dict[str, Any] = {
    "failed": lambda store, run: store.finish_run(run.id, run.token, "dead", FAILED, WORKER, charged=True),
    "timeout": lambda store, run: store.finish_run(
        run.id, run.token, "dead", Failure("Timeout", "slow", None, "timeout"), WORKER, charged=True
    ),
    "cancelled": lambda store, run: store.finish_run(
        run.id, run.token, "cancelled", Failure("Cancelled", "c", None, "cancelled"), WORKER, charged=False
    ),
    "bailed": lambda store, run: store.finish_run(
        run.id, run.token, "cancelled", Failure("Bailed", "b", None, "bailed"), WORKER, charged=True
    ),
    "postponed": lambda store, run: store.reschedule_run(run.id, run.token, None, 0, WORKER, charged=False),
    "released": lambda store, run: store.requeue_runs([(run.id, run.token)], pid=WORKER),
    "interrupted": lambda store, run: store.requeue_runs([(run.id, run.token)], "suspect", ended_as="interrupted", pid=WORKER),
    "crashed": lambda store, run: store.charge_crash(
        run.id, run.token, Failure("WorkerCrashed", "x", None, "crashed"), 2, WORKER
    ),
}


@pytest.mark.parametrize("kind", ENDS)
async def test_every_end_of_an_attempt_leaves_a_row_of_its_kind(bench: Bench, kind: str) -> None:
    run = await bench.running()
    await ENDS[kind](bench.store, run)
    (attempt,) = (await bench.show(run.id)).history
    assert (attempt.kind, attempt.number, attempt.worker_pid) == (kind, 1, WORKER)


@pytest.mark.parametrize("kind", ENDS)
async def test_a_stale_claim_leaves_no_history(bench: Bench, kind: str) -> None:
    run = await bench.running()
    await ENDS[kind](bench.store, run._replace(token=run.token + 1))
    assert await history(bench, run.id) == []


@pytest.mark.parametrize(("reason", "grouped"), [("timeout", True), ("crashed", True), ("bailed", False), ("cancelled", False)])
async def test_errors_have_a_fingerprint_and_what_people_wanted_has_none(bench: Bench, reason: str, grouped: bool) -> None:
    run = await bench.running()
    state = "dead" if grouped else "cancelled"
    await bench.store.finish_run(run.id, run.token, state, Failure("T", "m", None, reason), WORKER, charged=True)
    assert (await bench.show(run.id)).fingerprint is not None or not grouped


async def test_a_run_that_no_worker_received_has_no_attempt(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.requeue_runs([(run.id, run.token)], ended_as=None)
    assert await history(bench, run.id) == []


async def test_a_parked_run_separates_its_time_in_the_worker_from_its_wait(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.add_wait(bench.wait(run, "nap", lasting=1_000))
    bench.clock.move(30)
    await bench.store.park_run(run.id, run.token, ["nap"], 30, WORKER)
    bench.clock.move(1_000)
    await bench.store.wake_due_runs()
    again = await bench.claim_one("g")
    await bench.complete(again)
    assert await history(bench, run.id) == [("", 1, "parked"), ("", 1, "succeeded")]
    assert (await bench.show(run.id)).history[0].executed_ms == 30


async def test_runs_of_a_daemon_that_was_killed_were_interrupted(bench: Bench) -> None:
    run = await bench.running()
    assert await bench.store.recover_runs("server-1", "boot-2") == {"lax": 1}
    assert await history(bench, run.id) == [("", 1, "interrupted")]


async def test_failed_tries_of_a_step_and_the_one_that_succeeded_are_kept(bench: Bench) -> None:
    run = await bench.running()
    for number in (1, 2):
        failed = bench.step(run, "charge", None, error='{"type": "E"}', tries=number)
        await bench.store.save_steps([failed], WORKER)
    await bench.store.save_steps([bench.step(run, "charge", tries=3), bench.step(run, "once")], WORKER)
    await bench.complete(run)
    assert await history(bench, run.id) == [
        ("charge", 1, "failed"),
        ("charge", 2, "failed"),
        ("charge", 3, "succeeded"),
    ]
    assert (await bench.show(run.id)).history[0].error == {"type": "E"}


async def test_of_very_many_attempts_the_newest_are_kept(bench: Bench) -> None:
    run = await bench.running(group="g", max_attempts=5)
    for _ in range(KEPT + 2 * TRIM_EVERY):
        await bench.store.requeue_runs([(run.id, run.token)])
        run = await bench.claim_one("g")
    assert KEPT <= len((await bench.show(run.id)).history) <= KEPT + TRIM_EVERY


async def test_history_goes_with_its_run(bench: Bench) -> None:
    run = await bench.ended("dead")
    bench.clock.move(2)
    await bench.store.prune_runs({"dead": 1}, 10)
    await bench.add(id=run.id)
    assert await history(bench, run.id) == []


async def test_a_retried_run_keeps_what_its_first_life_was(bench: Bench) -> None:
    run = await bench.ended("dead", group="g")
    await bench.retry([run.id], fresh=True)
    again: Claimed = await bench.claim_one("g")
    await bench.complete(again)
    assert await history(bench, run.id) == [("", 1, "failed"), ("", 1, "succeeded")]


async def test_a_run_names_the_one_that_it_repeats_and_is_named_by_it(bench: Bench) -> None:
    old = await bench.ended("dead")
    new = await bench.add(again_of=old.id)
    assert (await bench.show(new)).again_of == old.id
    assert (await bench.show(old.id)).repeated_by == (new,)


def minute(number: int, **changes: Any) -> MinuteTotals:
    return MinuteTotals(number, "g", "greet", 1, 1, 0, 0, 0, 5, 7, (1, 0), (0, 1))._replace(**changes)


async def test_totals_of_one_minute_are_added_up(bench: Bench) -> None:
    await bench.store.record_minutes([minute(1), minute(2, group="h")])
    await bench.store.record_minutes([minute(1, started=2, waited=(1, 1, 1))])
    assert await bench.store.list_minutes(0, 9) == [
        minute(1, started=3, succeeded=2, waited_ms=10, executed_ms=14, waited=(2, 1, 1), executed=(0, 2)),
        minute(2, group="h"),
    ]
    assert await bench.store.list_minutes(1, 2) == [(await bench.store.list_minutes(0, 9))[0]]


async def test_old_minutes_are_deleted(bench: Bench) -> None:
    now = bench.clock.now() // 60_000
    await bench.store.record_minutes([minute(now), minute(now - MINUTES_KEPT // 60_000 - 1)])
    await bench.store.prune_runs({}, 10)
    assert await bench.store.list_minutes(0, now + 1) == [minute(now)]


def entry(number: int, at: int, **changes: str) -> Activity:
    return Activity(f"{first_id_at(at)}-id-{number}", at, "ann", "cli", "pause", "group media", {"why": "ü"})._replace(
        **changes
    )


async def test_activity_is_listed_newest_first_by_page_and_by_who_did_what(bench: Bench) -> None:
    now = bench.clock.now()
    entries = [entry(1, now), entry(2, now, actor="bo"), entry(3, now, action="cancel")]
    for one in entries:
        await bench.store.record_activity(one)
    assert await bench.store.list_activity(2) == entries[:0:-1]
    assert await bench.store.list_activity(9, entries[1].id) == entries[:1]
    assert await bench.store.list_activity(9, actor="bo") == entries[1:2]
    assert await bench.store.list_activity(9, action="cancel") == entries[2:]


async def test_an_entry_with_a_known_id_is_brought_up_to_date(bench: Bench) -> None:
    await bench.store.record_activity(entry(1, 1))
    newer = entry(1, 1)._replace(detail={"changed": 7})
    await bench.store.record_activity(newer)
    assert await bench.store.list_activity(9) == [newer]


async def test_old_activity_is_deleted(bench: Bench) -> None:
    now = bench.clock.now()
    await bench.store.record_activity(entry(1, now - KEPT_MS - 1))
    await bench.store.record_activity(entry(2, now - DAY))
    await bench.store.prune_runs({}, 10)
    assert [one.at for one in await bench.store.list_activity(9)] == [now - DAY]
