"""Conformance: how many runs of a workflow are running at a time, and how many begin in a stretch of time."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tako_lite.errors import TakoError
from tako_lite.options import OnLimit
from tako_lite.records import Claimed
from tako_lite.routing import Route, no_worker
from tako_lite.states import TERMINAL
from tako_lite.store.base import Claims, Completed, Limit
from tako_lite.store.transitions import limits
from tako_lite.units import Rate
from tests.support.backends import Backend
from tests.support.profiles import scaled
from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio

ONE = Limit(1)
SECOND = 1_000


@pytest.fixture
async def one(bench: Bench) -> Bench:
    """A bench on which one run of `greet` may be running."""
    await bench.store.set_limits({"greet": ONE})
    return bench


async def add(bench: Bench, **changes: Any) -> str:
    return await bench.add(**({"limit_key": ""} | changes))


async def claim(bench: Bench, most: int = 9, group: str = "default", hold: Any = None) -> list[str]:
    """The ids of the runs that a claim gets; those of a workflow with a rate begin at once."""
    runs = (await bench.store.claim_runs(group, most, hold)).runs
    for run in runs:
        await begin(bench, run)
    return [run.id for run in runs]


async def begin(bench: Bench, run: Claimed) -> None:
    """The worker of a run says that its handler was called, where a rate waits for that."""
    if (await bench.show(run.id)).rate_key is not None:
        await bench.store.mark_run_begun(run.id, run.token)


async def claimed(bench: Bench, **changes: Any) -> Claimed:
    """A run that is running, in the group of the others."""
    await add(bench, **changes)
    run = await bench.claim_one(changes.get("group", "default"))
    await begin(bench, run)
    return run


async def held(bench: Bench, count: int = 1, **changes: Any) -> list[str]:
    """So many due runs that a claim did not get because of the limit."""
    ids = [await add(bench, **changes) for _ in range(count)]
    assert await claim(bench, group=changes.get("group", "default")) == []
    assert [(await bench.show(id)).hold for id in ids] == ["limit"] * count
    return ids


# Limits


async def test_no_more_runs_of_a_workflow_are_running_than_its_limit(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(2)})
    ids = [await add(bench) for _ in range(5)]
    claims = await bench.store.claim_runs("default", 9)
    assert ([run.id for run in claims.runs], claims.more) == (ids[:2], False)
    assert [await bench.state(id) for id in ids] == ["running"] * 2 + ["pending"] * 3
    assert [(await bench.show(id)).hold for id in ids] == [None, None, "limit", "limit", "limit"]


async def test_a_run_beyond_the_limit_looks_as_if_it_was_never_claimed(one: Bench) -> None:
    await claimed(one)
    (id,) = await held(one)
    run = await one.show(id)
    assert (run.state, run.claim_token, run.started_at, run.server) == ("pending", 0, None, None)


async def test_one_that_was_started_before_keeps_when_and_where(one: Bench) -> None:
    run = await claimed(one)
    started = one.clock.now()
    await one.store.reschedule_run(run.id, run.token, failed_with(), started, WORKER, charged=True)
    one.clock.move(SECOND)
    await claimed(one, priority=99)
    assert await claim(one) == []
    shown = await one.show(run.id)
    assert (shown.claim_token, shown.started_at, shown.server, shown.hold) == (run.token, started, "lax", "limit")


async def test_the_limit_counts_over_all_groups(one: Bench) -> None:
    await claimed(one, group="a")
    await held(one, group="b")


async def test_a_claim_passes_over_held_runs_to_those_of_other_workflows(one: Bench) -> None:
    await add(one)
    for _ in range(40):
        await add(one)
    other = await one.add(workflow="other")
    claims = await one.store.claim_runs("default", 3)
    assert ([run.workflow for run in claims.runs], claims.more) == (["greet", "other"], False)
    assert claims.runs[1].id == other


async def test_what_exceeds_one_claim_is_reported_as_more(bench: Bench) -> None:
    known = {f"w{number}": ONE for number in range(20)}
    await bench.store.set_limits(known)
    for workflow in known:
        await claimed(bench, workflow=workflow)
    for workflow in known:
        await add(bench, workflow=workflow)
    free = await bench.add(workflow="free")
    got: list[str] = []
    for _ in range(20):
        claims = await bench.store.claim_runs("default", 1)
        got += [run.id for run in claims.runs]
        if not claims.more:
            break
    assert got == [free]


async def test_a_later_claim_skips_held_runs(one: Bench) -> None:
    await claimed(one)
    await held(one, 3)
    assert await one.store.claim_runs("default", 1) == Claims([], False)
    assert await one.store.count_runs_ahead(await one.show(await one.add(workflow="other"))) == 0


Leave = Callable[[Bench, Claimed], Awaitable[Any]]


async def _leave_by_parking(bench: Bench, run: Claimed) -> None:
    await bench.store.add_wait(bench.wait(run, "wait", "signal", "go"))
    assert await bench.store.park_run(run.id, run.token, ["wait"]) == "waiting"


async def _leave_by_sleeping(bench: Bench, run: Claimed) -> None:
    name = f"nap-{run.token}"
    await bench.store.add_wait(bench.wait(run, name, "sleep", lasting=70))
    await bench.store.park_run(run.id, run.token, [name], 60)


async def _leave_by_a_crash(bench: Bench, run: Claimed) -> None:
    await bench.store.charge_crash(run.id, run.token, failed_with(), 99, WORKER)


async def _leave_by_giving_back(bench: Bench, run: Claimed) -> None:
    await bench.store.requeue_runs([(run.id, run.token)])


async def _leave_by_a_cancel_that_the_worker_sees(bench: Bench, run: Claimed) -> None:
    await bench.store.cancel_runs([run.id])
    await bench.store.requeue_runs([(run.id, run.token)])


LEAVE: dict[str, Leave] = {
    "complete": lambda bench, run: bench.complete(run),
    "die": lambda bench, run: bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True),
    "be tried later": lambda bench, run: bench.store.reschedule_run(
        run.id, run.token, failed_with(), bench.clock.now() + 9, WORKER, charged=True
    ),
    "sleep": _leave_by_sleeping,
    "crash once too often": lambda bench, run: bench.store.charge_crash(run.id, run.token, failed_with(), 1, WORKER),
    "be cancelled": _leave_by_a_cancel_that_the_worker_sees,
}


@pytest.mark.parametrize("way", LEAVE)
async def test_whatever_leaves_gives_its_place_to_the_first_that_is_held(one: Bench, way: str) -> None:
    run = await claimed(one)
    first, second = await held(one, 2)
    await LEAVE[way](one, run)
    assert "default" in one.effects.ready
    assert await claim(one) == [first]
    assert (await one.show(second)).hold == "limit"


@pytest.mark.parametrize("hold", [None, "suspect"])
async def test_a_requeued_run_is_in_line_again(one: Bench, hold: Any) -> None:
    run = await claimed(one)
    (behind,) = await held(one)
    await one.store.requeue_runs([(run.id, run.token)], hold)
    got = [*await claim(one, hold="suspect"), *await claim(one)]
    assert got == [run.id]
    await one.complete(await _now_running(one, run.id))
    assert await claim(one) == [behind]


async def _now_running(bench: Bench, id: str) -> Claimed:
    shown = await bench.show(id)
    assert shown.state == "running"
    return Claimed(0, id, shown.workflow, shown.claim_token, 0, 3, 0, 0, None, None, "null")


async def test_a_crash_that_is_charged_frees_the_place_and_the_suspect_passes_the_limit_again(one: Bench) -> None:
    run = await claimed(one)
    (behind,) = await held(one)
    assert await one.store.charge_crash(run.id, run.token, failed_with(), 3, WORKER) == "pending"
    assert (one.effects.ready, one.effects.suspects) == ({"default"}, {"default"})
    assert await claim(one) == [behind]
    assert await claim(one, hold="suspect") == []
    assert (await one.show(run.id)).hold == "suspect_limit"
    assert await claim(one, hold="suspect") == []
    await one.complete(await _now_running(one, behind))
    assert (await one.show(run.id)).hold == "suspect"
    assert "default" in one.effects.suspects
    assert await claim(one, hold="suspect") == [run.id]


async def test_what_ran_when_the_daemon_died_holds_no_place(one: Bench) -> None:
    run = await claimed(one)
    (behind,) = await held(one)
    assert await one.store.recover_runs("lax", "next") == {"lax": 1}
    assert await claim(one) == [run.id]
    await one.complete(await _now_running(one, run.id))
    assert await claim(one) == [behind]


async def test_a_result_in_the_same_transaction_makes_room_for_the_claim_after_it(one: Bench) -> None:
    run = await claimed(one)
    (behind,) = await held(one)
    done = one.store.complete_runs([Completed(run.id, run.token, "null", WORKER)])
    claims = one.store.claim_runs("default", 1)
    await done
    assert [found.id for found in (await claims).runs] == [behind]


async def test_a_stale_result_frees_nothing(one: Bench) -> None:
    run = await claimed(one)
    (behind,) = await held(one)
    await one.complete(run._replace(token=run.token + 1))
    assert (await one.show(behind)).hold == "limit"


async def test_a_woken_run_passes_the_limit_again(one: Bench) -> None:
    run = await claimed(one)
    await _leave_by_parking(one, run)
    other = await add(one)
    assert await claim(one) == [other]
    await one.store.store_signal("go", "null")
    assert await claim(one) == []
    await one.complete(await _now_running(one, other))
    assert await claim(one) == [run.id]


async def test_held_runs_go_in_the_order_of_time_and_priority(one: Bench) -> None:
    running = await claimed(one)
    now = one.clock.now()
    last, second, third = [await add(one, run_at=now - ago) for ago in (0, 300, 200)]
    first = await add(one, priority=60)
    assert await claim(one) == []
    late_but_urgent = await add(one, priority=120)
    started = []
    for _ in range(5):
        await one.complete(running)
        running = await one.claim_one()
        started.append(running.id)
    assert started == [late_but_urgent, first, second, third, last]


async def test_a_new_run_does_not_overtake_one_that_is_held(one: Bench) -> None:
    run = await claimed(one)
    (first,) = await held(one)
    second = await add(one)
    await one.complete(run)
    assert await claim(one) == [first]
    await one.complete(await _now_running(one, first))
    assert await claim(one) == [second]


async def test_each_value_of_the_key_has_places_of_its_own(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1, key="who")})

    async def of(who: str) -> str:
        return await bench.add(limit_key=f'"{who}"', payload=f'{{"who": "{who}"}}')

    ann, again, bob = [await of(who) for who in ("ann", "ann", "bob")]
    assert await claim(bench) == [ann, bob]
    assert (await bench.show(again)).hold == "limit"
    await bench.complete(await _now_running(bench, bob))
    assert await claim(bench) == []
    await bench.complete(await _now_running(bench, ann))
    assert await claim(bench) == [again]


async def test_a_paused_group_does_not_keep_the_place_from_another(one: Bench) -> None:
    run = await claimed(one)
    (paused,) = await held(one, group="a")
    (other,) = await held(one, group="b")
    await one.store.pause_group("a", True)
    await one.complete(run)
    assert one.effects.ready == {"a", "b"}
    assert await claim(one, group="a") == []
    assert await claim(one, group="b") == [other]
    await one.store.pause_group("a", False)
    assert await claim(one, group="a") == []
    assert (await one.show(paused)).hold == "limit"


async def test_a_cancelled_run_that_was_next_lets_the_one_behind_it_go(one: Bench) -> None:
    run = await claimed(one)
    first, second = await held(one, 2)
    await one.complete(run)
    await one.store.cancel_runs([first])
    assert await claim(one) == [second]


async def test_a_cancelled_run_that_was_held_is_cancelled(one: Bench) -> None:
    await claimed(one)
    (id,) = await held(one)
    assert await one.store.cancel_runs([id]) == {id: "cancelled"}
    assert ((await one.show(id)).hold, await one.state(id)) == (None, "cancelled")


async def test_a_run_that_falls_back_to_another_group_is_counted_there(one: Bench) -> None:
    run = await claimed(one)
    first, second = await held(one, 2, group="a", fallback="ignore")
    await one.store.mark_group_unavailable("a", no_worker("it is paused"), None)
    assert [(await one.show(id)).hold for id in (first, second)] == [None, None]
    assert await claim(one) == []
    await one.complete(run)
    assert await claim(one) == [first]


async def test_ones_that_end_with_their_group_leave_the_place_to_others(one: Bench) -> None:
    run = await claimed(one)
    (lost,) = await held(one, group="a", fallback="fail")
    (other,) = await held(one, group="b")
    await one.complete(run)
    await one.store.mark_group_unavailable("a", no_worker("it is paused"), None)
    assert await one.state(lost) == "dead"
    assert await claim(one, group="b") == [other]


async def test_a_run_of_a_tenant_that_is_denied_takes_no_place(one: Bench) -> None:
    denied = await add(one, tenant="mars")
    assert (await one.store.claim_runs("default", 1, None, ["venus"])).runs == []
    assert await one.state(denied) == "dead"
    allowed = await add(one, tenant="venus")
    assert [run.id for run in (await one.store.claim_runs("default", 1, None, ["venus"])).runs] == [allowed]


# Other limits than before


async def test_a_limit_that_is_raised_lets_go_what_may_run_now(one: Bench) -> None:
    await claimed(one)
    first, second, third = await held(one, 3)
    await one.store.set_limits({"greet": Limit(3)})
    assert one.effects.ready == {"default"}
    assert await claim(one) == [first, second]
    assert (await one.show(third)).hold == "limit"


async def test_a_limit_that_is_gone_lets_all_go(one: Bench) -> None:
    await claimed(one)
    ids = await held(one, 3)
    await one.store.set_limits({})
    assert one.effects.ready == {"default"}
    assert await claim(one) == ids


@pytest.mark.parametrize("limit", [ONE, Limit(rate=Rate(1, 60.0))], ids=["limit", "rate"])
async def test_many_held_runs_are_released_in_order_and_in_portions_until_all_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: Limit
) -> None:
    monkeypatch.setattr(limits, "RELEASED_AT_ONCE", 2)
    await bench.store.set_limits({"greet": limit})
    await claimed(bench)
    ids = [await add(bench) for _ in range(5)]
    away = [await add(bench, group="away") for _ in range(3)]
    assert await claim(bench) + await claim(bench, group="away") == []
    await bench.store.set_limits({})
    seen = []
    while bench.effects.due is not None:
        assert bench.effects.due <= bench.clock.now()
        seen.append([(await bench.show(id)).hold is None for id in (*ids, *away)])
        await bench.store.wake_due_runs()
    assert seen == [[True] * 2 + [False] * 3 + [True] * 2 + [False], [True] * 4 + [False] + [True] * 3]
    assert await claim(bench) == ids
    assert await claim(bench, group="away") == away


async def test_a_limit_that_returns_before_all_are_released_holds_them_again(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RELEASED_AT_ONCE", 2)
    running = await claimed(one)
    ids = await held(one, 5)
    await one.store.set_limits({})
    await one.store.set_limits({"greet": ONE})
    await one.store.wake_due_runs()
    assert await claim(one) == []
    for id in ids:
        await one.complete(running)
        running = await one.claim_one()
        assert running.id == id


async def test_a_limit_that_could_not_be_stored_does_not_hold(one: Bench, backend: Backend, tmp_path: Path) -> None:
    await claimed(one)
    (id,) = await held(one)
    with backend.refusing_updates(tmp_path), pytest.raises(TakoError, match="no room"):
        await one.store.set_limits({})
    await add(one)
    assert await claim(one) == []
    assert (await one.show(id)).hold == "limit"


async def test_a_limit_that_is_lowered_waits_until_enough_have_ended(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(2)})
    first, second = await claimed(bench), await claimed(bench)
    (id,) = await held(bench)
    await bench.store.set_limits({"greet": ONE})
    await bench.complete(first)
    assert await claim(bench) == []
    await bench.complete(second)
    assert await claim(bench) == [id]


async def test_a_new_limit_counts_what_is_running_and_what_was_queued(bench: Bench) -> None:
    running = await bench.running(group="default")
    queued = await bench.add()
    await bench.store.set_limits({"greet": ONE})
    assert await claim(bench) == []
    await bench.complete(running)
    assert await claim(bench) == [queued]


async def test_another_key_counts_by_its_own_values(one: Bench) -> None:
    running = await claimed(one, payload='{"who": "ann"}')
    (ann,) = await held(one, payload='{"who": "ann"}')
    (bob,) = await held(one, payload='{"who": "bob"}')
    await one.store.set_limits({"greet": Limit(1, key="who")})
    assert await claim(one) == []
    assert one.effects.ready == {"default"}
    assert await claim(one) == [bob]
    await one.complete(running)
    assert await claim(one) == [ann]


# Runs that are turned away


@pytest.fixture(params=["cancel", "fail"])
async def strict(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """A bench on which a second run of `greet` is turned away."""
    await bench.store.set_limits({"greet": Limit(1, request.param)})
    return bench


async def turned_away(bench: Bench, id: str) -> bool:
    run = await bench.show(id)
    return run.state in ("cancelled", "dead") and run.error is not None and run.error["reason"] == "limit"


@pytest.mark.parametrize(("on_limit", "state"), [("cancel", "cancelled"), ("fail", "dead")])
async def test_how_a_run_ends_that_is_turned_away(bench: Bench, on_limit: OnLimit, state: str) -> None:
    await bench.store.set_limits({"greet": Limit(1, on_limit)})
    await claimed(bench)
    (made,) = await bench.store.enqueue_runs([bench.new(limit_key="")])
    run = await bench.show(made.id)
    assert run.error is not None
    assert (made.state, made.warning) == (run.state, run.error["message"]) == (state, run.error["message"])
    assert (run.error["reason"], run.attempts, run.started_at) == ("limit", 0, None)
    assert run.error["message"] == "1 other run of greet was running or due, which is its limit"
    assert bench.ended_ids == [made.id]


async def test_a_run_that_comes_while_another_is_due_ends_at_once(strict: Bench) -> None:
    first, second = await add(strict), await add(strict)
    assert await turned_away(strict, second)
    assert await claim(strict) == [first]


async def test_of_many_that_come_at_once_the_first_stay(strict: Bench) -> None:
    ids = [strict.new().id for _ in range(5)]
    await strict.store.enqueue_batches([(strict.new(limit_key=""), [(id, "{}") for id in ids])])
    assert [await turned_away(strict, id) for id in ids] == [False, True, True, True, True]
    assert await claim(strict) == ids[:1]
    await strict.store.enqueue_batches([(strict.new(limit_key=""), [(id, "{}") for id in ids])])
    assert await strict.state(ids[0]) == "running"


async def test_a_later_run_is_counted_when_it_becomes_due(strict: Bench) -> None:
    run = await claimed(strict)
    later, latest = [await add(strict, run_at=strict.clock.now() + seconds * SECOND) for seconds in (1, 9)]
    strict.clock.move(SECOND)
    await strict.store.wake_due_runs()
    assert await turned_away(strict, later)
    await strict.complete(run)
    strict.clock.move(9 * SECOND)
    await strict.store.wake_due_runs()
    assert await claim(strict) == [latest]


async def test_of_several_that_become_due_together_the_first_stays(strict: Bench) -> None:
    second, first = [await add(strict, run_at=strict.clock.now() + ahead) for ahead in (9, 8)]
    strict.clock.move(10)
    await strict.store.wake_due_runs()
    assert await turned_away(strict, second)
    assert await claim(strict) == [first]


async def test_one_that_was_started_once_queues_instead(strict: Bench) -> None:
    run = await claimed(strict)
    await _leave_by_parking(strict, run)
    other = await claimed(strict)
    await strict.store.store_signal("go", "null")
    assert await claim(strict) == []
    assert (await strict.show(run.id)).hold == "limit"
    await strict.complete(other)
    assert await claim(strict) == [run.id]


async def test_a_retry_queues_if_it_was_started_once_and_is_turned_away_if_not(strict: Bench) -> None:
    died = await claimed(strict)
    await strict.store.finish_run(died.id, died.token, "dead", failed_with(), WORKER, charged=True)
    run = await claimed(strict)
    away = await add(strict)
    assert await strict.retry([died.id, away], fresh=False) == {died.id: "pending", away: "refused"}
    assert await turned_away(strict, away)
    assert await claim(strict) == []
    await strict.complete(run)
    assert await claim(strict) == [died.id]
    await strict.complete(await _now_running(strict, died.id))
    assert await strict.retry([away], fresh=False) == {away: "pending"}
    assert await claim(strict) == [away]


async def test_a_child_that_is_turned_away_ends_for_its_parent(strict: Bench) -> None:
    await claimed(strict)
    parent = await strict.running(workflow="parent")
    outcome = await strict.store.invoke_child(parent.id, parent.token, "call", strict.new(limit_key="", parent=parent.id))
    assert not isinstance(outcome, str) and outcome is not None
    assert outcome.state == "failed"
    assert '"reason": "limit"' in (outcome.text or "")


async def test_runs_enqueued_without_a_daemon_are_counted_by_the_next(strict: Bench) -> None:
    offline = strict.queue.open_offline("process", strict.clock)
    first, second = [offline.enqueue_run(strict.new(limit_key="")).id for _ in range(2)]
    third = strict.new().id
    offline.enqueue_batches([(strict.new(limit_key=""), [(third, "{}")])])
    assert [await strict.state(id) for id in (first, second, third)] == ["pending"] * 3
    await strict.store.wake_due_runs()
    assert [await turned_away(strict, id) for id in (first, second, third)] == [False, True, True]
    assert offline.retry_runs({second: Route("default", "default")}, fresh=False) == {second: "pending"}
    await strict.store.wake_due_runs()
    assert await turned_away(strict, second)


async def test_without_a_daemon_runs_with_no_limit_are_due_as_ever(bench: Bench) -> None:
    made = bench.queue.open_offline("process", bench.clock).enqueue_run(bench.new())
    assert await claim(bench) == [made.id]


# Rates


@pytest.mark.parametrize("burst", [None, 1, 2])
@pytest.mark.parametrize("latest", [0, 700, 3000])
async def test_no_more_runs_start_in_any_interval_than_the_rate_allows_however_long_they_travel(
    bench: Bench, burst: int | None, latest: int
) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(3, 1.0, burst))})
    dice = random.Random(7)
    starts: list[int] = []
    on_the_way: dict[Claimed, int] = {}
    pending = [await add(bench, group=f"g{number % 2}") for number in range(40)]
    for _ in range(10_000):
        for run, moment in list(on_the_way.items()):
            if moment <= bench.clock.now():
                del on_the_way[run]
                starts.append(bench.clock.now())
                await bench.store.mark_run_begun(run.id, run.token)
                if dice.random() < 0.5:
                    await bench.complete(run)
        if len(starts) == len(pending):
            break
        for group in ("g0", "g1"):
            for run in (await bench.store.claim_runs(group, dice.randint(1, 4))).runs:
                on_the_way[run] = bench.clock.now() + dice.randint(0, latest)
        bench.clock.move(dice.choice([1, 20, 120]))
        await bench.store.wake_due_runs()
    assert len(starts) == len(pending)
    assert all(later - earlier > SECOND for earlier, later in zip(starts, starts[3:], strict=False))
    assert starts[-1] - starts[0] < 40 * (SECOND // 3 + 120 + latest)


async def test_runs_are_spaced_evenly_after_a_small_burst(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(20, 10.0, 2))})
    began = bench.clock.now()
    ids = [await add(bench) for _ in range(22)]
    starts: dict[str, int] = {}
    while len(starts) < 22:
        starts |= dict.fromkeys(await claim(bench), bench.clock.now() - began)
        bench.clock.move(50)
        await bench.store.wake_due_runs()
    assert list(starts) == ids
    # Two at once, then one each half second; the twenty-first and the next wait until the first two are ten seconds old.
    assert [starts[id] for id in ids] == [0, 0, *(500 * number for number in range(1, 19)), 10_050, 10_050]


async def test_a_rate_counts_the_values_of_its_key_apart(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0), rate_key="who")})

    async def of(who: str) -> str:
        return await bench.add(limit_key="", rate_key=f'"{who}"', payload=f'{{"who": "{who}"}}')

    ann, again, bob, bobs, more = [await of(who) for who in ("ann", "ann", "bob", "bob", "ann")]
    assert await claim(bench) == [ann, bob]
    assert [(await bench.show(id)).hold for id in (again, bobs, more)] == ["rate"] * 3
    bench.clock.move(5 * SECOND)
    cid = await of("cid")
    assert await claim(bench) == [cid]
    bench.clock.move(5 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [again, bobs]
    assert (await bench.show(more)).hold == "rate"


async def test_a_key_may_be_the_tenant(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1, key="@tenant", rate=Rate(2, 10.0), rate_key="@tenant")})

    async def of(tenant: str | None) -> str:
        key = "" if tenant is None else f'"{tenant}"'
        return await bench.add(limit_key=key, rate_key=key, tenant=tenant)

    acme, again, other, nobody = [await of(tenant) for tenant in ("acme", "acme", "globex", None)]
    assert await claim(bench) == [acme, other, nobody]
    assert (await bench.show(again)).hold == "limit"


async def test_the_runs_of_many_keys_wait_for_one_timer_each_and_none_is_forgotten(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0), rate_key="who")})
    ids = [
        await bench.add(limit_key="", rate_key=f'"{number % 200}"', payload=f'{{"who": "{number % 200}"}}')
        for number in range(600)
    ]
    got: list[str] = []
    for _ in range(3):
        while more := await claim(bench, 400):
            got += more
        for _ in range(4):
            bench.clock.move(2_501)
            await bench.store.wake_due_runs()
        for _ in range(5):  # in portions
            await bench.store.wake_due_runs()
    assert sorted(got) == sorted(ids)


async def test_another_key_of_a_rate_holds_for_what_waits_already(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    ids = [await bench.add(limit_key="", rate_key="", payload=f'{{"who": "{who}"}}') for who in ("ann", "bob", "ann")]
    assert await claim(bench) == ids[:1]
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0), rate_key="who")})
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    got = [id for _ in range(4) for id in await claim(bench)]
    assert got == ids[1:]


async def test_what_was_on_its_way_when_the_daemon_ended_counts_as_begun(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    await add(bench)
    run = await bench.claim_one()
    assert await claim(bench) == []
    await bench.store.recover_runs("lax", "next")
    assert await claim(bench) == []
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [run.id]


async def test_a_run_that_ends_before_its_start_was_reported_frees_its_slot(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    await add(bench)
    run = await bench.claim_one()
    behind = await add(bench)
    assert await claim(bench) == []
    bench.clock.move(60 * SECOND)
    await bench.store.wake_due_runs()
    assert await claim(bench) == []  # it may begin at any moment
    await bench.complete(run)
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [behind]


async def test_the_timer_receives_the_time_of_the_next_start(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(2, 10.0))})
    began = bench.clock.now()
    first, second, third, fourth, fifth = [await add(bench) for _ in range(5)]
    assert await claim(bench, 1) == [first]
    bench.clock.move(SECOND)
    assert await claim(bench) == [second]
    assert [(await bench.show(id)).hold for id in (third, fourth, fifth)] == ["rate"] * 3
    assert bench.effects.due == began + 10 * SECOND + 1
    bench.clock.move(9 * SECOND)
    await bench.store.wake_due_runs()
    assert (bench.effects.ready, bench.effects.due) == (set(), began + 10 * SECOND + 1)
    bench.clock.move(1)
    await bench.store.wake_due_runs()
    assert bench.effects.ready == {"default"}
    assert await claim(bench) == [third]
    assert bench.effects.due == began + 11 * SECOND + 1
    bench.clock.move(60 * SECOND)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [fourth, fifth]


async def test_a_timer_that_is_set_after_the_last_free_slot_was_taken(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(2, 10.0))})
    ids = [await add(bench) for _ in range(6)]
    assert await claim(bench) == ids[:2]
    bench.clock.move(60 * SECOND)
    await bench.store.wake_due_runs()
    assert await claim(bench, 2) == ids[2:4]
    assert bench.effects.due == bench.clock.now() + 10 * SECOND + 1
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench, 2) == ids[4:]


async def test_the_end_of_a_wait_is_no_new_start_but_a_new_attempt_is(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    run = await claimed(bench)
    await bench.store.add_wait(bench.wait(run, "wait", "signal", "go"))
    await bench.store.park_run(run.id, run.token, ["wait"], 60)
    await bench.store.store_signal("go", "null")
    (again,) = (await bench.store.claim_runs("default", 1)).runs
    assert again.id == run.id
    await bench.store.reschedule_run(again.id, again.token, failed_with(), bench.clock.now(), WORKER, charged=True)
    assert await claim(bench) == []
    assert (await bench.show(run.id)).hold == "rate"


async def test_runs_that_continue_are_not_held_with_those_that_may_not_start(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    run = await claimed(bench)
    await bench.store.add_wait(bench.wait(run, "wait", "signal", "go"))
    await bench.store.park_run(run.id, run.token, ["wait"], 60)
    late = await add(bench, priority=99)
    await bench.store.store_signal("go", "null")
    assert await claim(bench, 1) == [run.id]
    assert (await bench.show(late)).hold == "rate"


async def test_a_run_that_reached_no_worker_has_not_begun(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0, 1))})
    await add(bench)
    run = await bench.claim_one()
    await bench.store.requeue_runs([(run.id, run.token)], ended_as=None)
    assert await claim(bench) == [run.id]


async def test_a_run_that_was_requeued_by_a_worker_has(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    run = await claimed(bench)
    await bench.store.requeue_runs([(run.id, run.token)])
    assert await claim(bench) == []


async def test_a_suspect_beyond_the_rate_stays_a_suspect(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    run = await claimed(bench)
    await bench.store.requeue_runs([(run.id, run.token)], "suspect")
    assert await claim(bench, hold="suspect") == []
    assert (await bench.show(run.id)).hold == "suspect_rate"
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert bench.effects.suspects == {"default"}
    assert await claim(bench, hold="suspect") == [run.id]


async def test_a_rate_is_that_of_the_workflow_whatever_the_keys_are(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1, "queue", "who", Rate(2, 10.0))})

    async def of(who: str) -> str:
        return await bench.add(limit_key=f'"{who}"', payload=f'{{"who": "{who}"}}')

    ann, again, bob, cid = [await of(who) for who in ("ann", "ann", "bob", "cid")]
    assert await claim(bench) == [ann, bob]
    assert [(await bench.show(id)).hold for id in (again, cid)] == ["limit", "rate"]
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [cid]
    await bench.complete(await _now_running(bench, ann))
    assert await claim(bench) == [again]


async def test_runs_of_several_keys_begin_in_their_order(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(2, "queue", "who", Rate(2, 10.0))})
    ids = [await bench.add(limit_key=f'"{who}"', payload=f'{{"who": "{who}"}}') for who in ("ann", "bob", "ann")]
    assert await claim(bench) == ids[:2]


async def test_a_place_that_a_full_key_cannot_use_goes_to_the_next(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(1, "queue", "who", Rate(1, 10.0))})

    async def of(who: str) -> str:
        return await bench.add(limit_key=f'"{who}"', payload=f'{{"who": "{who}"}}')

    ann = await of("ann")
    assert await claim(bench) == [ann]
    again, bob = await of("ann"), await of("bob")
    assert await claim(bench) == []
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    got = [id for _ in range(3) for id in await claim(bench)]
    assert got == [bob]
    assert (await bench.show(again)).hold == "limit"


async def test_a_clock_that_goes_back_stops_no_run_for_longer_than_the_period_of_the_rate(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 10.0))})
    await claimed(bench)
    bench.clock.move(-3_600 * SECOND)
    second = await add(bench)
    assert await claim(bench) == []
    bench.clock.move(10 * SECOND + 1)
    await bench.store.wake_due_runs()
    assert await claim(bench) == [second]


async def test_starts_are_forgotten_once_they_count_no_more(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(100, 1.0))})
    for _ in range(5):
        await add(bench)
        await claim(bench)
        bench.clock.move(2 * SECOND)
    shown = await bench.show(await add(bench))
    assert await bench.store.count_runs_beside(shown, 0) == 1
    await bench.store.set_limits({})
    assert await bench.store.count_runs_beside(shown, 0) == 0


async def test_a_rate_that_is_gone_lets_all_go(bench: Bench) -> None:
    await bench.store.set_limits({"greet": Limit(rate=Rate(1, 60.0))})
    first, second, third = [await add(bench) for _ in range(3)]
    assert await claim(bench) == [first]
    await bench.store.set_limits({})
    assert await claim(bench) == [second, third]


# Everything at once


OTHERS = (
    None,
    Limit(1, key="who"),
    Limit(3, key="who"),
    Limit(key="who", rate=Rate(2, 0.1)),
    Limit(2, key="who", rate=Rate(4, 0.2)),
)
"""What else the limit of a workflow may be; None is that it has none."""


@pytest.mark.parametrize("change", [0.0, 0.2], ids=["one limit", "limits that change"])
@pytest.mark.full
@pytest.mark.parametrize("seed", range(scaled(1, 4)))
async def test_random_operations_never_exceed_a_limit_and_forget_no_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int, change: float
) -> None:
    monkeypatch.setattr(limits, "RELEASED_AT_ONCE", 2)
    dice = random.Random(seed)
    first = Limit(2, key="who", rate=Rate(4, 0.2) if seed % 2 else None)
    limit: Limit | None = first
    await bench.store.set_limits({"greet": first})
    ids: list[str] = []
    running: dict[str, tuple[Claimed, str]] = {}
    keys: dict[str, str] = {}
    ways = [*LEAVE.values(), _leave_by_sleeping, _leave_by_a_crash, _leave_by_giving_back]
    for turn in range(300):
        if turn < 60:
            who = dice.choice("abc")
            changes = {"group": dice.choice("xy"), "priority": dice.randint(0, 2), "max_attempts": 9}
            ids.append(await bench.add(limit_key=f'"{who}"', payload=f'{{"who": "{who}"}}', **changes))
            keys[ids[-1]] = who
        if turn < 120 and dice.random() < change:
            limit = dice.choice(OTHERS)
            await bench.store.set_limits({} if limit is None else {"greet": limit})
        bench.clock.move(dice.randint(1, 60))
        await bench.store.wake_due_runs()
        before = Counter(key for _, key in running.values())
        for group, hold in itertools.product("xy", (None, "suspect")):
            for run in (await bench.store.claim_runs(group, dice.randint(1, 3), hold)).runs:  # type: ignore[arg-type]
                running[run.id] = (run, keys[run.id])
                if dice.random() < 0.7:  # of the others, the outcome is the first word
                    await begin(bench, run)
        if limit is not None and limit.most is not None:
            after = Counter(key for _, key in running.values())
            assert all(after[who] <= max(before[who], limit.most) for who in "abc")
        for id in dice.sample(sorted(running), dice.randint(0, len(running))):
            run, _ = running.pop(id)
            await dice.choice(ways if turn < 90 else ways[:1])(bench, run)
        if dice.random() < 0.1 and (others := sorted(set(ids) - running.keys())):
            await bench.store.cancel_runs([dice.choice(others)])
        if turn > 90 and not running and {await bench.state(id) for id in ids} <= TERMINAL:
            return
    raise AssertionError({(run.state, run.hold) for run in [await bench.show(id) for id in ids]})
