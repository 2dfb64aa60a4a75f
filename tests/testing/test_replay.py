"""`replay`: does changed code still fit the runs that are stored?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tako_lite import BlockingStep, Step, Workflow, workflow
from tako_lite.testing import NotSame, Tako


async def charge(amount: int) -> int:
    calls.append(amount)
    return amount


calls: list[int] = []


def order(name: str = "charge", **changes: Any) -> Workflow[..., Any]:
    """A release of the workflow `order`."""

    @workflow("order", retries=0)
    async def handler(payload: int, step: Step) -> str:
        if changes.get("raises"):
            raise ValueError("changed")
        if changes.get("sleeps"):
            await step.sleep(name, "1s")
        else:
            await step.run(name, charge, payload)
        if changes.get("adds"):
            await step.run("added", charge, payload)
        if changes.get("returns"):
            return "early"
        await step.wait_for(changes.get("event", "approval"))
        await step.run("ship", charge, 1)
        return str(changes.get("result", "shipped"))

    return handler


def parked(handle: Workflow[..., Any]) -> dict[str, Any]:
    """A run that waits for its approval."""
    with Tako(workflows=[handle], config="") as tako:
        run = tako.enqueue(handle, 5)
        tako.run_until_idle()
        return dict(run.data)


@pytest.fixture
def stored() -> dict[str, Any]:
    return parked(order())


def replayed(handle: Workflow[..., Any], shown: dict[str, Any]) -> Any:
    with Tako(workflows=[handle], config="") as tako:
        return tako.replay(json.dumps(shown))


def test_the_same_code_fits_and_executes_nothing(stored: dict[str, Any]) -> None:
    calls.clear()
    fits = replayed(order(), stored)
    assert (fits.reached, fits.frontier, calls) == (["charge"], ["wait_for:approval"], [])


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (lambda: order("charge-card"), "stored step `charge` was not reached again; was it renamed to `charge-card`?"),
        (lambda: order(adds=True), "the handler asks for step `added`, which the run has not stored"),
        (lambda: order(event="consent"), "the run waits for signal `wait_for:approval`, and the handler does not ask for it"),
        (lambda: order(returns=True), "the handler returns while the run waits for wait_for:approval"),
        (lambda: order(raises=True), "the handler raises ValueError: changed while the run waits for wait_for:approval"),
        (lambda: order(sleeps=True), "`charge` is a step of the kind sleep, and the run has one of the kind run stored"),
    ],
)
def test_a_difference_is_named(stored: dict[str, Any], changed: Callable[[], Any], difference: str) -> None:
    with pytest.raises(NotSame) as found:
        replayed(changed(), stored)
    assert difference in str(found.value)


def test_a_workflow_that_is_gone_does_not_fit(stored: dict[str, Any]) -> None:
    with pytest.raises(NotSame, match="no workflow file defines order any more"):
        replayed(plain, stored)


def test_the_result_of_an_ended_run_is_compared() -> None:
    with Tako(workflows=[order()], config="") as tako:
        run = tako.enqueue("order", 5)
        tako.signal("approval")
        tako.run_until_idle()
        assert tako.replay(run).frontier == []
        shown = dict(run.data)
    with pytest.raises(NotSame, match="the handler returns 'sent', and the stored result is 'shipped'"):
        replayed(order(result="sent"), shown)


@workflow("plain")
def plain(payload: int, step: BlockingStep) -> int:
    first = step.run("first", charge, payload)
    step.sleep("nap", "1h")
    return first


@workflow("side-by-side")
async def side_by_side(payload: int, step: Step) -> Any:
    return await asyncio.gather(step.run("a", charge, 1), step.wait_for("go"), step.invoke("child", "plain", 1))


@workflow("leaves", retries=3)
async def leaves(payload: int, step: Step) -> None:
    await step.run("a", charge, 1)
    await step.signal("told")
    await step.enqueue("other", "plain", 1)
    raise ValueError("later")


@pytest.mark.tako(workflows=[plain, side_by_side, leaves], config="")
def test_plain_handlers_parallel_steps_and_failing_runs_fit(tako: Tako) -> None:
    runs = [tako.enqueue(handle, 1) for handle in (plain, side_by_side, leaves)]
    tako.run_until_idle()
    assert [run.state for run in runs] == ["waiting", "waiting", "pending"]
    assert [tako.replay(run).reached for run in runs] == [["first"], ["a"], ["a", "signal:told", "other"]]
