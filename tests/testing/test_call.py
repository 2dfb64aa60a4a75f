"""`Tako.call`: a handler alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tako_lite import BlockingStep, ChildFailed, Step, workflow
from tako_lite.errors import BadInput, StepError
from tako_lite.testing import Left, Tako


@dataclass
class Order:
    number: int


tries: list[int] = []


async def flaky(number: int) -> int:
    tries.append(number)
    if len(tries) < 3:
        raise ConnectionError
    return number


@workflow("order")
async def order(payload: Order, step: Step) -> tuple[Any, ...]:
    number = await step.run("flaky", flaky, payload.number, retries=5)
    await step.sleep("nap", "1h")
    answer = await step.wait_for("approval")
    late = await step.wait_for("never", timeout="1h")
    return number, answer, late, await step.invoke("child", "other"), await step.enqueue("mail", "other")


@workflow("plain")
def plain(payload: int, step: BlockingStep) -> int:
    if payload < 0:
        step.bail("negative")
    return step.run("double", lambda: payload * 2)


@workflow("picky")
async def picky(payload: int, step: Step) -> None:
    raise ValueError(f"attempt {step.attempt}")


pytestmark = pytest.mark.tako(workflows=[order, plain, picky], config="")


def test_a_handler_is_called_with_its_typed_payload_and_real_steps(tako: Tako) -> None:
    tries.clear()
    result = tako.call(order, {"number": 17}, signals={"approval": "ann"}, children={"other": 5})
    assert result[:4] == (17, "ann", None, 5)
    assert tries == [17] * 3
    assert tako.now == datetime(2030, 1, 1, 2, 0, 3, tzinfo=UTC)
    assert tako.runs() == []


def test_what_a_handler_raises_comes_out(tako: Tako) -> None:
    with pytest.raises(ValueError, match="attempt 3"):
        tako.call(picky, 1, attempt=3)
    with pytest.raises(Left, match="Bailed: negative"):
        tako.call(plain, -1)
    with pytest.raises(BadInput, match=r"payload\.number"):
        tako.call(order, {"number": "x"})
    with pytest.raises(StepError, match="waits for the signal 'approval'"):
        tako.call(order, Order(1), steps={"flaky": 1})
    with pytest.raises(ChildFailed, match="other ended dead: 'gone'"):
        tako.call(order, Order(1), steps={"flaky": 1}, signals={"approval": 1}, children={"child": KeyError("gone")})


def test_a_plain_handler_is_called_too(tako: Tako) -> None:
    assert tako.call(plain, 4) == 8
    assert tako.call(plain, 4, steps={"double": 9}) == 9


@workflow("vague")
async def vague(payload: Any, step: Step) -> Any:
    if step.attempt == 1:
        return await step.wait_for(payload)
    return await step.signal(payload)


@pytest.mark.parametrize("attempt", [1, 2], ids=["wait", "signal"])
@pytest.mark.parametrize(
    ("event", "message"),
    [(5, "a signal's name is text, not int"), (None, "text, not NoneType"), ("", "'' is not a name"), ("a\n", "is not a name")],
)
def test_an_event_that_no_signal_can_have_is_refused_where_it_is_used(
    tako: Tako, event: Any, message: str, attempt: int
) -> None:
    with pytest.raises(BadInput, match=message):
        tako.call(vague, event, attempt=attempt)
