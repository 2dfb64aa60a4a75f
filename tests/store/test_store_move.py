"""Conformance: the live runs of a group that is taken away go to another."""

from __future__ import annotations

import pytest

from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio


async def test_all_live_runs_of_a_group_move_and_ended_ones_stay(bench: Bench) -> None:
    due = await bench.add(group="media")
    later = await bench.add(group="media", run_at=bench.clock.now() + 60_000)
    waiting = await bench.waiting(group="away")
    dead = await bench.ended("dead", group="media2")
    elsewhere = await bench.add(group="email")

    assert await bench.store.move_runs("media", "other") == 2
    assert bench.effects.ready == {"other"}
    assert await bench.store.move_runs("away", "other") == 1
    assert await bench.store.move_runs("media2", "other") == 0

    places = {id: (await bench.show(id)).group for id in (due, later, waiting.id, dead.id, elsewhere)}
    assert places == {due: "other", later: "other", waiting.id: "other", dead.id: "media2", elsewhere: "email"}
    assert (await bench.show(due)).group_source == "moved"
    assert (await bench.claim_one("other")).id == due


async def test_a_waiting_run_that_was_moved_wakes_in_its_new_group(bench: Bench) -> None:
    run = await bench.waiting(event="go", group="media")
    await bench.store.move_runs("media", "other")
    await bench.store.store_signal("go", "1")

    assert bench.effects.ready == {"other"}
    assert (await bench.claim_one("other")).id == run.id


async def test_a_running_run_keeps_its_claim_and_returns_to_the_new_group(bench: Bench) -> None:
    ends, fails = await bench.running(group="media"), await bench.running(group="media")
    assert await bench.store.move_runs("media", "other") == 2

    await bench.complete(ends)
    assert await bench.store.reschedule_run(fails.id, fails.token, failed_with(), bench.clock.now(), WORKER, charged=True)

    assert await bench.state(ends.id) == "succeeded"
    assert bench.effects.ready == {"other"}
    assert (await bench.claim_one("other")).id == fails.id


async def test_a_run_that_must_run_alone_still_must_in_its_new_group(bench: Bench) -> None:
    run = await bench.running(group="media")
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    await bench.store.move_runs("media", "other")

    assert bench.effects.suspects == {"other"}
    assert (await bench.store.claim_runs("other", 5)).runs == []
    assert [claimed.id for claimed in (await bench.store.claim_runs("other", 5, "suspect")).runs] == [run.id]


async def test_the_tenant_of_a_moved_run_is_checked_when_it_is_claimed(bench: Bench) -> None:
    run = await bench.add(group="media", tenant="acme")
    await bench.store.move_runs("media", "other")

    assert (await bench.store.claim_runs("other", 5, None, ["globex"])).runs == []
    shown = await bench.show(run)
    assert (shown.state, (shown.error or {})["reason"]) == ("dead", "tenant_denied")


async def test_more_runs_than_one_transaction_takes_all_move(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tako_lite.store.transactional.MOVED_AT_ONCE", 2)
    for _ in range(5):
        await bench.add(group="media")

    assert await bench.store.move_runs("media", "other") == 5
    assert len((await bench.store.claim_runs("other", 10)).runs) == 5


async def test_what_was_asked_of_a_group_is_forgotten(bench: Bench) -> None:
    await bench.store.pause_group("media", True)
    await bench.store.scale_group("media", 4)
    await bench.store.scale_group("email", 2)
    await bench.store.forget_group("media")

    assert list(await bench.store.list_group_overrides()) == ["email"]
