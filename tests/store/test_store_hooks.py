"""Conformance: a death stores the runs of the hooks that match it, in its own transaction."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tako_lite.errors import StoreError
from tako_lite.records import Failure, NewRun, Refusal, Run, new_id
from tako_lite.routing import no_worker
from tako_lite.store.base import DeathHook, Hooks, Limit, RunFilter
from tako_lite.units import Rate
from tests.support.profiles import scaled
from tests.support.store_bench import WORKER, Bench, failed_with

pytestmark = pytest.mark.anyio

REFUSAL = Refusal("dead", Failure("UnknownGroup", "no such group", None, "unknown_group"))


def hook(bench: Bench, name: str = "alert", *patterns: str, **changes: Any) -> DeathHook:
    """A hook workflow for the deaths of others, in a group of its own."""

    def make(payload: str, dead: str, now: int) -> NewRun:
        return bench.new(workflow=name, group="alerts", payload=payload, parent=dead, run_at=now, **changes)

    return DeathHook(patterns or ("*",), make)


@pytest.fixture
async def hooked(bench: Bench) -> Bench:
    """A bench on which every death starts a run of `alert`."""
    bench.store.set_hooks(Hooks((hook(bench),), frozenset({"alert"})))
    return bench


async def hook_runs(bench: Bench, workflow: str = "alert") -> list[Run]:
    """The runs of a hook workflow, oldest first."""
    listed = await bench.store.list_runs(RunFilter(workflow=workflow), None)
    return [await bench.show(run.id) for run in reversed(listed)]


# Every way to die


async def last_attempt(bench: Bench) -> str:
    return (await bench.ended("dead")).id


async def crash(bench: Bench) -> str:
    run = await bench.running()
    assert await bench.store.charge_crash(run.id, run.token, failed_with(reason="crashed"), 1, WORKER) == "dead"
    return run.id


async def refused(bench: Bench) -> str:
    return await bench.add(refusal=REFUSAL)


async def refused_in_a_batch(bench: Bench) -> str:
    id = new_id()
    await bench.store.enqueue_batches([(bench.new(refusal=REFUSAL), [(id, "{}")])])
    return id


async def fallback(bench: Bench) -> str:
    id = await bench.add(group="io", fallback="fail")
    await bench.store.mark_group_unavailable("io", no_worker("io is paused"), None)
    return id


async def wait_timeout(bench: Bench) -> str:
    id = await bench.add(group="io")
    await bench.store.mark_group_unavailable("io", no_worker("io is paused"), 0)
    return id


async def tenant(bench: Bench) -> str:
    id = await bench.add(group="io", tenant="acme")
    assert (await bench.store.claim_runs("io", 1, None, ("globex",))).runs == []
    return id


async def limit(bench: Bench) -> str:
    await bench.store.set_limits({"greet": Limit(1, "fail")})
    await bench.running(limit_key="")
    return await bench.add(limit_key="")


async def limit_when_due(bench: Bench) -> str:
    await bench.store.set_limits({"greet": Limit(1, "fail")})
    id = await bench.add(limit_key="", run_at=bench.clock.now() + 10)
    await bench.running(limit_key="")
    bench.clock.move(20)
    await bench.store.wake_due_runs()
    return id


WAYS = [last_attempt, crash, refused, refused_in_a_batch, fallback, wait_timeout, tenant, limit, limit_when_due]


@pytest.mark.parametrize("die", WAYS, ids=[die.__name__ for die in WAYS])
async def test_every_way_to_die_stores_one_run_of_the_hook(hooked: Bench, die: Callable[[Bench], Awaitable[str]]) -> None:
    dead = await die(hooked)
    assert await hooked.state(dead) == "dead"
    (run,) = await hook_runs(hooked)
    assert (run.parent, run.state, run.group) == (dead, "pending", "alerts")
    assert run.payload["run_id"] == dead
    assert any("alerts" in effects.ready for effects in hooked.told)
    assert (await hooked.claim_one("alerts")).id == run.id


async def test_the_payload_is_the_death_without_the_payload_of_the_run(hooked: Bench) -> None:
    dead = await hooked.running(payload='"a secret of the customer"', tenant="acme")
    failure = failed_with("m" * 5_000, reason="timeout", traceback="Traceback …")
    await hooked.store.finish_run(dead.id, dead.token, "dead", failure, WORKER, charged=True)
    (run,) = await hook_runs(hooked)
    assert run.payload == {
        "run_id": dead.id,
        "workflow": "greet",
        "group": (await hooked.show(dead.id)).group,
        "tenant": "acme",
        "attempts": 1,
        "error": "ValueError",
        "message": "m" * 4_096 + "…",
        "reason": "timeout",
        "finished_at": "2027-01-15T08:00:00.000Z",
        "see": f"tako-lite show {dead.id}",
    }
    assert "secret" not in json.dumps(run.payload)


async def test_no_other_end_stores_one(hooked: Bench) -> None:
    for state in ("succeeded", "cancelled"):
        await hooked.ended(state)  # type: ignore[arg-type]
    run = await hooked.running()
    await hooked.store.reschedule_run(run.id, run.token, failed_with(), hooked.clock.now(), WORKER, charged=True)
    await hooked.store.cancel_runs([run.id])
    assert await hook_runs(hooked) == []


async def test_each_hook_whose_pattern_matches_gets_one_run(bench: Bench) -> None:
    hooks = (hook(bench, "all", "*"), hook(bench, "mail", "mail.*", "send-mail"), hook(bench, "other", "gre"))
    bench.store.set_hooks(Hooks(hooks, frozenset({"all", "mail", "other"})))
    for workflow in ("greet", "mail.bulk", "send-mail"):
        await bench.ended("dead", workflow=workflow)
    assert [len(await hook_runs(bench, name)) for name in ("all", "mail", "other")] == [3, 2, 0]


async def test_a_run_that_dies_again_after_a_retry_stores_another(hooked: Bench) -> None:
    run = await hooked.ended("dead")
    await hooked.retry([run.id], fresh=False)
    again = await hooked.claim_one((await hooked.show(run.id)).group)
    await hooked.store.finish_run(again.id, again.token, "dead", failed_with(), WORKER, charged=True)
    assert [made.parent for made in await hook_runs(hooked)] == [run.id, run.id]


async def test_hooks_that_were_replaced_are_forgotten(hooked: Bench) -> None:
    hooked.store.set_hooks(Hooks())
    await hooked.ended("dead")
    assert await hook_runs(hooked) == []


# Never recursive


async def test_the_death_of_a_hook_run_or_of_what_it_has_started_stores_none(bench: Bench) -> None:
    bench.store.set_hooks(Hooks((hook(bench, "alert"), hook(bench, "second")), frozenset({"alert", "second"})))
    await bench.ended("dead")
    alert = (await hook_runs(bench))[0]
    parent = alert.id
    for _ in range(5):
        child = await bench.ended("dead", parent=parent)
        parent = child.id
    claimed = await bench.claim_one("alerts")
    await bench.store.finish_run(claimed.id, claimed.token, "dead", failed_with(), WORKER, charged=True)
    assert [len(await hook_runs(bench, name)) for name in ("alert", "second")] == [1, 1]


async def test_a_hook_that_is_refused_stores_no_other(bench: Bench) -> None:
    bench.store.set_hooks(Hooks((hook(bench, refusal=REFUSAL),), frozenset({"alert"})))
    await bench.ended("dead")
    (run,) = await hook_runs(bench)
    assert run.state == "dead"


async def test_the_death_of_a_child_of_another_run_stores_one(hooked: Bench) -> None:
    parent = await hooked.running()
    dead = await hooked.ended("dead", parent=parent.id)
    assert [run.parent for run in await hook_runs(hooked)] == [dead.id]


# One transaction


async def test_a_death_is_not_stored_without_its_hook_run(bench: Bench) -> None:
    def breaks(payload: str, dead: str, now: int) -> NewRun:
        raise LookupError("no such thing")

    bench.store.set_hooks(Hooks((hook(bench), DeathHook(("*",), breaks)), frozenset({"alert"})))
    run = await bench.running()
    finish = partial(bench.store.finish_run, run.id, run.token, "dead", failed_with(), WORKER, charged=True)
    with pytest.raises(StoreError, match="no such thing"):
        await finish()
    assert await bench.state(run.id) == "running"
    assert await hook_runs(bench) == []
    bench.store.set_hooks(Hooks((hook(bench),), frozenset({"alert"})))
    assert await finish()
    assert await bench.state(run.id) == "dead"
    assert len(await hook_runs(bench)) == 1


@pytest.mark.full
async def test_many_deaths_at_once_start_no_more_hook_runs_than_their_rate_allows(bench: Bench) -> None:
    bench.store.set_hooks(Hooks((hook(bench, limit_key="", rate_key=""),), frozenset({"alert"})))
    await bench.store.set_limits({"alert": Limit(rate=Rate(10, 60))})
    for _ in range(scaled(1, 10)):
        batch = [(new_id(), "{}") for _ in range(1_000)]
        assert await bench.store.enqueue_batches([(bench.new(refusal=REFUSAL), batch)]) == 1_000
    claimed = [run for _ in range(3) for run in (await bench.store.claim_runs("alerts", 50)).runs]
    assert len(claimed) == 10
