"""Stubs, spies, failures and time-outs by the name of a step; and what a strict `Tako` does not let pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tako_lite import BlockingStep, ChildFailed, Step, secret, workflow
from tako_lite.testing import Tako


@dataclass
class Receipt:
    number: int


async def charge(amount: int) -> Receipt:
    return Receipt(amount)


def label(text: str) -> str:
    return f"<{text}>"


@workflow("shop", retries=1)
async def shop(payload: int, step: Step) -> str:
    receipt = await step.run("charge", charge, payload, retries=2)
    return await step.run("label", label, str(receipt.number))


@workflow("plain")
def plain(payload: str, step: BlockingStep) -> str:
    return step.run("label", label, payload)


@workflow("family")
async def family(payload: int, step: Step) -> Any:
    try:
        return await step.invoke("child", "plain", payload)
    except ChildFailed as error:
        return f"{error.state}: {error}"


@workflow("forgets")
async def forgets(payload: Any, step: Step) -> None:
    step.run("lost", label, "x")  # type: ignore[unused-coroutine]


@workflow("slow", timeout="1h", retries=0)
async def slow(payload: Any, step: Step) -> None:
    await step.run("wait", label, "x")


@workflow("careful")
async def careful() -> str:
    return secret("key")


HANDLES = [shop, plain, family, forgets, slow, careful]
pytestmark = pytest.mark.tako(workflows=HANDLES, config='[secrets]\nkey = "env:NOWHERE"\n[workflows]\nsecrets = ["key"]')


def test_the_value_of_a_stub_is_stored_as_that_of_the_step_is(tako: Tako) -> None:
    tako.stub(shop, step="charge", returns=Receipt(3))
    run = tako.run(shop, 5)
    assert (run.succeeded, run.steps["charge"]) == ("<3>", {"number": 3})


def test_a_stub_may_be_a_function_of_the_arguments(tako: Tako) -> None:
    async def other(amount: int) -> Receipt:
        return Receipt(amount + 1)

    tako.stub(shop, step="charge", do=other)
    tako.stub(plain, step="label", do=lambda text: text * 2)
    assert (tako.run(shop, 5).succeeded, tako.run(plain, "a").succeeded) == ("<6>", "aa")


def test_tries_fail_as_often_as_the_test_says(tako: Tako) -> None:
    spy = tako.spy(shop, "charge")
    tako.fail(shop, "charge", times=2, error=ConnectionError("gone"))
    run = tako.run(shop, 5)
    assert run.succeeded == "<5>"
    assert [(call.args, call.attempt) for call in spy.calls] == [((5,), 1)] * 3
    tried = [event.what for event in run.history if "try" in event.what]
    assert tried == ["step charge: try 1 failed", "step charge: try 2 failed"]


def test_a_child_is_replaced_by_the_name_of_its_step_or_workflow(tako: Tako) -> None:
    tako.stub(family, child="plain", returns="other", times=1)
    assert tako.run(family, 1).succeeded == "other"
    tako.stub(family, child="child", raises=ValueError("no"))
    assert tako.run(family, 1).succeeded == "dead: plain ended dead: no"
    tako.refute_enqueued(plain)


def test_an_attempt_times_out_at_a_step(tako: Tako) -> None:
    tako.time_out(slow, "wait")
    run = tako.run(slow)
    assert run.failed_with("Timeout") == "the attempt took longer than its timeout"
    tako.time_out("label")
    tako.time_out("label")
    tako.run(plain, "a", retries=1).failed_with("Timeout")


def test_a_stub_for_a_step_that_does_not_exist_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="the stub for step 'chrage' of shop was never used"), _tako() as tako:
        tako.stub(shop, step="chrage", returns=1)
        tako.run(shop, 5)


def test_a_death_that_the_test_did_not_look_at_fails_it() -> None:
    with (
        pytest.raises(AssertionError, match=r"run .* of plain died, and the test did not look at it: KeyError"),
        _tako() as tako,
    ):
        tako.stub(plain, step="label", raises=KeyError("gone"))
        tako.run(plain, "a", retries=0)


def test_a_step_without_await_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="forgets called step 'lost' without await"), _tako() as tako:
        tako.run(forgets)


def test_the_error_of_a_run_that_did_not_succeed_has_its_traceback(tako: Tako) -> None:
    tako.stub(plain, step="label", raises=KeyError("gone"))
    run = tako.run(plain, "a", retries=0)
    with pytest.raises(AssertionError, match=r"has not succeeded\nTraceback(.|\n)*KeyError: 'gone'"):
        _ = run.succeeded
    with pytest.raises(AssertionError, match="failed with KeyError, not with ValueError"):
        run.failed_with(ValueError)


def test_secrets_come_from_the_test(tako: Tako) -> None:
    with tako.secrets(key="open sesame"):
        assert tako.run(careful).succeeded == "open sesame"


def _tako() -> Tako:
    return Tako(workflows=HANDLES, config="")
