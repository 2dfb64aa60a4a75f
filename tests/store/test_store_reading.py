"""Conformance: what people and programs read."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from tako_lite.errors import BadInput, NotFound
from tako_lite.protocol.arguments import OPPOSITES
from tako_lite.states import HAS, RUN_STATES, RunState
from tako_lite.store import reading
from tako_lite.store.base import GroupCounts, RunFilter
from tako_lite.store.sqlite.store import SqliteStore
from tests.support.store_bench import LARGE, Bench

pytestmark = pytest.mark.anyio


async def test_an_unknown_run_is_none(bench: Bench) -> None:
    await bench.add()
    assert await bench.store.get_run("nobody") is None


async def test_what_was_acknowledged_is_read_at_once(bench: Bench) -> None:
    for _ in range(20):
        assert await bench.state(await bench.add()) == "pending"


async def test_an_ending_of_an_id_finds_its_run(bench: Bench) -> None:
    ids = [await bench.add() for _ in range(3)]
    assert await bench.store.resolve_ending(ids[1][-12:]) == ids[1]
    assert await bench.store.resolve_ending(ids[1][-12:].upper()) == ids[1]
    assert await bench.store.resolve_ending(ids[1]) == ids[1]
    assert await bench.store.resolve_ending(ids[1].upper()) == ids[1]


async def test_an_ending_that_is_too_short_is_refused(bench: Bench) -> None:
    id = await bench.add()
    with pytest.raises(BadInput, match="too short"):
        await bench.store.resolve_ending(id[-3:])


async def test_an_ending_of_two_runs_is_refused(bench: Bench) -> None:
    for first in "ab":
        await bench.add(id=f"{first}0000000-0000-7000-8000-00000000beef")
    with pytest.raises(BadInput, match="more than one"):
        await bench.store.resolve_ending("beef")


@pytest.mark.parametrize("ending", ["dddd", "d" * 36, "d" * 37, "%%%%", "____", "'; DROP TABLE runs; --", "\x00" * 4])
async def test_an_ending_of_no_run_is_not_found(bench: Bench, ending: str) -> None:
    await bench.add(id="00000000-0000-7000-8000-00000000beef")
    with pytest.raises(NotFound) as raised:
        await bench.store.resolve_ending(ending)
    assert raised.value.type == "unknown_run"


async def test_the_newest_runs_are_listed_first(bench: Bench) -> None:
    ids = [await bench.add() for _ in range(5)]
    assert [run.id for run in await bench.store.list_runs(RunFilter(), 3)] == ids[:1:-1]
    assert [run.id for run in await bench.store.list_runs(RunFilter(), None)] == ids[::-1]
    assert await bench.store.list_run_ids(RunFilter()) == ids


async def test_a_list_of_no_runs_is_empty(bench: Bench) -> None:
    await bench.add()
    assert await bench.store.list_runs(RunFilter(), 0) == []


async def test_listed_runs_come_without_their_steps(bench: Bench) -> None:
    run = await bench.running()
    await bench.store.save_steps([bench.step(run, "a")])
    (listed,) = await bench.store.list_runs(RunFilter(), 10)
    assert (listed.id, listed.steps, listed.waits) == (run.id, None, ())


@pytest.mark.parametrize("state", RUN_STATES)
async def test_runs_are_listed_by_state(bench: Bench, state: RunState) -> None:
    ids = {each: await bench.in_state(each) for each in RUN_STATES}
    assert await bench.store.list_run_ids(RunFilter(states=(state,))) == [ids[state]]
    assert [run.state for run in await bench.store.list_runs(RunFilter(states=(state,)), None)] == [state]


async def test_conditions_of_a_filter_hold_together(bench: Bench) -> None:
    await bench.add(workflow="leave", group="g")
    await bench.add(workflow="greet", group="h")
    bench.clock.move(1_000)
    wanted = await bench.add(workflow="greet", group="g")
    dead = await bench.ended("dead", workflow="greet", group="other")
    since = bench.clock.now()
    assert await bench.store.list_run_ids(RunFilter(workflow="greet", group="g")) == [wanted]
    assert await bench.store.list_run_ids(RunFilter(since=since)) == [wanted, dead.id]
    assert await bench.store.list_run_ids(RunFilter(states=("dead", "pending"), since=since, workflow="greet")) == [
        wanted,
        dead.id,
    ]
    assert await bench.store.list_run_ids(RunFilter(workflow="nothing")) == []


async def test_a_filter_asks_for_steps_and_what_a_run_has(bench: Bench) -> None:
    plain = await bench.add()
    waits = await bench.waiting(unique_key="k")
    dead = (await bench.ended("dead", tenant="acme")).id
    assert await bench.store.list_run_ids(RunFilter(has=("key",))) == [waits.id]
    assert await bench.store.list_run_ids(RunFilter(has=("waits",))) == [waits.id]
    assert await bench.store.list_run_ids(RunFilter(has=("tenant", "error"))) == [dead]
    assert await bench.store.list_run_ids(RunFilter(has=("retries",))) == []
    for word in HAS:
        with_it = await bench.store.list_run_ids(RunFilter(has=(word,)))
        without_it = await bench.store.list_run_ids(RunFilter(without=(("has", word),)))
        assert sorted(with_it + without_it) == sorted([plain, waits.id, dead]), word


async def test_the_opposite_of_a_condition_holds_for_runs_without_a_value(bench: Bench) -> None:
    plain = await bench.add(workflow="greet")
    acme = await bench.add(workflow="greet", tenant="acme")
    await bench.add(workflow="noisy")
    chosen = RunFilter(without=(("workflow", "noisy"), ("tenant", "acme")))
    assert await bench.store.list_run_ids(chosen) == [plain]
    assert await bench.store.list_run_ids(RunFilter(workflow="greet", without=(("tenant", "other"),))) == [plain, acme]
    for name in OPPOSITES:
        value: str | int = 1 if name.endswith(("since", "until", "before", "after", "duration")) else "error"
        everything = await bench.store.list_run_ids(RunFilter())
        with_it = await bench.store.list_run_ids(RunFilter(without=((name, value),)))
        assert set(with_it) <= set(everything), name


async def test_runs_are_counted_by_group(bench: Bench) -> None:
    oldest = bench.clock.now() - 500
    await bench.add(group="g", run_at=oldest)
    await bench.add(group="g")
    await bench.add(group="g", run_at=bench.clock.now() + 1_000)
    for state in ("running", "waiting", "dead", "succeeded", "succeeded", "cancelled"):
        make = {"running": bench.running, "waiting": bench.waiting}.get(state)
        group = f"{state}-only"
        await (make(group=group) if make else bench.ended(state, group=group))
    counts = await bench.store.count_by_group()
    assert counts["g"] == GroupCounts(3, 0, 0, 0, oldest, 0, 0, 2)
    assert counts["running-only"] == GroupCounts(0, 0, 1, 0, None, 0, 0)
    assert counts["waiting-only"] == GroupCounts(0, 1, 0, 0, None, 0, 0)
    assert counts["dead-only"] == GroupCounts(0, 0, 0, 1, None, 0, 1)
    assert counts["succeeded-only"] == GroupCounts(0, 0, 0, 0, None, 2, 0)
    assert "cancelled-only" not in counts


async def test_rates_are_those_of_the_last_minute(bench: Bench) -> None:
    await bench.ended("succeeded", group="g")
    await bench.ended("dead", group="g")
    bench.clock.move(60_000)
    assert (await bench.store.count_by_group())["g"] == GroupCounts(0, 0, 0, 1, None, 1, 1)
    bench.clock.move(1)
    assert (await bench.store.count_by_group())["g"] == GroupCounts(0, 0, 0, 1, None, 0, 0)


async def test_an_empty_queue_counts_nothing(bench: Bench) -> None:
    assert await bench.store.count_by_group() == {}
    assert (await bench.store.get_stats())["pruned"] == {}
    assert await bench.store.list_groups_with_work() == (set(), set())


async def test_groups_with_due_runs_are_reported_with_their_suspects(bench: Bench) -> None:
    await bench.add(group="ready")
    await bench.add(group="later", run_at=bench.clock.now() + 1)
    suspect = await bench.running(group="suspects")
    await bench.store.requeue_runs([(suspect.id, suspect.token)], "suspect")
    await bench.waiting(group="waiting")
    ready, suspects = await bench.store.list_groups_with_work()
    assert "ready" in ready
    assert not {"later", "waiting"} & ready
    assert suspects == {"suspects"}


async def test_the_size_of_what_is_stored_is_reported(bench: Bench) -> None:
    before = (await bench.store.get_stats())["file_bytes"]
    await bench.add(payload=f'"{secrets.token_hex(100_000)}"')  # no backend can compress it
    assert (await bench.store.get_stats())["file_bytes"] >= before + 150_000


async def test_the_runs_that_are_to_start_before_one_are_counted(bench: Bench) -> None:
    now = bench.clock.now()
    last = await bench.add(run_at=now)
    for ahead in ({"run_at": now - 10}, {"run_at": now, "priority": 5}):
        await bench.add(**ahead)
    for other in ({"group": "media", "run_at": now - 10}, {"run_at": now + 10}, {"priority": -1}):
        await bench.add(**other)
    assert await bench.store.count_runs_ahead(await bench.show(last)) == 2


async def test_runs_that_may_not_start_are_not_ahead(bench: Bench) -> None:
    suspect = await bench.running(group="g")
    await bench.store.requeue_runs([(suspect.id, suspect.token)], "suspect")
    assert await bench.store.count_runs_ahead(await bench.show(await bench.add(group="g"))) == 0


async def test_what_is_ahead_and_what_is_queued_is_counted_up_to_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_AHEAD", 2)
    for _ in range(5):
        last = await bench.add(workflow="a")
    assert await bench.store.count_runs_ahead(await bench.show(last)) == 3
    assert await bench.store.count_queued_by_workflow(2) == {"a": 2}


@pytest.mark.parametrize("few", [2, 100], ids=["many", "few"])
async def test_old_runs_that_match_a_filter_are_found_however_many_others_are_newer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(reading, "NEWEST", 3)
    monkeypatch.setattr(reading, "FEW", few)
    ids = [await bench.add(workflow="rare" if number in (1, 2, 4, 9) else "common") for number in range(12)]

    async def listed(limit: int, **chosen: Any) -> list[int]:
        return [ids.index(run.id) for run in await bench.store.list_runs(RunFilter(**chosen), limit)]

    assert await listed(3, workflow="rare") == [9, 4, 2]
    assert await listed(9, workflow="rare") == [9, 4, 2, 1]
    assert await listed(2, workflow="rare", before=ids[9]) == [4, 2]
    assert await listed(2, workflow="rare", states=("pending",), before=ids[9]) == [4, 2]
    assert await listed(5, workflow="none") == []
    assert await listed(2, workflow="common") == [11, 10]


async def test_a_backup_is_a_queue_of_its_own(bench: Bench, tmp_path: Path) -> None:
    id = await bench.add(payload=LARGE)
    copy = tmp_path / "backup.db"
    assert await bench.store.back_up(copy) == copy.stat().st_size
    assert copy.stat().st_mode & 0o777 == 0o600
    await bench.store.cancel_runs([id])
    restored = SqliteStore(copy, "disk", bench.clock, "lax", "boot-2", bench.told.append)
    await restored.start()
    (run,) = (await restored.claim_runs("default", 5)).runs
    await restored.stop()
    assert (run.id, run.payload) == (id, LARGE)


async def test_a_backup_takes_no_file_that_is_there(bench: Bench, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    copy.write_text("mine")
    with pytest.raises(BadInput):
        await bench.store.back_up(copy)
    assert copy.read_text() == "mine"


async def test_runs_that_no_worker_has_are_counted_by_workflow(bench: Bench) -> None:
    assert await bench.store.count_queued_by_workflow() == {}
    first = await bench.add(workflow="a")
    await bench.add(workflow="a", run_at=bench.clock.now() + 60_000)
    await bench.add(workflow="b")
    assert await bench.store.count_queued_by_workflow() == {"a": 2, "b": 1}
    await bench.store.cancel_runs([first])
    assert await bench.store.count_queued_by_workflow() == {"a": 1, "b": 1}
    await bench.claim_one()
    assert await bench.store.count_queued_by_workflow() == {"a": 1}
