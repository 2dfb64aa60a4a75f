"""Conformance: a slot of a schedule makes at most one run, ever."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tako_lite.records import Schedule
from tako_lite.store.base import RunFilter
from tests.support.store_bench import LARGE, Bench

pytestmark = pytest.mark.anyio

RUNS = RunFilter()


def nightly(**changes: Any) -> Schedule:
    fields = {"workflow": "greet", "cron": "0 2 * * *", "timezone": "UTC", "catch_up": "latest", "last_slot": None,
              "fired_at": None, "paused": False}  # fmt: skip
    return Schedule(**(fields | changes))


async def test_a_new_schedule_counts_from_the_given_time(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 1_000)
    assert await bench.store.list_schedules() == [nightly(last_slot=1_000)]


async def test_a_slot_makes_its_runs_once(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 1_000)
    assert await bench.store.fire_schedule("greet", 2_000, [bench.new(payload=LARGE)])
    assert not await bench.store.fire_schedule("greet", 2_000, [bench.new()])
    assert [run.payload for run in (await bench.store.claim_runs("default", 5)).runs] == [LARGE]
    (schedule,) = await bench.store.list_schedules()
    assert (schedule.last_slot, schedule.fired_at) == (2_000, 2_000)


async def test_a_slot_that_is_fired_from_many_sides_at_once_makes_one_run(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    taken: list[bool] = []

    async def fire() -> None:
        taken.append(await bench.store.fire_schedule("greet", 1_000, [bench.new()]))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(fire)
    assert taken.count(True) == 1
    assert len(await bench.store.list_run_ids(RUNS)) == 1


async def test_a_clock_that_went_back_fires_no_old_slot(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    await bench.store.fire_schedule("greet", 5_000, [bench.new()])
    assert not await bench.store.fire_schedule("greet", 4_000, [bench.new()])
    await bench.store.put_schedules([nightly()], 1_000)
    assert not await bench.store.fire_schedule("greet", 4_000, [bench.new()])
    assert len(await bench.store.list_run_ids(RUNS)) == 1


async def test_several_missed_slots_are_fired_in_one_go(bench: Bench) -> None:
    await bench.store.put_schedules([nightly(catch_up="all")], 0)
    assert await bench.store.fire_schedule("greet", 3_000, [bench.new() for _ in range(3)])
    assert len(await bench.store.list_run_ids(RUNS)) == 3


async def test_a_slot_may_be_passed_over_without_a_run(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    assert await bench.store.fire_schedule("greet", 1_000, [])
    assert not await bench.store.fire_schedule("greet", 1_000, [bench.new()])
    (schedule,) = await bench.store.list_schedules()
    assert (schedule.last_slot, schedule.fired_at) == (1_000, None)
    assert await bench.store.list_run_ids(RUNS) == []


async def test_a_paused_schedule_fires_nothing_and_continues_from_the_given_slot(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    assert await bench.store.pause_schedule("greet", True, 500)
    assert not await bench.store.fire_schedule("greet", 1_000, [bench.new()])
    assert (await bench.store.list_schedules())[0].paused
    assert await bench.store.pause_schedule("greet", False, 2_000)
    assert not await bench.store.fire_schedule("greet", 2_000, [bench.new()])
    assert await bench.store.fire_schedule("greet", 3_000, [bench.new()])


async def test_going_on_from_an_earlier_slot_opens_no_old_slot(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    await bench.store.fire_schedule("greet", 5_000, [bench.new()])
    await bench.store.pause_schedule("greet", False, 1_000)
    assert not await bench.store.fire_schedule("greet", 4_000, [bench.new()])


async def test_an_unknown_schedule_cannot_be_paused_or_fired(bench: Bench) -> None:
    assert not await bench.store.pause_schedule("nobody", True, 0)
    assert not await bench.store.fire_schedule("nobody", 1_000, [bench.new()])
    assert await bench.store.list_run_ids(RUNS) == []


async def test_a_changed_expression_keeps_the_last_slot_and_the_pause(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    await bench.store.fire_schedule("greet", 5_000, [bench.new()])
    await bench.store.pause_schedule("greet", True, 5_000)
    changed = nightly(cron="0 3 * * *", timezone="Europe/Oslo", catch_up="none")
    await bench.store.put_schedules([changed], 9_000)
    expected = nightly(cron="0 3 * * *", timezone="Europe/Oslo", catch_up="none", last_slot=5_000, fired_at=5_000, paused=True)
    assert await bench.store.list_schedules() == [expected]


async def test_a_schedule_that_left_the_catalog_fires_nothing(bench: Bench) -> None:
    await bench.store.put_schedules([nightly(), nightly(workflow="leave")], 0)
    await bench.store.put_schedules([nightly(workflow="leave")], 0)
    assert [schedule.workflow for schedule in await bench.store.list_schedules()] == ["leave"]
    assert not await bench.store.fire_schedule("greet", 1_000, [bench.new()])
    assert not await bench.store.pause_schedule("greet", True, 0)


async def test_a_schedule_that_comes_back_does_not_make_up_for_its_absence(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    await bench.store.put_schedules([], 0)
    await bench.store.put_schedules([nightly()], 7_000)
    assert not await bench.store.fire_schedule("greet", 6_000, [bench.new()])
    assert await bench.store.fire_schedule("greet", 8_000, [bench.new()])


async def test_a_schedule_that_comes_back_after_the_clock_went_back_opens_no_old_slot(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    await bench.store.fire_schedule("greet", 9_000, [bench.new()])
    await bench.store.put_schedules([], 0)
    await bench.store.put_schedules([nightly()], 2_000)
    assert not await bench.store.fire_schedule("greet", 9_000, [bench.new()])


async def test_a_slot_whose_run_cannot_be_stored_stays_open(bench: Bench) -> None:
    await bench.store.put_schedules([nightly()], 0)
    with pytest.raises(Exception, match=r"(?i)check"):
        await bench.store.fire_schedule("greet", 1_000, [bench.new(max_attempts=0)])
    assert await bench.store.fire_schedule("greet", 1_000, [bench.new()])


async def test_slots_of_two_schedules_are_apart(bench: Bench) -> None:
    await bench.store.put_schedules([nightly(), nightly(workflow="leave")], 0)
    assert await bench.store.fire_schedule("greet", 1_000, [bench.new()])
    assert await bench.store.fire_schedule("leave", 1_000, [bench.new(workflow="leave")])


async def test_what_people_asked_of_groups_is_remembered(bench: Bench) -> None:
    assert await bench.store.list_group_overrides() == {}
    await bench.store.pause_group("media", True)
    await bench.store.scale_group("email", 4)
    await bench.store.scale_group("media", 2)
    assert await bench.store.list_group_overrides() == {"media": (True, 2), "email": (False, 4)}
    await bench.store.pause_group("media", False)
    await bench.store.scale_group("email", None)
    assert await bench.store.list_group_overrides() == {"media": (False, 2), "email": (False, None)}


async def test_what_people_asked_of_groups_is_there_after_the_store_is_opened_again(bench: Bench) -> None:
    await bench.store.pause_group("media", True)
    await bench.store.stop()
    await bench.store.start()
    assert await bench.store.list_group_overrides() == {"media": (True, None)}
