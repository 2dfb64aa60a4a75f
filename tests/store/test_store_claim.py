"""Conformance: how runs are given to workers."""

from __future__ import annotations

import anyio
import pytest

from tako_lite.store.base import Claims
from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio


async def test_a_claimed_run_is_running_on_this_server(bench: Bench) -> None:
    id = await bench.add(payload='"hi"', max_attempts=4, parent="p")
    run = await bench.claim_one()
    assert (run.id, run.workflow, run.payload, run.parent) == (id, "greet", '"hi"', "p")
    assert (run.attempts, run.max_attempts, run.crashes, run.stored) == (0, 4, 0, None)
    shown = await bench.show(id)
    assert (shown.state, shown.server, shown.started_at) == ("running", "lax", bench.clock.now())
    assert shown.claim_token == run.token


async def test_a_claim_charges_no_attempt(bench: Bench) -> None:
    run = await bench.running()
    assert (await bench.show(run.id)).attempts == 0


async def test_a_run_is_claimed_once(bench: Bench) -> None:
    await bench.add()
    assert len((await bench.store.claim_runs("default", 5)).runs) == 1
    assert await bench.store.claim_runs("default", 5) == Claims([], False)


async def test_fifty_claims_at_once_give_one_run_to_one_of_them(bench: Bench) -> None:
    await bench.add()
    got: list[Claims] = []

    async def claimer() -> None:
        got.append(await bench.store.claim_runs("default", 1))

    async with anyio.create_task_group() as claimers:
        for _ in range(50):
            claimers.start_soon(claimer)
    assert sum(len(claims.runs) for claims in got) == 1


async def test_a_claim_gets_the_runs_of_its_own_group(bench: Bench) -> None:
    await bench.add(group="email")
    media = await bench.add(group="media")
    assert [run.id for run in (await bench.store.claim_runs("media", 5)).runs] == [media]


async def test_an_enqueue_and_a_claim_of_the_same_moment_see_each_other(bench: Bench) -> None:
    enqueued = bench.store.enqueue_runs([bench.new()])
    claimed = bench.store.claim_runs("default", 1)
    ((new,), claims) = (await enqueued, await claimed)
    assert [run.id for run in claims.runs] == [new.id]


async def test_runs_start_in_the_order_of_their_time(bench: Bench) -> None:
    now = bench.clock.now()
    third, first, second = [await bench.add(run_at=now - ago) for ago in (100, 300, 200)]
    assert [run.id for run in (await bench.store.claim_runs("default", 3)).runs] == [first, second, third]


async def test_runs_of_one_time_start_in_the_order_of_their_ids(bench: Bench) -> None:
    new = [bench.new() for _ in range(20)]
    for run in reversed(new):
        await bench.store.enqueue_runs([run])
    assert [run.id for run in (await bench.store.claim_runs("default", 20)).runs] == [run.id for run in new]


async def test_priority_is_a_head_start_in_seconds(bench: Bench) -> None:
    now = bench.clock.now()
    plain = await bench.add(run_at=now - 5_000)
    less = await bench.add(run_at=now, priority=3)
    more = await bench.add(run_at=now, priority=6)
    behind = await bench.add(run_at=now - 5_000, priority=-1)
    assert [run.id for run in (await bench.store.claim_runs("default", 9)).runs] == [more, plain, behind, less]


async def test_a_priority_does_not_make_a_later_run_due(bench: Bench) -> None:
    await bench.add(run_at=bench.clock.now() + 1_000, priority=3_600)
    assert (await bench.store.claim_runs("default", 1)).runs == []


async def test_a_claim_gives_no_more_than_its_limit_and_says_that_more_is_due(bench: Bench) -> None:
    await bench.store.enqueue_runs([bench.new() for _ in range(5)])
    assert [(len(claims.runs), claims.more) for claims in [await bench.store.claim_runs("default", 2) for _ in range(3)]] == [
        (2, True),
        (2, True),
        (1, False),
    ]


async def test_a_claim_that_takes_exactly_the_last_run_says_that_no_more_is_due(bench: Bench) -> None:
    await bench.store.enqueue_runs([bench.new(), bench.new()])
    assert not (await bench.store.claim_runs("default", 2)).more


async def test_a_later_run_is_not_more(bench: Bench) -> None:
    await bench.store.enqueue_runs([bench.new(), bench.new(run_at=bench.clock.now() + 1)])
    assert not (await bench.store.claim_runs("default", 1)).more


async def test_every_claim_of_a_run_has_a_higher_token(bench: Bench) -> None:
    await bench.add()
    tokens = []
    for _ in range(4):
        run = await bench.claim_one()
        tokens.append(run.token)
        await bench.store.requeue_runs([(run.id, run.token)])
    assert tokens == sorted(set(tokens))
    assert tokens[0] > 0


async def test_the_token_keeps_increasing_after_a_retry(bench: Bench) -> None:
    first = await bench.ended("dead", group="g")
    await bench.retry([first.id], fresh=True)
    assert (await bench.claim_one("g")).token > first.token


async def test_a_run_keeps_the_time_when_it_first_started(bench: Bench) -> None:
    run = await bench.running(group="g")
    started = bench.clock.now()
    bench.clock.move(1_000)
    await bench.store.requeue_runs([(run.id, run.token)])
    await bench.claim_one("g")
    assert (await bench.show(run.id)).started_at == started


async def test_a_paused_group_starts_nothing_until_it_is_resumed(bench: Bench) -> None:
    id = await bench.add()
    await bench.store.pause_group("default", True)
    assert await bench.store.claim_runs("default", 1) == Claims([], False)
    await bench.store.pause_group("default", False)
    assert bench.effects.ready == {"default"}
    assert (await bench.claim_one()).id == id


async def test_a_paused_group_starts_no_suspects_and_reports_them_when_resumed(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    await bench.store.pause_group("g", True)
    assert (await bench.store.claim_runs("g", 1, "suspect")).runs == []
    await bench.store.pause_group("g", False)
    assert "g" in bench.effects.suspects


async def test_a_paused_group_holds_up_no_other(bench: Bench) -> None:
    await bench.store.pause_group("media", True)
    await bench.add(group="email")
    assert len((await bench.store.claim_runs("email", 1)).runs) == 1


async def test_suspects_are_claimed_by_asking_for_suspects_only(bench: Bench) -> None:
    suspect = await bench.running(group="g")
    await bench.store.requeue_runs([(suspect.id, suspect.token)], "suspect")
    innocent = await bench.add(group="g")
    assert [run.id for run in (await bench.store.claim_runs("g", 5)).runs] == [innocent]
    assert [run.id for run in (await bench.store.claim_runs("g", 5, "suspect")).runs] == [suspect.id]


async def test_suspects_are_not_more_of_an_ordinary_claim(bench: Bench) -> None:
    suspect = await bench.running(group="g")
    await bench.store.requeue_runs([(suspect.id, suspect.token)], "suspect")
    await bench.add(group="g")
    assert not (await bench.store.claim_runs("g", 1)).more


async def test_a_claim_brings_the_steps_that_are_stored(bench: Bench) -> None:
    run = await bench.running(group="g")
    await bench.store.save_steps([bench.step(run, "a", "1"), bench.step(run, "b", error='{"type": "E"}', tries=2)])
    await bench.store.reschedule_run(run.id, run.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    other = await bench.add(group="g")
    claimed = {run.id: run.stored for run in (await bench.store.claim_runs("g", 2)).runs}
    assert claimed == {run.id: (("a", "succeeded", "1", 1), ("b", "failed", '{"type": "E"}', 2)), other: None}


async def test_denied_runs_take_no_slot_of_those_behind_them(bench: Bench) -> None:
    denied = [await bench.add(group="g", tenant="globex", run_at=bench.clock.now() - 10 + n) for n in range(5)]
    allowed = await bench.add(group="g", tenant="acme")
    claims = await bench.store.claim_runs("g", 1, None, ["acme"])
    assert [run.id for run in claims.runs] == [allowed]
    assert [await bench.state(id) for id in denied] == ["dead"] * 5
