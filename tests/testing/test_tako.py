"""`Tako`: runs, time, signals and modes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tako_lite import AsyncClient, BlockingStep, Client, Step, workflow
from tako_lite.errors import BadInput
from tako_lite.testing import ANY, Tako

START = datetime(2030, 1, 1, tzinfo=UTC)


async def charge(amount: int) -> int:
    print(f"charging {amount}")
    return amount * 2


@workflow("order")
async def order(payload: dict[str, Any], step: Step) -> list[Any]:
    charged = await step.run("charge", charge, payload["amount"])
    step.log("charged %s", charged)
    await step.sleep("nap", "1h")
    return [charged, await step.wait_for(f"approval:{payload['number']}")]


@workflow("plain")
def plain(payload: int, step: BlockingStep) -> int:
    return step.run("double", lambda: payload * 2)


@workflow("fails", retries=2)
async def fails(payload: Any, step: Step) -> None:
    raise ValueError(f"no {payload}")


@workflow("hourly", schedule="@hourly")
async def hourly() -> None: ...


@workflow("parent")
async def parent(payload: int, step: Step) -> int:
    await step.enqueue("mail", "plain", payload)
    return await step.invoke("child", plain, payload) + 1


pytestmark = pytest.mark.tako(workflows=[order, plain, fails, hourly, parent], config="")


def test_a_run_waits_until_time_and_a_signal_have_come(tako: Tako) -> None:
    run = tako.enqueue(order, {"amount": 4, "number": 17})
    assert run.state == "pending"
    tako.run_until_idle()
    assert (run.state, run.waits_for, run.steps) == ("waiting", "sleep nap", {"charge": 8})
    tako.advance("2h")
    assert run.waits_for == "signal approval:17"
    assert tako.signal("approval:17", "ann", expect_waiter=True) == 1
    assert tako.run_until_idle() == [run]
    assert run.succeeded == [8, "ann"]
    assert tako.now == datetime(2030, 1, 1, 2, tzinfo=UTC)


def test_a_run_knows_what_its_handler_printed_and_logged(tako: Tako) -> None:
    run = tako.enqueue(order, {"amount": 4, "number": 17})
    tako.run_until_idle()
    assert run.log.splitlines() == ["charging 4", "INFO charged 8"]


def test_the_history_has_virtual_times(tako: Tako) -> None:
    run = tako.enqueue(order, {"amount": 4, "number": 17})
    tako.advance("1h")
    assert [(event.what, (event.at - START).seconds) for event in run.history] == [
        ("enqueued", 0),
        ("step charge stored", 0),
        ("attempt 1 parked", 0),
        ("step nap stored", 3600),
        ("attempt 1 parked", 3600),
    ]


def test_a_plain_handler_runs_in_a_thread(tako: Tako) -> None:
    assert tako.run(plain, 4).succeeded == 8


def test_skipping_makes_all_retries_at_their_times(tako: Tako) -> None:
    run = tako.run(fails, "luck")
    assert run.failed_with(ValueError, match="luck") == "no luck"
    assert (run.attempts, tako.now) == (3, datetime(2030, 1, 1, 0, 0, 3, tzinfo=UTC))


def test_time_stands_still_without_skipping(tako: Tako) -> None:
    run = tako.enqueue(fails, "luck")
    tako.run_until_idle()
    assert (run.state, run.attempts, tako.now) == ("pending", 1, START)
    assert run.due == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_schedule_fires_once_for_each_slot_if_it_is_asked_to(tako: Tako) -> None:
    tako.advance("1d")
    tako.refute_enqueued(hourly)
    tako.advance("3d", schedules=True)
    tako.assert_enqueued(hourly, count=72, state="succeeded")
    assert tako.tick(hourly).state == "pending"


def test_children_and_parents_know_each_other(tako: Tako) -> None:
    run = tako.run(parent, 4)
    assert run.succeeded == 9
    assert [(child.workflow, child.result, child.parent) for child in run.children] == [("plain", 8, run)] * 2


def test_one_attempt_is_made_at_a_time(tako: Tako) -> None:
    runs = tako.enqueue_many(plain, [1, 2])
    assert tako.step_once() == runs[0]
    assert [run.state for run in runs] == ["succeeded", "pending"]
    assert tako.step_once() == runs[1]
    assert tako.step_once() is None


def test_only_the_runs_of_one_workflow_are_started(tako: Tako) -> None:
    other, run = tako.enqueue(order, {"amount": 1, "number": 1}), tako.enqueue(plain, 1)
    assert tako.run_until_idle(workflow=plain) == [run]
    assert other.state == "pending"
    tako.run_until_idle()
    assert other.state == "waiting"


def test_clients_and_handles_use_the_queue_of_the_test(tako: Tako) -> None:
    with Client() as client:
        id = client.enqueue("plain", 2).id
    plain.enqueue(3)
    assert tako.get(id).payload == 2
    tako.assert_enqueued(plain, 3, count=1)
    tako.run_until_idle()
    assert client.wait(id)["result"] == 4


def test_inline_runs_end_before_the_enqueue_returns(tako: Tako) -> None:
    with tako.using("inline"):
        assert tako.enqueue(plain, 2).succeeded == 4
        tako.stub(plain, step="double", raises=KeyError("gone"))
        with pytest.raises(KeyError, match="gone"):
            plain.enqueue(2, retries=0)
    with tako.using("inline", raise_errors=False):
        plain.enqueue(2, retries=0)
    (dead,) = [run for run in tako.runs(state="dead") if run.id not in tako.looked_at]
    dead.failed_with("KeyError")


def test_nothing_runs_in_the_mode_off(tako: Tako) -> None:
    with tako.using("off"):
        tako.enqueue(plain, 2)
        with pytest.raises(BadInput, match="only stored"):
            tako.run_until_idle()
        tako.advance("1h")
    tako.assert_enqueued(plain, 2, state="pending")


def test_a_cleared_queue_has_no_runs_and_works_as_before(tako: Tako) -> None:
    tako.run(plain, 2)
    tako.enqueue(plain, 2)
    tako.clear()
    assert tako.runs() == []
    assert tako.run(plain, 3).succeeded == 6


def test_a_failed_assertion_lists_the_nearest_runs(tako: Tako) -> None:
    tako.enqueue(order, {"amount": 1, "number": 17}, delay="2h", unique_key="a")
    tako.assert_enqueued(order, {"amount": ...}, delay="2h", unique_key=ANY, count=1)
    tako.assert_enqueued(order, {"number": lambda number: number > 16})
    with pytest.raises(AssertionError) as failure:
        tako.assert_enqueued(order, {"amount": 2}, delay="1h")
    assert "payload.amount is 1, expected 2" in str(failure.value)
    assert "2:00:00 after it was enqueued; expected delay='1h'" in str(failure.value)
    with pytest.raises(AssertionError, match="no run of plain was enqueued; enqueued were runs of order"):
        tako.assert_enqueued(plain)


@pytest.mark.anyio
async def test_an_asynchronous_test_awaits_the_same_methods(tako: Tako) -> None:
    server = asyncio.get_running_loop().create_future()

    async def ask(amount: int) -> int:
        asyncio.run_coroutine_threadsafe(answer(), loop)
        return amount

    async def answer() -> None:
        server.set_result("asked")

    loop = asyncio.get_running_loop()
    tako.stub(order, step="charge", do=ask)
    run = await tako.aio.enqueue(order, {"amount": 4, "number": 17})
    assert await tako.aio.run_until_idle() == []
    assert (await server, run.steps) == ("asked", {"charge": 4})
    made = await AsyncClient().enqueue("plain", 3)
    await tako.aio.run_until_idle()
    assert tako.get(made.id).result == 6


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_run_of_a_closed_tako_says_so() -> None:
    with Tako(workflows=[plain], config="") as tako:
        run = tako.run(plain, 4)
    assert repr(run) == f"<run {run.id[-8:]} of a Tako that is closed>"
    with pytest.raises(RuntimeError, match="this Tako is closed"):
        assert run.state


def test_the_other_children_of_a_parent_that_dies_run_to_their_end_and_name_it() -> None:
    @workflow("child", retries=0)
    async def child(payload: int, step: Step) -> int:
        if payload == 1:
            raise ValueError("one")
        await step.sleep("nap", "1h")
        return payload

    @workflow("parent", retries=0)
    async def parent(payload: None, step: Step) -> list[int]:
        return await asyncio.gather(*(step.invoke(f"child-{number}", child, number) for number in range(3)))

    with Tako(workflows=[parent, child]) as tako:
        run = tako.run("parent")
        run.failed_with("ChildFailed", match="one")
        assert [made.state for made in tako.children(run)] == ["succeeded", "dead", "succeeded"]
        assert {made.parent for made in tako.runs(parent=run.id)} == {run}
