"""The connection is lost at any message of any transition: nothing is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import pytest

from tako_lite.errors import StoreUnreachable
from tako_lite.records import Claimed, new_id
from tako_lite.store.base import RunFilter
from tests.faults.postgres.stores import stores
from tests.faults.postgres.wire import End, Wire
from tests.support.backends import PostgresBackend
from tests.support.profiles import scaled
from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = [pytest.mark.anyio, pytest.mark.full, pytest.mark.timeout(300)]

ENDS: Final[tuple[End, ...]] = get_args(End)
MESSAGES: Final = 40
"""More than any transition sends."""

Call = Callable[[Bench, Claimed, str], Awaitable[Any]]
"""What a server does to a run; the last argument is an id for what it makes."""


class Deed(NamedTuple):
    """A transition of a running or waiting run, and whether a worker reports it, so that the store must not drop it."""

    call: Call
    kept: bool = True
    waits: bool = False


DEEDS: Final = {
    "complete": Deed(lambda bench, run, new: bench.complete(run)),
    "try_again": Deed(
        lambda bench, run, new: bench.store.reschedule_run(
            run.id, run.token, failed_with(), bench.clock.now(), WORKER, charged=True
        )
    ),
    "finish": Deed(
        lambda bench, run, new: bench.store.finish_run(run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    ),
    "requeue": Deed(lambda bench, run, new: bench.store.requeue_runs([(run.id, run.token)], "suspect", 70)),
    "crash": Deed(lambda bench, run, new: bench.store.charge_crash(run.id, run.token, failed_with(), 3, WORKER)),
    "save_steps": Deed(lambda bench, run, new: bench.store.save_steps([bench.step(run, "a"), bench.step(run, "b")])),
    "add_wait": Deed(lambda bench, run, new: bench.store.add_wait(bench.wait(run, "w", "signal", "go"))),
    "sleep": Deed(lambda bench, run, new: bench.store.add_wait(bench.wait(run, "w", "sleep", None, 1_000))),
    "invoke": Deed(
        lambda bench, run, new: bench.store.invoke_child(run.id, run.token, "c", bench.new(id=new, group="x", parent=run.id))
    ),
    "enqueue_child": Deed(
        lambda bench, run, new: bench.store.enqueue_child(run.id, run.token, "c", bench.new(id=new, group="x", parent=run.id))
    ),
    "park": Deed(lambda bench, run, new: bench.store.park_run(run.id, run.token, ["wait"], 30)),
    "cancel": Deed(lambda bench, run, new: bench.store.cancel_runs([run.id]), kept=False),
    "cancel_waiting": Deed(lambda bench, run, new: bench.store.cancel_runs([run.id]), kept=False, waits=True),
    "signal": Deed(lambda bench, run, new: bench.store.store_signal(f"of-{run.id}", '"x"'), kept=False, waits=True),
    "enqueue": Deed(lambda bench, run, new: bench.store.enqueue_runs([bench.new(id=new, group="x")]), kept=False),
    "enqueue_many": Deed(
        lambda bench, run, new: bench.store.enqueue_batches([(bench.new(group="x"), [(new, "1"), (f"{new[:-1]}z", "2")])]),
        kept=False,
    ),
    "pause": Deed(lambda bench, run, new: bench.store.pause_group("default", True), kept=False),
}


@pytest.fixture
async def benches(wire: Wire, postgres_backend: PostgresBackend, tmp_path: Path) -> AsyncIterator[Sequence[Bench]]:
    """A server whose connections go over the wire, and one whose connections are sound."""
    direct = postgres_backend.database.url
    async with stores(postgres_backend, tmp_path, wire.url(postgres_backend.database.name), direct) as made:
        yield made


async def prepare(bench: Bench, deed: Deed) -> Claimed:
    """A run that is running, or waits for a signal of its own."""
    if not deed.waits:
        return await bench.running()
    run = await bench.running()
    await bench.store.add_wait(bench.wait(run, "wait", "signal", f"of-{run.id}"))
    await bench.store.park_run(run.id, run.token, ["wait"])
    return run


async def seen(sound: Bench, run: Claimed, before: set[str]) -> Any:
    """What is stored of a run, and what was made beside it, without its id."""
    shown = await sound.show(run.id)
    made = [id for id in await sound.store.list_run_ids(RunFilter()) if id not in before]
    steps = [(step.name, step.state, step.attempts) for step in shown.steps or ()]
    waits = [(wait.name, wait.kind) for wait in shown.waits]
    counts = (shown.attempts, shown.crashes, shown.claim_token, shown.hold, shown.cancel_requested)
    return shown.state, counts, steps, waits, [(await sound.show(id)).state for id in made]


async def done(bench: Bench, run: Claimed, deed: Deed, id: str) -> None:
    """Do it; what no worker reports is asked for again by its client, as often as its outcome is unknown."""
    for _ in range(5):
        try:
            await deed.call(bench, run, id)
            return
        except StoreUnreachable:
            assert not deed.kept
    raise AssertionError("it was never stored")


@pytest.mark.parametrize("name", DEEDS)
async def test_a_connection_that_is_lost_at_any_message_loses_nothing_and_stores_nothing_twice(
    benches: Sequence[Bench], wire: Wire, name: str
) -> None:
    bench, sound = benches
    deed = DEEDS[name]
    await bench.store.ping()
    before = set(await sound.store.list_run_ids(RunFilter()))
    run = await prepare(bench, deed)
    before.add(run.id)
    await done(bench, run, deed, new_id())
    expected = await seen(sound, run, before)
    tried = 0
    for number in range(1, MESSAGES):
        for end in scaled(ENDS[number % 3 :][:1], ENDS):
            before = set(await sound.store.list_run_ids(RunFilter()))
            run = await prepare(bench, deed)
            before.add(run.id)
            wire.arm(end, number)
            async with asyncio.timeout(30):
                await done(bench, run, deed, new_id())
            if wire.disarm():
                assert tried >= 3, "no message was lost"
                return
            tried += 1
            assert await seen(sound, run, before) == expected, f"message {number} was {end}"
    raise AssertionError(f"it sends more than {MESSAGES} messages")


@pytest.mark.parametrize("end", ENDS)
async def test_a_claim_that_was_lost_before_its_commit_leaves_its_runs_to_others(
    benches: Sequence[Bench], wire: Wire, end: End
) -> None:
    bench, sound = benches
    await bench.store.ping()
    for number in range(1, MESSAGES):
        id = await sound.add()
        wire.arm(end, number)
        try:
            claimed = [run.id for run in (await bench.store.claim_runs("default", 5)).runs]
        except StoreUnreachable:
            claimed = []
        armed = wire.disarm()
        async with asyncio.timeout(30):
            while not claimed and end != "unanswered":  # until the server has noticed that the session is gone
                claimed = [run.id for run in (await sound.store.claim_runs("default", 5)).runs]
                await asyncio.sleep(0.02)
        shown = await sound.show(id)
        assert (shown.state, shown.claim_token) == ("running", 1)
        assert claimed == [id] or end == "unanswered"
        await sound.store.cancel_runs([id])
        if armed:
            return
    raise AssertionError(f"it sends more than {MESSAGES} messages")


async def test_what_workers_report_waits_for_a_database_that_is_away(benches: Sequence[Bench], wire: Wire) -> None:
    bench, sound = benches
    runs = [await bench.running() for _ in range(10)]
    wire.apply("drop")
    ending = [asyncio.ensure_future(bench.complete(run)) for run in runs]
    refused = bench.store.enqueue_runs([bench.new()])
    with pytest.raises(StoreUnreachable):
        async with asyncio.timeout(30):
            await refused
    assert bench.store.trouble is not None
    assert not any(task.done() for task in ending)
    wire.apply("pass")
    async with asyncio.timeout(30):
        await asyncio.gather(*ending)
    assert bench.store.trouble is None
    assert {await sound.state(run.id) for run in runs} == {"succeeded"}
