"""Conformance: how runs come in."""

from __future__ import annotations

import anyio
import pytest

from tako_lite.errors import StoreError
from tako_lite.records import Enqueued
from tako_lite.states import TERMINAL, RunState
from tako_lite.store.base import RunFilter
from tests.support.store_bench import LARGE, LARGEST, Bench

pytestmark = pytest.mark.anyio

RUNS = RunFilter()


async def test_an_enqueued_run_is_pending_with_all_that_it_was_given(bench: Bench) -> None:
    new = bench.new(payload='{"a": [1, 2]}', priority=7, max_attempts=5, unique_key="k", tenant="acme", group="media",
                    group_source="rule")  # fmt: skip
    assert await bench.store.enqueue_runs([new]) == [Enqueued(new.id, "pending", "media")]
    run = await bench.show(new.id)
    assert (run.state, run.workflow, run.group, run.group_source) == ("pending", "greet", "media", "rule")
    assert (run.payload, run.priority, run.unique_key, run.tenant) == ({"a": [1, 2]}, 7, "k", "acme")
    assert (run.attempts, run.max_attempts, run.crashes, run.claim_token) == (0, 5, 0, 0)
    assert (run.created_at, run.run_at, run.started_at, run.finished_at) == (bench.clock.now(), new.run_at, None, None)


async def test_a_due_run_may_be_claimed_at_once_and_arms_no_timer(bench: Bench) -> None:
    id = await bench.add(group="media")
    assert bench.effects.due is None
    assert (await bench.claim_one("media")).id == id


async def test_a_later_run_is_not_ready_and_arms_the_timer(bench: Bench) -> None:
    later = bench.clock.now() + 500
    await bench.add(run_at=later + 1)
    await bench.add(run_at=later)
    assert bench.effects.ready == set()
    assert bench.effects.due == later
    assert await bench.store.get_next_due() == later
    assert (await bench.store.claim_runs("default", 10)).runs == []


async def test_the_timer_is_armed_for_the_earliest_of_a_bulk(bench: Bench) -> None:
    now = bench.clock.now()
    await bench.store.enqueue_runs([bench.new(run_at=now + 900), bench.new(run_at=now + 300), bench.new(run_at=now + 600)])
    assert bench.effects.due == now + 300


async def test_the_same_id_again_is_the_same_run(bench: Bench) -> None:
    new = bench.new(payload='"first"')
    await bench.store.enqueue_runs([new])
    (again,) = await bench.store.enqueue_runs([new._replace(payload='"second"', group="media")])
    assert again == Enqueued(new.id, "pending", "default", deduplicated=True)
    assert (await bench.show(new.id)).payload == "first"
    assert await bench.store.list_run_ids(RUNS) == [new.id]


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_the_same_id_after_the_end_makes_no_second_run(bench: Bench, state: RunState) -> None:
    run = await bench.ended(state)
    (again,) = await bench.store.enqueue_runs([bench.new(id=run.id)])
    assert (again.id, again.state, again.deduplicated) == (run.id, state, True)
    assert await bench.state(run.id) == state


async def test_the_same_id_twice_in_one_bulk_is_one_run(bench: Bench) -> None:
    new = bench.new()
    answers = await bench.store.enqueue_runs([new, new])
    assert [answer.id for answer in answers] == [new.id, new.id]
    assert [answer.deduplicated for answer in answers] == [False, True]
    assert await bench.store.list_run_ids(RUNS) == [new.id]


@pytest.mark.parametrize("state", ["pending", "running", "waiting"])
async def test_a_unique_key_returns_the_live_run_that_has_it(bench: Bench, state: RunState) -> None:
    if state == "pending":
        holder = await bench.add(unique_key="k", group="media")
    else:
        make = bench.running if state == "running" else bench.waiting
        holder = (await make(unique_key="k", group="media")).id
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert second == Enqueued(holder, state, "media", deduplicated=True)
    assert await bench.store.list_run_ids(RUNS) == [holder]


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_unique_key_is_free_after_the_end(bench: Bench, state: RunState) -> None:
    holder = await bench.ended(state, unique_key="k")
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert second.id != holder.id
    assert not second.deduplicated


async def test_a_unique_key_belongs_to_its_workflow(bench: Bench) -> None:
    await bench.add(unique_key="k")
    (other,) = await bench.store.enqueue_runs([bench.new(workflow="leave", unique_key="k")])
    assert not other.deduplicated


async def test_one_unique_key_from_fifty_clients_at_once_is_one_run(bench: Bench) -> None:
    answers: list[Enqueued] = []

    async def client() -> None:
        answers.extend(await bench.store.enqueue_runs([bench.new(unique_key="k")]))

    async with anyio.create_task_group() as clients:
        for _ in range(50):
            clients.start_soon(client)
    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.deduplicated for answer in answers) == 1


async def test_a_bulk_is_stored_in_the_order_in_which_it_came(bench: Bench) -> None:
    new = [bench.new(payload=str(number)) for number in range(200)]
    answers = await bench.store.enqueue_runs(new)
    assert [answer.id for answer in answers] == [run.id for run in new]
    claimed = (await bench.store.claim_runs("default", 200)).runs
    assert [run.payload for run in claimed] == [str(number) for number in range(200)]


async def test_a_bulk_with_some_known_ids_reports_which_were_known(bench: Bench) -> None:
    known, fresh = bench.new(), bench.new(group="media")
    await bench.store.enqueue_runs([known])
    answers = await bench.store.enqueue_runs([known, fresh])
    assert answers == [
        Enqueued(known.id, "pending", "default", deduplicated=True),
        Enqueued(fresh.id, "pending", "media"),
    ]


async def test_a_bulk_with_some_known_ids_arms_the_timer_for_the_others(bench: Bench) -> None:
    known, later = bench.new(), bench.new(run_at=bench.clock.now() + 100)
    await bench.store.enqueue_runs([known])
    await bench.store.enqueue_runs([known, later])
    assert bench.effects.due == later.run_at


async def test_a_bulk_with_some_known_ids_keeps_the_large_payloads_of_the_others(bench: Bench) -> None:
    known, fresh = bench.new(), bench.new(payload=LARGE)
    await bench.store.enqueue_runs([known])
    await bench.store.enqueue_runs([known, fresh])
    assert (await bench.show(fresh.id)).payload == LARGE.strip('"')


async def test_a_unique_key_twice_in_one_bulk_is_one_run(bench: Bench) -> None:
    first, second = bench.new(unique_key="k"), bench.new(unique_key="k")
    answers = await bench.store.enqueue_runs([first, second])
    assert [(answer.id, answer.deduplicated) for answer in answers] == [(first.id, False), (first.id, True)]


@pytest.mark.parametrize("payload", [f'"{"x" * 1022}"', f'"{"x" * 1023}"', LARGE, LARGEST])
async def test_a_payload_of_any_length_reaches_people_and_workers(bench: Bench, payload: str) -> None:
    id = await bench.add(payload=payload)
    assert (await bench.show(id)).payload == payload.strip('"')
    assert (await bench.claim_one()).payload == payload


async def test_a_known_id_keeps_its_own_large_payload(bench: Bench) -> None:
    new = bench.new(payload=LARGE)
    await bench.store.enqueue_runs([new])
    await bench.store.enqueue_runs([new._replace(payload=LARGEST)])
    assert (await bench.claim_one()).payload == LARGE


async def test_many_are_stored_as_one_like_them_would_be(bench: Bench) -> None:
    like = bench.new(group="media", group_source="rule", priority=7, max_attempts=5, tenant="acme", parent="p")
    one = like._replace(payload='{"ü": "\\"\\u0000"}')
    many = bench.new().id
    await bench.store.enqueue_runs([one])
    await bench.store.enqueue_batches([(like, [(many, one.payload)])])
    first, second = await bench.show(one.id), await bench.show(many)
    assert second._replace(id=first.id) == first
    assert [run.payload for run in (await bench.store.claim_runs("media", 2)).runs] == [one.payload] * 2


async def test_many_are_claimed_in_the_order_in_which_they_came(bench: Bench) -> None:
    new = [(bench.new().id, str(number)) for number in range(200)]
    await bench.store.enqueue_batches([(bench.new(), new)])
    claimed = (await bench.store.claim_runs("default", 200)).runs
    assert [(run.id, run.payload) for run in claimed] == new


async def test_many_leave_those_that_are_known_as_they_are(bench: Bench) -> None:
    known, ended = bench.new(payload="1"), await bench.ended("succeeded")
    await bench.store.enqueue_runs([known])
    fresh = bench.new().id
    await bench.store.enqueue_batches(
        [(bench.new(priority=9), [(known.id, LARGE), (ended.id, "2"), (fresh, "3"), (fresh, "4")])]
    )
    assert ((await bench.show(known.id)).payload, (await bench.show(known.id)).priority) == (1, 0)
    assert await bench.state(ended.id) == "succeeded"
    assert (await bench.show(fresh)).payload == 3


@pytest.mark.parametrize("payload", [LARGE, LARGEST])
async def test_many_with_large_payloads_keep_them(bench: Bench, payload: str) -> None:
    small, large = bench.new().id, bench.new().id
    await bench.store.enqueue_batches([(bench.new(), [(small, "1"), (large, payload)])])
    await bench.store.enqueue_batches([(bench.new(), [(large, f'"{"y" * 2000}"')])])
    assert [run.payload for run in (await bench.store.claim_runs("default", 2)).runs] == ["1", payload]


async def test_many_that_are_due_later_arm_the_timer(bench: Bench) -> None:
    later = bench.clock.now() + 100
    await bench.store.enqueue_batches([(bench.new(run_at=later), [(bench.new().id, "1")])])
    assert bench.effects.due == later
    assert (await bench.store.claim_runs("default", 1)).runs == []


async def test_an_empty_bulk_stores_nothing(bench: Bench) -> None:
    assert await bench.store.enqueue_runs([]) == []
    assert await bench.store.list_run_ids(RUNS) == []


async def test_text_that_no_file_can_hold_is_refused(bench: Bench) -> None:
    with pytest.raises(StoreError):
        await bench.add(payload='"\ud800"')
    assert await bench.store.list_run_ids(RUNS) == []


async def test_a_run_that_was_enqueued_is_there_after_the_store_is_opened_again(bench: Bench) -> None:
    id = await bench.add(payload=LARGE)
    await bench.store.stop()
    await bench.store.start()
    assert (await bench.claim_one()).id == id
