"""Two servers and more that do something to one queue in the same instant."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tako_lite.errors import StoreBusy
from tako_lite.states import TERMINAL
from tako_lite.store.base import Completed, Limit, RunFilter
from tako_lite.units import Rate
from tests.faults.postgres.stores import stores
from tests.support.backends import PostgresBackend
from tests.support.profiles import scaled
from tests.support.store_bench import SMALL, WORKER, Bench

pytestmark = [pytest.mark.anyio, pytest.mark.full, pytest.mark.timeout(300)]

AT_ONCE = 50
"""How many of a kind meet in the same instant; those of one server share a transaction."""


@pytest.fixture
async def servers(postgres_backend: PostgresBackend, tmp_path: Path) -> AsyncIterator[Sequence[Bench]]:
    """Five stores on one queue."""
    async with stores(postgres_backend, tmp_path, *[postgres_backend.database.url] * 5) as benches:
        yield benches


@pytest.mark.parametrize("is_stored", [False, True], ids=["before", "after"])
async def test_a_signal_and_its_wait_in_the_same_instant_find_each_other(servers: Sequence[Bench], is_stored: bool) -> None:
    """Once each of both is the first to be submitted."""
    one, other = servers[:2]
    for turn in range(scaled(8, 200)):
        runs = [await one.running() for _ in range(AT_ONCE)]
        waits = [one.wait(run, "wait", "signal", f"go-{turn}-{number}") for number, run in enumerate(runs)]
        waiting = [one.store.add_wait(wait) for wait in waits]
        signals = [other.store.store_signal(wait.key or "", SMALL) for wait in waits]
        await asyncio.gather(*(signals + waiting if is_stored else waiting + signals))
        lost = [run.id for run in [await one.show(run.id) for run in runs] if run.waits or not run.steps]
        assert lost == [], f"{len(lost)} of {AT_ONCE} wait although their signal is stored"
        for run in runs:
            await one.complete(run)


async def test_a_child_that_ends_while_its_parent_parks_on_another_server_wakes_it(servers: Sequence[Bench]) -> None:
    one, other = servers[:2]
    for _ in range(scaled(8, 200)):
        parents = [await one.running(group="parents") for _ in range(AT_ONCE)]
        children = []
        for parent in parents:
            child = one.new(group="children", parent=parent.id)
            await one.store.invoke_child(parent.id, parent.token, "call", child)
            children.append(await other.claim_one("children"))
        parking = [one.store.park_run(parent.id, parent.token, ["call"]) for parent in parents]
        await asyncio.gather(*parking, *(other.complete(child) for child in children))
        states = [await one.state(parent.id) for parent in parents]
        assert states == ["pending"] * AT_ONCE, "a parent waits for a child that has ended"
        await one.store.cancel_runs([parent.id for parent in parents])


async def test_a_child_that_ends_while_its_parent_begins_to_wait_wakes_it(servers: Sequence[Bench]) -> None:
    one, other = servers[:2]
    for _ in range(scaled(8, 200)):
        parents = [await one.running(group="parents") for _ in range(AT_ONCE)]
        children = [await other.running(group="children") for _ in range(AT_ONCE)]
        pairs = list(zip(parents, children, strict=True))
        waits = [one.store.add_wait(one.wait(parent, "call", "child", child.id)) for parent, child in pairs]
        await asyncio.gather(*waits, *(other.complete(child) for child in children))
        lost = [run.id for run in [await one.show(parent.id) for parent in parents] if run.waits]
        assert lost == [], f"{len(lost)} of {AT_ONCE} wait for a child that has ended"
        for parent in parents:
            await one.complete(parent)


async def test_a_limit_is_never_exceeded_by_five_servers_that_claim_at_once(
    servers: Sequence[Bench], postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    for bench in servers:
        await bench.store.set_limits({"greet": Limit(5)})
    ids = [await servers[0].add(limit_key="") for _ in range(scaled(200, 5_000))]
    most = 0

    async def work(bench: Bench) -> None:
        nonlocal most
        for _ in range(10_000):
            runs = (await bench.store.claim_runs("default", 10)).runs
            query = "SELECT count(*) FROM runs WHERE state = 'running'"
            ((running,),) = await asyncio.to_thread(postgres_backend.execute, tmp_path, query)
            most = max(most, running)
            await bench.store.complete_runs([Completed(run.id, run.token, SMALL, WORKER) for run in runs])
            if not runs and await bench.store.count_runs(RunFilter(states=("pending",))) == 0:
                return
        raise AssertionError(f"{bench.store} never came to an end")

    await asyncio.gather(*(work(bench) for bench in servers))
    assert (most, {await servers[0].state(id) for id in ids}) == (5, {"succeeded"})


async def test_a_rate_is_never_exceeded_by_five_servers_that_claim_at_once(servers: Sequence[Bench]) -> None:
    for bench in servers:
        await bench.store.set_limits({"greet": Limit(rate=Rate(5, 1.0, None))})
    for _ in range(100):
        await servers[0].add(limit_key="")
    for _ in range(scaled(10, 100)):
        claims = await asyncio.gather(*(bench.store.claim_runs("default", 10) for bench in servers))
        begun = [
            bench.store.mark_run_begun(run.id, run.token)
            for bench, claimed in zip(servers, claims, strict=True)
            for run in claimed.runs
        ]
        await asyncio.gather(*begun)
        assert len(begun) <= 5
        servers[0].clock.move(1_000)
        for bench in servers:
            await bench.store.wake_due_runs()


async def test_one_unique_key_from_fifty_clients_of_three_servers_is_one_run(servers: Sequence[Bench]) -> None:
    for turn in range(scaled(10, 200)):
        key = f"key-{turn}"
        made = await asyncio.gather(*(
            servers[number % 3].store.enqueue_runs([servers[0].new(unique_key=key)]) for number in range(50)
        ))  # fmt: skip
        ids = {enqueued.id for (enqueued,) in made}
        assert (len(ids), [enqueued.deduplicated for (enqueued,) in made].count(False)) == (1, 1)


async def test_clients_without_a_server_and_two_servers_make_one_run_of_one_key(servers: Sequence[Bench]) -> None:
    clients = [servers[0].queue.open_offline("process", servers[0].clock) for _ in range(5)]
    for turn in range(scaled(5, 50)):
        new = [servers[0].new(unique_key=f"key-{turn}") for _ in range(7)]
        made = await asyncio.gather(
            *(asyncio.to_thread(client.enqueue_run, run) for client, run in zip(clients, new, strict=False)),
            *(bench.store.enqueue_runs([run]) for bench, run in zip(servers, new[5:], strict=False)),
        )
        assert len({(answer[0] if isinstance(answer, list) else answer).id for answer in made}) == 1


async def test_two_servers_that_end_children_of_the_same_parents_do_not_deadlock(
    servers: Sequence[Bench], postgres_backend: PostgresBackend
) -> None:
    one, other = servers[:2]
    dice = random.Random(1)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = postgres_backend.database.execute(deadlocks)
    for _ in range(scaled(5, 100)):
        parents = [await one.running(group="parents") for _ in range(20)]
        children: list[list[Completed]] = [[], []]
        for parent in parents:
            for name in ("a", "b"):
                await one.store.invoke_child(parent.id, parent.token, name, one.new(group="children", parent=parent.id))
            await one.store.park_run(parent.id, parent.token, ["a", "b"])
        for bench, ended in zip((one, other), children, strict=True):
            claims = (await bench.store.claim_runs("children", 20)).runs
            ended += [Completed(run.id, run.token, SMALL, WORKER) for run in claims]
            dice.shuffle(ended)
        await asyncio.gather(one.store.complete_runs(children[0]), other.store.complete_runs(children[1]))
        shown = [await one.show(parent.id) for parent in parents]
        assert [(run.state, run.waits) for run in shown] == [("pending", ())] * 20
        await one.store.cancel_runs([parent.id for parent in parents])
    assert postgres_backend.database.execute(deadlocks) == before


async def test_an_open_transaction_with_the_same_unique_key_holds_up_nothing_but_that_key(
    servers: Sequence[Bench], postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    bench = servers[0]
    rival = bench.new(unique_key="same")
    await bench.store.enqueue_runs([rival])
    schema = postgres_backend.schema(tmp_path)
    with closing(psycopg.connect(postgres_backend.database.url, options=f"-c search_path={schema}")) as user:
        user.execute("CREATE TEMP TABLE kept AS SELECT * FROM runs")
        user.execute("DELETE FROM runs")
        user.commit()
        user.execute("INSERT INTO runs SELECT * FROM kept")  # by an application in its own transaction, not committed yet
        alike = asyncio.ensure_future(bench.store.enqueue_runs([bench.new(unique_key="same")]))
        async with asyncio.timeout(5):
            assert not (await bench.store.enqueue_runs([bench.new()]))[0].deduplicated
            assert len((await bench.store.claim_runs("default", 10)).runs) == 1
        with suppress(StoreBusy):
            async with asyncio.timeout(20):
                await alike
        user.commit()
    assert (await bench.store.enqueue_runs([bench.new(unique_key="same")]))[0].id == rival.id


async def test_a_cancel_on_one_server_and_the_end_on_another_leave_one_end(servers: Sequence[Bench]) -> None:
    one, other = servers[:2]
    for _ in range(scaled(8, 200)):
        runs = [await one.running() for _ in range(AT_ONCE)]
        one.told.clear()
        other.told.clear()
        ending = [one.complete(run) for run in runs]
        cancelled, *_ = await asyncio.gather(other.store.cancel_runs([run.id for run in runs]), *ending)
        told = [id for bench in (one, other) for effects in bench.told for id in effects.succeeded]
        told += [run.run_id for bench in (one, other) for effects in bench.told for run in effects.ended]
        assert sorted(told) == sorted(run.id for run in runs), "each end is told once"
        for run in runs:
            assert cancelled[run.id] in ("ended", "cancelling")
            assert await one.state(run.id) in TERMINAL


async def test_a_pause_stops_the_claims_of_every_server_with_its_commit(servers: Sequence[Bench]) -> None:
    one, *others = servers
    for _ in range(40):
        await one.add()
    claims = [bench.store.claim_runs("default", 1) for bench in others for _ in range(5)]
    await asyncio.gather(one.store.pause_group("default", True), *claims)
    assert [(await bench.store.claim_runs("default", 1)).runs for bench in servers] == [[]] * 5
    await others[0].store.pause_group("default", False)
    assert len((await one.store.claim_runs("default", 1)).runs) == 1


async def test_every_run_is_claimed_by_one_of_five_servers(servers: Sequence[Bench]) -> None:
    ids = [await servers[0].add() for _ in range(scaled(300, 10_000))]

    async def claim_all(bench: Bench) -> list[str]:
        claimed: list[str] = []
        while runs := (await bench.store.claim_runs("default", 7)).runs:
            claimed += [run.id for run in runs]
        return claimed

    claimed = await asyncio.gather(*(claim_all(bench) for bench in servers))
    assert sorted(id for ids_of_one in claimed for id in ids_of_one) == sorted(ids)


async def test_what_one_server_claimed_no_other_can_end_with_the_same_token(servers: Sequence[Bench]) -> None:
    one, other = servers[:2]
    run = await one.running()
    await other.complete(run)
    assert await other.store.finish_run(run.id, run.token, "dead", None, WORKER, charged=True) is False  # type: ignore[arg-type]
    assert await other.store.save_steps([other.step(run, "a")]) == [None]
    assert await other.store.park_run(run.id, run.token, []) is None
    await other.store.requeue_runs([(run.id, run.token)])
    assert await one.state(run.id) == "running"
    await one.complete(run)
    assert await one.state(run.id) == "succeeded"
