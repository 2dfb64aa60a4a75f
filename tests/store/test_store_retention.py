"""Conformance: ended runs go after a while, and the ledger remembers how many."""

from __future__ import annotations

import pytest

from tako_lite.states import RUN_STATES, TERMINAL, RunState
from tako_lite.store.base import RunFilter
from tests.support.store_bench import DAY, LARGE, Bench

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_run_goes_after_its_time_and_the_ledger_counts_it(bench: Bench, state: RunState) -> None:
    run = await bench.ended(state)
    bench.clock.move(DAY)
    over = await bench.store.prune_runs({state: DAY}, 100)
    assert over == bench.clock.now() + 1
    assert await bench.state(run.id) == state
    bench.clock.move(1)
    assert await bench.store.prune_runs({state: DAY}, 100) is None
    assert await bench.store.get_run(run.id) is None
    assert (await bench.store.get_stats())["pruned"] == {state: 1}


async def test_only_the_states_that_are_named_go(bench: Bench) -> None:
    runs = {state: await bench.ended(state) for state in sorted(TERMINAL)}
    bench.clock.move(DAY)
    await bench.store.prune_runs({"succeeded": 0, "dead": None}, 100)
    assert await bench.store.get_run(runs["succeeded"].id) is None
    assert await bench.state(runs["dead"].id) == "dead"
    assert await bench.state(runs["cancelled"].id) == "cancelled"


async def test_live_runs_never_go(bench: Bench) -> None:
    ids = [await bench.in_state(state) for state in ("pending", "running", "waiting")]
    bench.clock.move(400 * DAY)
    await bench.store.prune_runs(dict.fromkeys(RUN_STATES, 0), 100)
    assert [await bench.state(id) for id in ids] == ["pending", "running", "waiting"]


async def test_the_oldest_go_first_and_no_more_than_the_limit(bench: Bench) -> None:
    runs = []
    for _ in range(5):
        runs.append((await bench.ended("succeeded")).id)
        bench.clock.move(10)
    bench.clock.move(DAY)
    over = await bench.store.prune_runs({"succeeded": 0}, 2)
    assert over is not None
    assert over <= bench.clock.now()
    assert await bench.store.list_run_ids(RunFilter()) == runs[2:]
    await bench.store.prune_runs({"succeeded": 0}, 2)
    await bench.store.prune_runs({"succeeded": 0}, 2)
    assert (await bench.store.get_stats())["pruned"] == {"succeeded": 5}


async def test_a_run_that_was_pruned_leaves_no_large_values_or_steps_to_a_run_of_its_id(bench: Bench) -> None:
    run = await bench.running(payload=LARGE, group="g")
    await bench.store.save_steps([bench.step(run, "a", LARGE)])
    await bench.complete(run, LARGE)
    bench.clock.move(1)
    await bench.store.prune_runs({"succeeded": 0}, 100)
    await bench.add(id=run.id, group="g")
    shown = await bench.show(run.id)
    assert (shown.payload, shown.result, shown.steps, shown.waits) == ({}, None, (), ())


async def test_what_was_accepted_is_the_sum_over_all_states_and_what_was_pruned(bench: Bench) -> None:
    accepted = 0
    for state in RUN_STATES * 2:
        await bench.in_state(state)
        accepted += 1
        bench.clock.move(100)
    await bench.store.enqueue_runs([bench.new(unique_key="k"), bench.new(unique_key="k")])
    accepted += 1
    await bench.store.prune_runs({"succeeded": 500, "dead": 100, "cancelled": None}, 1)
    stored = sum([len(await bench.store.list_run_ids(RunFilter(states=(state,)))) for state in RUN_STATES])
    pruned = (await bench.store.get_stats())["pruned"]
    assert sum(pruned.values()) > 0
    assert stored + sum(pruned.values()) == accepted


async def test_the_next_time_covers_signals_too(bench: Bench) -> None:
    await bench.store.store_signal("go", "null")
    assert await bench.store.prune_runs({}, 100) == bench.clock.now() + 7 * DAY + 1


async def test_with_nothing_stored_there_is_no_next_time(bench: Bench) -> None:
    assert await bench.store.prune_runs({"succeeded": DAY}, 100) is None
