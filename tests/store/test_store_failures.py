"""What the dashboard reads of errors, signals and minutes, while the store of a server has the queue open."""

from __future__ import annotations

from typing import Any

import pytest

from tako_lite.records import Failure
from tako_lite.store import failures, reading
from tako_lite.store.base import MinuteTotals
from tako_lite.store.transitions import minutes
from tests.support.store_bench import WORKER, Bench

pytestmark = pytest.mark.anyio
HOUR = failures.HOUR


def read(bench: Bench, function: Any, **arguments: Any) -> Any:
    """What a function reads, as the dashboard does."""
    reader = bench.queue.open_reader()
    try:
        return reader.read(lambda snapshot: function(snapshot, **arguments), [], 5.0)
    finally:
        reader.close()


async def die(bench: Bench, fingerprint: str, message: str = "no", **changes: Any) -> str:
    """A run that dies of an error."""
    run = await bench.running(**changes)
    failure = Failure("ValueError", message, None, None, fingerprint)
    assert await bench.store.finish_run(run.id, run.token, "dead", failure, WORKER, charged=True)
    return run.id


async def test_errors_are_counted_by_fingerprint_with_the_newest_as_example(bench: Bench) -> None:
    await die(bench, "1aaa", "first", workflow="greet")
    bench.clock.move(2 * HOUR)
    newest = await die(bench, "1aaa", "second", workflow="bye")
    await die(bench, "1bbb", "other")
    bench.clock.move(1)
    await die(bench, "1bbb", "another")
    other, one = read(bench, failures.list_errors, now=bench.clock.now())
    assert (other.fingerprint, one.fingerprint, other.number) == ("1bbb", "1aaa", 2)
    assert (one.number, one.hour, one.day, one.week) == (2, 1, 2, 2)
    assert (one.last_at - one.first_at, one.workflows) == (2 * HOUR, ("bye", "greet"))
    assert (one.run_id, one.error["message"]) == (newest, "second")
    assert sum(one.hours) == 2
    assert one.hours[-1] == one.hours[-3] == 1


async def test_one_fingerprint_is_read_alone_and_discarded_runs_do_not_count(bench: Bench) -> None:
    gone = await die(bench, "1aaa")
    await die(bench, "1bbb")
    await bench.store.discard_runs([gone])
    assert [group.fingerprint for group in read(bench, failures.list_errors, now=bench.clock.now())] == ["1bbb"]
    assert read(bench, failures.list_errors, now=bench.clock.now(), fingerprint="1aaa") == []
    (attempts,) = read(bench, failures.list_errors, now=bench.clock.now(), fingerprint="1aaa", occurrence="attempts")
    assert (attempts.number, attempts.run_id, attempts.error["message"]) == (1, gone, "no")


async def test_failed_attempts_of_runs_that_still_try_are_errors_too(bench: Bench) -> None:
    run = await bench.running(group="g", max_attempts=3)
    failure = Failure("ValueError", "no", None, None, "1aaa")
    await bench.store.reschedule_run(run.id, run.token, failure, bench.clock.now(), WORKER, charged=True)
    assert read(bench, failures.list_errors, now=bench.clock.now()) == []
    (group,) = read(bench, failures.list_errors, now=bench.clock.now(), occurrence="attempts")
    assert (group.number, group.hours[-1]) == (1, 1)


async def test_variants_are_the_most_frequent_messages_and_tenants(bench: Bench) -> None:
    for message, tenant in (("no 1", "acme"), ("no 2", "acme"), ("no 1", None)):
        await die(bench, "1aaa", message, tenant=tenant)
    found = read(bench, failures.find_variants, fingerprint="1aaa")
    assert found == failures.ErrorVariants((("no 1", 2), ("no 2", 1)), (("acme", 2),))


async def test_awaited_signals_are_listed_from_the_longest_wait_on(bench: Bench) -> None:
    first = await bench.waiting("go", workflow="greet")
    bench.clock.move(5)
    second = await bench.waiting("stop")
    found = read(bench, reading.list_awaited, limit=10)
    assert [(wait.event, wait.run_id) for wait in found] == [("go", first.id), ("stop", second.id)]
    assert (found[0].workflow, found[1].started_at - found[0].started_at) == ("greet", 5)
    assert len(read(bench, reading.list_awaited, limit=1)) == 1


def minute(number: int, **changes: Any) -> MinuteTotals:
    return MinuteTotals(number, "g", "greet", 1, 1, 0, 0, 0, 5, 7, (1, 0), (0, 1))._replace(**changes)


async def test_minutes_are_added_up_to_slots_and_by_workflow(bench: Bench) -> None:
    await bench.store.record_minutes([minute(4), minute(5), minute(9, group="h", waited=(0, 0, 2)), minute(10)])
    await bench.store.record_minutes([minute(9, workflow="bye"), minute(9, workflow="@finds")])
    early, late = read(bench, minutes.sum_by_slot, since=5, width=5)[:2]
    assert (early.slot, early.succeeded, early.waited, early.executed) == (1, 3, (2, 0, 2), (0, 3))
    assert (late.slot, late.succeeded) == (2, 1)
    (only,) = read(bench, minutes.sum_by_slot, since=0, width=60, workflow="greet", group="h")
    assert (only.succeeded, only.waited) == (1, (0, 0, 2))
    by_workflow = read(bench, minutes.sum_by_workflow, since=9)
    assert {name: total.succeeded for name, total in by_workflow.items()} == {"greet": 2, "bye": 1, "@finds": 1}
