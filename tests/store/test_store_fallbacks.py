"""Conformance: what becomes of the runs of a group that is lost, and of runs that are refused before they start."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tako_lite.records import Claimed, Enqueued, Failure, Refusal, new_ids
from tako_lite.routing import Route, no_worker
from tako_lite.states import RunState
from tako_lite.store.base import Claims, Hold, Limit, RunFilter
from tests.support.store_bench import LARGE, WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio

PAUSED = no_worker("group media is paused")
WORDS = ("wait", "fail", "cancel", "ignore")
SECOND = 1_000
MANY = 2_500
"""More than a store takes up in one transaction."""


def denial(state: Any = "dead") -> Refusal:
    """The end of a run that may not start."""
    return Refusal(state, Failure("TenantDenied", "group media is for acme", None, "tenant_denied"))


async def lose(bench: Bench, group: str = "media", wait_timeout: int | None = None) -> int | None:
    """Nobody serves a group; returns when there is more to do."""
    return await bench.store.mark_group_unavailable(group, PAUSED, wait_timeout)


async def add(bench: Bench, fallback: str | None = None, **changes: Any) -> str:
    """A run of the group that is lost later."""
    return await bench.add(**({"group": "media", "fallback": fallback} | changes))


async def suspect(bench: Bench, fallback: str | None = None, group: str = "media", **changes: Any) -> str:
    """A run that must run alone."""
    id = await add(bench, fallback, group=group, **changes)
    run = await bench.claim_one(group)
    assert run.id == id
    await bench.store.requeue_runs([(id, run.token)], "suspect")
    return id


async def reason(bench: Bench, id: str) -> str | None:
    """The reason of a run's end."""
    error = (await bench.show(id)).error
    return None if error is None else error["reason"]


async def claimed(bench: Bench, group: str, hold: Hold | None = None) -> list[str]:
    """The ids of the runs that a claim gets."""
    return [run.id for run in (await bench.store.claim_runs(group, 9, hold)).runs]


# The four words


async def test_of_the_due_runs_of_a_lost_group_each_gets_what_its_word_says(bench: Bench) -> None:
    ids = {word: await add(bench, word, max_attempts=1) for word in WORDS}
    silent = await add(bench)
    elsewhere = await add(bench, "fail", group="email")
    bench.clock.move(SECOND)
    assert await lose(bench) is None
    assert {word: await bench.state(id) for word, id in ids.items()} == {
        "wait": "pending", "fail": "dead", "cancel": "cancelled", "ignore": "pending",
    }  # fmt: skip
    assert Counter(bench.ended_ids) == Counter([ids["fail"], ids["cancel"]])
    assert (bench.effects.ready, bench.effects.suspects) == ({"default"}, set())
    for word in ("fail", "cancel"):
        run = await bench.show(ids[word])
        assert (run.error, run.group, run.group_source) == (PAUSED.as_json(), "media", "default")
        assert (run.attempts, run.crashes, run.started_at, run.finished_at) == (0, 0, None, bench.clock.now())
    moved, waiting = await bench.show(ids["ignore"]), await bench.show(ids["wait"])
    assert (moved.group, moved.group_source, moved.fallback, moved.error) == ("default", "fallback", "ignore", None)
    assert (waiting.group, waiting.group_source, waiting.error) == ("media", "default", None)
    assert await claimed(bench, "default") == [ids["ignore"]]
    assert await claimed(bench, "media") == [ids["wait"], silent]
    assert await bench.state(elsewhere) == "pending"


async def test_fallbacks_apply_only_to_due_runs_that_have_not_started(bench: Bench) -> None:
    running = await bench.running(group="media", fallback="fail")
    waiting = await bench.waiting(group="media", fallback="fail")
    later = {word: await add(bench, word, run_at=bench.clock.now() + SECOND) for word in WORDS}
    assert await lose(bench, wait_timeout=0) is None
    assert bench.told_nothing
    assert [await bench.state(id) for id in (running.id, waiting.id)] == ["running", "waiting"]
    assert {(await bench.show(id)).group for id in later.values()} == {"media"}
    bench.clock.move(SECOND)
    await bench.store.wake_due_runs()
    assert bench.effects.ready == {"media"}
    await lose(bench)
    assert [await bench.state(later[word]) for word in WORDS] == ["pending", "dead", "cancelled", "pending"]
    assert (await bench.show(later["ignore"])).group == "default"
    await bench.store.store_signal("go", "null")
    await bench.store.requeue_runs([(running.id, running.token)])
    await lose(bench)
    assert [await reason(bench, id) for id in (running.id, waiting.id)] == ["no_worker", "no_worker"]


async def test_one_that_was_tried_before_ends_without_an_attempt_more(bench: Bench) -> None:
    run = await bench.running(group="media", fallback="fail")
    await bench.store.reschedule_run(run.id, run.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    await lose(bench)
    shown = await bench.show(run.id)
    assert (shown.state, shown.attempts, shown.crashes, await reason(bench, run.id)) == ("dead", 1, 0, "no_worker")


@pytest.mark.parametrize(("word", "state"), [("fail", "dead"), ("cancel", "cancelled")])
async def test_a_unique_key_is_free_after_a_fallback_that_ends_its_run(bench: Bench, word: str, state: RunState) -> None:
    id = await add(bench, word, unique_key="k")
    await lose(bench)
    assert await bench.state(id) == state
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert not second.deduplicated


async def test_a_parent_continues_when_its_child_ends_with_its_group(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    child = bench.new(group="media", fallback="fail", parent=parent.id)
    assert await bench.store.invoke_child(parent.id, parent.token, "call", child) == "waiting"
    assert await bench.store.park_run(parent.id, parent.token, ["call"]) == "waiting"
    await lose(bench)
    assert "parents" in bench.effects.ready
    ((name, state, text, _),) = (await bench.claim_one("parents")).stored
    assert (name, state) == ("call", "failed")
    assert '"reason": "no_worker"' in (text or "")


async def test_the_children_of_a_run_that_is_cancelled_by_its_fallback_are_cancelled(bench: Bench) -> None:
    parent = await bench.running(group="media", fallback="cancel")
    child = bench.new(group="children", parent=parent.id)
    await bench.store.invoke_child(parent.id, parent.token, "call", child)
    await bench.store.requeue_runs([(parent.id, parent.token)])
    await lose(bench)
    assert [await bench.state(id) for id in (parent.id, child.id)] == ["cancelled", "cancelled"]


# Held ones


@pytest.mark.parametrize(("word", "state"), [("fail", "dead"), ("cancel", "cancelled")])
async def test_runs_that_are_held_end_too_and_are_held_no_more(bench: Bench, word: str, state: RunState) -> None:
    await bench.store.set_limits({"greet": Limit(1)})
    alone = await suspect(bench, word)
    unknown = await add(bench, word, workflow="unknown")
    run = await bench.claim_one("media")
    await bench.store.requeue_runs([(run.id, run.token)], "no_handler")
    await bench.running(group="other", limit_key="")
    limited = await add(bench, word, limit_key="")
    assert await claimed(bench, "media") == []
    holds = [(await bench.show(id)).hold for id in (alone, unknown, limited)]
    assert holds == ["suspect", "no_handler", "limit"]
    await lose(bench)
    for id in (alone, unknown, limited):
        shown = await bench.show(id)
        assert (shown.state, shown.hold, await reason(bench, id)) == (state, None, "no_worker")


async def test_a_suspect_that_goes_elsewhere_runs_alone_there(bench: Bench) -> None:
    id = await suspect(bench, "ignore")
    await lose(bench)
    assert (bench.effects.ready, bench.effects.suspects) == (set(), {"default"})
    assert ((await bench.show(id)).hold, (await bench.show(id)).group) == ("suspect", "default")
    assert await claimed(bench, "default") == []
    assert await claimed(bench, "default", "suspect") == [id]


async def test_suspects_and_others_that_change_group_are_reported_separately(bench: Bench) -> None:
    alone, free = await suspect(bench, "ignore"), await add(bench, "ignore")
    await lose(bench)
    assert (bench.effects.ready, bench.effects.suspects) == ({"default"}, {"default"})
    assert [await claimed(bench, "default", hold) for hold in ("suspect", None)] == [[alone], [free]]


async def test_one_without_a_handler_is_held_for_that_elsewhere_too(bench: Bench) -> None:
    id = await add(bench, "ignore")
    run = await bench.claim_one("media")
    await bench.store.requeue_runs([(run.id, run.token)], "no_handler")
    await lose(bench)
    assert ((await bench.show(id)).hold, (await bench.show(id)).group) == ("no_handler", "default")
    assert await claimed(bench, "default") == []
    await bench.store.release_held_runs("no_handler")
    assert await claimed(bench, "default") == [id]


async def test_a_suspect_beyond_a_limit_is_a_suspect_elsewhere(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1)})
    id = await suspect(bench, "ignore", limit_key="")
    blocker = await bench.running(group="other", limit_key="")
    assert await claimed(bench, "media", "suspect") == []
    assert (await bench.show(id)).hold == "suspect_limit"
    await lose(bench)
    assert ((await bench.show(id)).hold, bench.effects.suspects) == ("suspect", {"default"})
    await bench.complete(blocker)
    assert await claimed(bench, "default") == []
    assert await claimed(bench, "default", "suspect") == [id]


@pytest.mark.parametrize("hold", [None, "suspect", "no_handler"])
async def test_one_that_waits_for_its_group_is_held_as_before(bench: Bench, hold: Hold | None) -> None:
    id = await add(bench, "wait")
    run = await bench.claim_one("media")
    await bench.store.requeue_runs([(run.id, run.token)], hold)
    before = await bench.show(id)
    await lose(bench, wait_timeout=SECOND)
    assert await bench.show(id) == before
    assert bench.told_nothing
    bench.clock.move(SECOND)
    await lose(bench, wait_timeout=SECOND)
    assert ((await bench.show(id)).state, (await bench.show(id)).hold) == ("dead", None)


# The group that is always there


async def test_when_default_is_lost_those_that_may_run_anywhere_wait_for_it(bench: Bench) -> None:
    ids = {word: await add(bench, word, group="default") for word in WORDS}
    alone = await suspect(bench, "ignore", group="default", priority=9)
    assert await lose(bench, "default") is None
    assert [await bench.state(ids[word]) for word in WORDS] == ["pending", "dead", "cancelled", "pending"]
    assert (bench.effects.ready, bench.effects.suspects) == (set(), set())
    stayed = await bench.show(ids["ignore"])
    assert (stayed.group, stayed.group_source) == ("default", "default")
    assert (await bench.show(alone)).hold == "suspect"
    lost_at = bench.clock.now()
    assert await lose(bench, "default", 5 * SECOND) == lost_at + 5 * SECOND
    bench.clock.move(5 * SECOND)
    assert await lose(bench, "default", 5 * SECOND) is None
    assert {await reason(bench, id) for id in (ids["wait"], ids["ignore"], alone)} == {"no_worker"}


async def test_the_loss_of_default_reports_the_time_of_a_run_that_may_use_any_group(bench: Bench) -> None:
    id = await add(bench, "ignore", group="default")
    assert await lose(bench, "default", SECOND) == bench.clock.now() + SECOND
    bench.clock.move(SECOND)
    await lose(bench, "default", SECOND)
    assert await bench.state(id) == "dead"
    elsewhere = await add(bench, "ignore")
    assert await lose(bench, "media", SECOND) is None
    assert (await bench.show(elsewhere)).group == "default"


async def test_what_came_to_default_because_its_own_group_was_lost_goes_no_further(bench: Bench) -> None:
    id = await add(bench, "ignore")
    await lose(bench)
    await lose(bench, "default")
    shown = await bench.show(id)
    assert (shown.state, shown.group, shown.group_source) == ("pending", "default", "fallback")
    await bench.store.mark_group_available("default")
    assert await claimed(bench, "default") == [id]


# For how long one waits


async def test_waiting_is_counted_from_the_loss_for_runs_that_were_due_before(bench: Bench) -> None:
    ids = [await add(bench, word) for word in (None, "wait")]
    bench.clock.move(60 * SECOND)
    lost_at = bench.clock.now()
    assert await lose(bench, wait_timeout=10 * SECOND) == lost_at + 10 * SECOND
    bench.clock.move(10 * SECOND - 1)
    assert await lose(bench, wait_timeout=10 * SECOND) == lost_at + 10 * SECOND
    assert [await bench.state(id) for id in ids] == ["pending", "pending"]
    bench.clock.move(1)
    assert await lose(bench, wait_timeout=10 * SECOND) is None
    assert sorted(bench.ended_ids) == sorted(ids)
    for id in ids:
        shown = await bench.show(id)
        assert (shown.state, shown.error, shown.attempts, shown.started_at) == ("dead", PAUSED.as_json(), 0, None)
        assert shown.finished_at == bench.clock.now()


async def test_waiting_is_counted_from_its_own_time_for_a_run_that_came_later(bench: Bench) -> None:
    await lose(bench)
    bench.clock.move(7 * SECOND)
    first = await add(bench)
    bench.clock.move(2 * SECOND)
    second = await add(bench, "wait")
    later = await add(bench, run_at=bench.clock.now() + 4 * SECOND)
    due = {id: (await bench.show(id)).run_at + 10 * SECOND for id in (first, second, later)}
    assert await lose(bench, wait_timeout=10 * SECOND) == due[first]
    bench.clock.move(8 * SECOND)
    await bench.store.wake_due_runs()
    assert await lose(bench, wait_timeout=10 * SECOND) == due[second]
    assert [await bench.state(id) for id in (first, second, later)] == ["dead", "pending", "pending"]
    bench.clock.move(2 * SECOND)
    assert await lose(bench, wait_timeout=10 * SECOND) == due[later]
    bench.clock.move(4 * SECOND - 1)
    assert await lose(bench, wait_timeout=10 * SECOND) == due[later]
    assert await bench.state(later) == "pending"
    bench.clock.move(1)
    assert await lose(bench, wait_timeout=10 * SECOND) is None
    assert await bench.state(later) == "dead"


Back = Callable[[Bench, Claimed], Awaitable[Any]]
BACK: dict[str, Back] = {
    "given back": lambda bench, run: bench.store.requeue_runs([(run.id, run.token)]),
    "given back as a suspect": lambda bench, run: bench.store.requeue_runs([(run.id, run.token)], "suspect"),
    "crashed": lambda bench, run: bench.store.charge_crash(run.id, run.token, failed_with(), 9, WORKER),
    "failed": lambda bench, run: bench.store.reschedule_run(
        run.id, run.token, failed_with(), bench.clock.now(), WORKER, charged=True
    ),
    "left by a dead daemon": lambda bench, run: bench.store.recover_runs("lax", "next"),
}  # fmt: skip


@pytest.mark.parametrize("way", BACK)
async def test_a_run_that_comes_back_from_a_worker_begins_to_wait_then_in_its_old_place(bench: Bench, way: str) -> None:
    run = await bench.running(group="media")
    await bench.store.pause_group("media", True)
    await lose(bench, wait_timeout=10 * SECOND)
    bench.clock.move(3_600 * SECOND)
    await BACK[way](bench, run)
    assert await lose(bench, wait_timeout=10 * SECOND) == bench.clock.now() + 10 * SECOND
    assert await bench.state(run.id) == "pending"
    bench.clock.move(10 * SECOND)
    await lose(bench, wait_timeout=10 * SECOND)
    assert (await bench.state(run.id), await reason(bench, run.id)) == ("dead", "no_worker")


async def test_waiting_again_does_not_send_a_run_to_the_end_of_the_line(bench: Bench) -> None:
    run = await bench.running(group="media")
    bench.clock.move(SECOND)
    behind = await add(bench)
    bench.clock.move(SECOND)
    await bench.store.requeue_runs([(run.id, run.token)])
    assert await bench.store.count_runs_ahead(await bench.show(run.id)) == 0
    assert await bench.store.count_runs_ahead(await bench.show(behind)) == 1
    assert await claimed(bench, "media") == [run.id, behind]


async def test_without_a_timeout_no_run_gives_up_and_without_waiting_runs_there_is_no_next_time(bench: Bench) -> None:
    id = await add(bench)
    bench.clock.move(10 * 365 * 24 * 3_600 * SECOND)
    assert await lose(bench) is None
    assert await bench.state(id) == "pending"
    assert await lose(bench, "nobody", 5 * SECOND) is None


async def test_another_time_out_counts_from_the_same_loss(bench: Bench) -> None:
    id = await add(bench)
    lost_at = bench.clock.now()
    assert await lose(bench, wait_timeout=60 * SECOND) == lost_at + 60 * SECOND
    bench.clock.move(5 * SECOND)
    assert await lose(bench, wait_timeout=9 * SECOND) == lost_at + 9 * SECOND
    assert await lose(bench, wait_timeout=5 * SECOND) is None
    assert await bench.state(id) == "dead"


async def test_a_group_that_recovered_meanwhile_is_lost_again(bench: Bench) -> None:
    id = await add(bench)
    await lose(bench, wait_timeout=10 * SECOND)
    bench.clock.move(9 * SECOND)
    await bench.store.mark_group_available("media")
    bench.clock.move(9 * SECOND)
    assert await lose(bench, wait_timeout=10 * SECOND) == bench.clock.now() + 10 * SECOND
    bench.clock.move(10 * SECOND - 1)
    await lose(bench, wait_timeout=10 * SECOND)
    assert await bench.state(id) == "pending"
    bench.clock.move(1)
    await lose(bench, wait_timeout=10 * SECOND)
    assert await bench.state(id) == "dead"


async def test_to_find_one_group_finds_no_other_and_to_find_what_was_not_lost_is_harmless(bench: Bench) -> None:
    lost_at = bench.clock.now()
    await add(bench)
    await lose(bench, wait_timeout=10 * SECOND)
    bench.clock.move(SECOND)
    await bench.store.mark_group_available("email")
    await bench.store.mark_group_available("nobody")
    assert await lose(bench, wait_timeout=10 * SECOND) == lost_at + 10 * SECOND


@pytest.mark.parametrize("paused", [False, True])
async def test_after_a_start_only_a_group_that_is_paused_is_lost_since_before(bench: Bench, paused: bool) -> None:
    await add(bench)
    await bench.store.pause_group("media", paused)
    lost_at = bench.clock.now()
    await lose(bench, wait_timeout=10 * SECOND)
    bench.clock.move(9 * SECOND)
    await bench.store.stop()
    await bench.store.start()
    await bench.store.recover_runs("lax", "next")
    since = lost_at if paused else bench.clock.now()
    assert await lose(bench, wait_timeout=10 * SECOND) == since + 10 * SECOND


async def test_a_run_that_was_to_start_long_ago_waits_from_when_it_came(bench: Bench) -> None:
    await lose(bench, wait_timeout=10 * SECOND)
    bench.clock.move(3_600 * SECOND)
    run = await add(bench, run_at=bench.clock.now() - 1_800 * SECOND)
    assert await lose(bench, wait_timeout=10 * SECOND) == bench.clock.now() + 10 * SECOND
    assert await bench.state(run) == "pending"


async def test_a_pause_and_its_end_leave_what_else_was_asked_of_a_lost_group(bench: Bench) -> None:
    await bench.store.scale_group("media", 3)
    await bench.store.pause_group("media", True)
    await lose(bench)
    assert (await bench.store.list_group_overrides())["media"] == (True, 3)
    await bench.store.mark_group_available("media")
    assert (await bench.store.list_group_overrides())["media"] == (True, 3)


# Many


@pytest.mark.parametrize(("word", "state"), [("fail", "dead"), ("cancel", "cancelled"), ("ignore", "pending"), (None, "dead")])
async def test_fallbacks_apply_to_more_runs_than_one_transaction(bench: Bench, word: str | None, state: RunState) -> None:
    like, ids = bench.new(group="media", fallback=word), new_ids(MANY)
    await bench.store.enqueue_batches([(like, [(id, "null") for id in ids])])
    before = len(bench.told)
    while (more := await lose(bench, wait_timeout=0)) is not None:
        assert more <= bench.clock.now() and len(bench.told) - before < MANY
    told = bench.told[before:]
    assert len(told) > 1, "MANY is too few to show anything"
    assert sorted(run.run_id for effects in told for run in effects.ended) == ([] if word == "ignore" else ids)
    assert set().union(*(effects.ready for effects in told)) == ({"default"} if word == "ignore" else set())
    found = Counter((run.state, run.group) for run in await bench.store.list_runs(RunFilter(), None))
    assert found == {(state, "default" if word == "ignore" else "media"): MANY}


# Refusals


@pytest.mark.parametrize("state", ["dead", "cancelled"])
@pytest.mark.parametrize("payload", ["1", LARGE], ids=["small", "large"])
async def test_a_run_that_is_refused_is_stored_as_ended_with_the_reason(bench: Bench, state: RunState, payload: str) -> None:
    refusal = denial(state)
    new = bench.new(group="media", unique_key="k", payload=payload, refusal=refusal)
    assert await bench.store.enqueue_runs([new]) == [Enqueued(new.id, state, "media", warning=refusal.failure.message)]
    assert (bench.ended_ids, bench.effects.ready, bench.effects.due) == ([new.id], set(), None)
    run = await bench.show(new.id)
    assert (run.state, run.error, run.attempts, run.crashes) == (state, refusal.failure.as_json(), 0, 0)
    assert (run.started_at, run.finished_at, run.payload) == (None, bench.clock.now(), json.loads(payload))
    assert await claimed(bench, "media") == []
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert not second.deduplicated


async def test_one_that_is_refused_arms_no_timer_though_it_was_for_later(bench: Bench) -> None:
    later = bench.clock.now() + SECOND
    await bench.store.enqueue_runs([bench.new(run_at=later, refusal=denial())])
    assert (bench.effects.due, await bench.store.get_next_due()) == (None, None)
    await bench.store.enqueue_batches([(bench.new(run_at=later, refusal=denial()), [(bench.new().id, "1")])])
    assert (bench.effects.due, await bench.store.get_next_due()) == (None, None)


@pytest.mark.parametrize("state", ["pending", "running", "waiting", "succeeded", "dead", "cancelled"])
async def test_a_run_that_is_known_stays_as_it_is_though_it_would_be_refused_now(bench: Bench, state: RunState) -> None:
    id = await bench.in_state(state)
    before = await bench.show(id)
    bench.clock.move(SECOND)
    (answer,) = await bench.store.enqueue_runs([bench.new(id=id, refusal=denial())])
    assert (answer.id, answer.state, answer.deduplicated) == (id, state, True)
    assert await bench.show(id) == before
    assert bench.told_nothing


async def test_a_live_run_with_the_unique_key_is_returned_to_one_that_would_be_refused(bench: Bench) -> None:
    id = await bench.add(unique_key="k")
    new = bench.new(unique_key="k", refusal=denial())
    assert await bench.store.enqueue_runs([new]) == [Enqueued(id, "pending", "default", deduplicated=True)]
    assert await bench.store.get_run(new.id) is None
    assert bench.told_nothing


@pytest.mark.parametrize("state", ["dead", "cancelled"])
async def test_many_that_are_refused_are_stored_as_ended_with_the_reason(bench: Bench, state: RunState) -> None:
    refusal, ids = denial(state), new_ids(3)
    fine = bench.new(group="email")
    await bench.store.enqueue_batches(
        [
            (bench.new(group="media", refusal=refusal), list(zip(ids, ["1", LARGE, "3"], strict=True))),
            (fine, [(fine.id, "4")]),
        ]
    )
    assert bench.ended_ids == ids
    for id in ids:
        run = await bench.show(id)
        assert (run.state, run.error, run.attempts) == (state, refusal.failure.as_json(), 0)
        assert (run.started_at, run.finished_at, run.group) == (None, bench.clock.now(), "media")
    assert await bench.state(fine.id) == "pending"
    assert await claimed(bench, "media") == []


@pytest.mark.parametrize("state", ["pending", "running", "waiting", "succeeded", "dead", "cancelled"])
async def test_of_many_those_that_are_known_stay_as_they_are_though_they_would_be_refused_now(
    bench: Bench, state: RunState
) -> None:
    known, fresh = await bench.in_state(state), bench.new().id
    before = await bench.show(known)
    bench.clock.move(SECOND)
    await bench.store.enqueue_batches([(bench.new(refusal=denial()), [(known, "2"), (fresh, "3"), (fresh, "4")])])
    assert await bench.show(known) == before
    assert bench.ended_ids == [fresh]
    assert (await bench.show(fresh)).payload == 3


async def test_a_child_that_is_refused_ends_for_its_parent(bench: Bench) -> None:
    parent = await bench.running(group="parents")
    child = bench.new(group="media", parent=parent.id, refusal=denial())
    outcome = await bench.store.invoke_child(parent.id, parent.token, "call", child)
    assert not isinstance(outcome, str) and outcome is not None
    assert (outcome.state, '"reason": "tenant_denied"' in (outcome.text or "")) == ("failed", True)
    assert await bench.state(child.id) == "dead"


# A run that is denied when it is to be claimed


async def test_a_run_that_is_denied_at_its_first_claim_was_never_started(bench: Bench) -> None:
    id = await add(bench, tenant="mars", unique_key="k")
    assert await bench.store.claim_runs("media", 9, None, ["venus"]) == Claims([], False)
    assert bench.ended_ids == [id]
    run = await bench.show(id)
    assert (run.state, await reason(bench, id), run.finished_at) == ("dead", "tenant_denied", bench.clock.now())
    assert (run.started_at, run.server, run.worker_pid, run.attempts, run.crashes) == (None, None, None, 0, 0)
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert not second.deduplicated


async def test_a_run_that_is_denied_at_a_later_claim_keeps_when_it_was_started(bench: Bench) -> None:
    id = await add(bench, tenant="mars")
    (run,) = (await bench.store.claim_runs("media", 9, None, ["mars"])).runs
    started = bench.clock.now()
    await bench.store.reschedule_run(id, run.token, failed_with(), started, WORKER, charged=True)
    bench.clock.move(SECOND)
    assert (await bench.store.claim_runs("media", 9, None, [])).runs == []
    shown = await bench.show(id)
    assert (shown.state, shown.started_at, shown.attempts) == ("dead", started, 1)


async def test_a_run_that_was_denied_has_a_higher_token_when_it_is_claimed_after_a_retry(bench: Bench) -> None:
    id = await add(bench, tenant="mars")
    (first,) = (await bench.store.claim_runs("media", 9, None, ["mars"])).runs
    await bench.store.requeue_runs([(id, first.token)])
    await bench.store.claim_runs("media", 9, None, [])
    assert await bench.retry([id], fresh=False) == {id: "pending"}
    (second,) = (await bench.store.claim_runs("media", 9, None, ["mars"])).runs
    assert second.token > first.token
    assert not await bench.store.finish_run(id, first.token, "dead", failed_with(), WORKER, charged=True)


@pytest.mark.parametrize("hold", [None, "suspect"])
async def test_of_what_a_claim_looks_at_only_the_denied_end(bench: Bench, hold: Hold | None) -> None:
    ids = {}
    for tenant in ("venus", "mars", None):
        ids[tenant] = await add(bench, tenant=tenant)
        if hold:
            run = await bench.claim_one("media")
            await bench.store.requeue_runs([(run.id, run.token)], hold)
    claims = await bench.store.claim_runs("media", 9, hold, ["venus"])
    assert [run.id for run in claims.runs] == [ids["venus"]]
    assert sorted(bench.ended_ids) == sorted([ids["mars"], ids[None]])
    assert [(await bench.show(ids[tenant])).hold for tenant in ("mars", None)] == [None, None]


# A retry that is refused


REFUSED = Route("media", "rule", "fail", "rule", denial())


async def _died_of_its_handler(bench: Bench) -> str:
    run = await bench.running(group="media")
    await bench.store.save_steps([bench.step(run, "a", LARGE)])
    await bench.store.charge_crash(run.id, run.token, failed_with("crash"), 9, WORKER)
    (again,) = (await bench.store.claim_runs("media", 1, "suspect")).runs
    await bench.store.set_progress(run.id, again.token, 0.5, "half")
    await bench.store.finish_run(run.id, again.token, "dead", failed_with(LARGE), WORKER, charged=True)
    return run.id


async def _died_of_its_child(bench: Bench) -> str:
    run = await bench.running(group="media")
    child = bench.new(group="children", parent=run.id)
    await bench.store.invoke_child(run.id, run.token, "call", child)
    inner = await bench.claim_one("children")
    await bench.store.finish_run(child.id, inner.token, "dead", failed_with(), WORKER, charged=True)
    await bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    return run.id


async def _was_cancelled(bench: Bench) -> str:
    run = await bench.running(group="media")
    await bench.store.cancel_runs([run.id])
    await bench.store.finish_run(run.id, run.token, "cancelled", failed_with(), WORKER, charged=False)
    return run.id


async def _was_refused(bench: Bench) -> str:
    return await bench.add(group="media", refusal=denial("cancelled"))


@pytest.mark.parametrize("make", [_died_of_its_handler, _died_of_its_child, _was_cancelled, _was_refused])
@pytest.mark.parametrize("fresh", [False, True])
async def test_a_retry_that_is_refused_leaves_the_run_as_it_ended(bench: Bench, make: Any, fresh: bool) -> None:
    id = await make(bench)
    before = await bench.show(id)
    bench.clock.move(SECOND)
    assert await bench.store.retry_runs({id: REFUSED}, fresh=fresh) == {id: "refused"}
    after = await bench.show(id)
    assert (after.attempts, after.crashes, after.error, after.steps) == (
        before.attempts, before.crashes, before.error, before.steps,
    )  # fmt: skip
    assert (after.state, after.progress, after.started_at) == (before.state, before.progress, before.started_at)
    assert bench.effects.ready == set()
    assert await claimed(bench, "media") == []
    assert await bench.retry([id], fresh=False) == {id: "pending"}
    assert (await bench.claim_one("media")).id == id


@pytest.mark.parametrize(("state", "answer"), [("pending", "live"), ("running", "live"), ("succeeded", "succeeded")])
async def test_a_retry_of_a_run_that_needs_none_is_not_called_refused(bench: Bench, state: RunState, answer: str) -> None:
    id = await bench.in_state(state)
    before = await bench.show(id)
    assert await bench.store.retry_runs({id: REFUSED, "nobody": REFUSED}, fresh=True) == {id: answer, "nobody": "unknown"}
    assert await bench.show(id) == before


async def test_a_retry_that_is_refused_takes_no_unique_key(bench: Bench) -> None:
    run = await bench.ended("dead", unique_key="k")
    await bench.store.retry_runs({run.id: REFUSED}, fresh=False)
    (second,) = await bench.store.enqueue_runs([bench.new(unique_key="k")])
    assert not second.deduplicated


async def test_of_several_retries_one_that_is_refused_holds_up_no_other(bench: Bench) -> None:
    first, second = [(await bench.ended("dead", group="media")).id for _ in range(2)]
    routes = {first: REFUSED, second: Route("email", "rule", "wait", "rule")}
    assert await bench.store.retry_runs(routes, fresh=False) == {first: "refused", second: "pending"}
    assert bench.effects.ready == {"email"}
    assert await claimed(bench, "email") == [second]
