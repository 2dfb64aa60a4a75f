"""`kill_at_every_step`, `crash`, and what is left of a handler whose worker died."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tako_lite import BlockingStep, Step, workflow
from tako_lite.testing import Tako


class World:
    """What is outside of the queue."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.mails: list[Any] = []
        self.charges: dict[str, int] = {}
        self.lines: list[str] = []


world = World()


async def charge(amount: int, key: str) -> int:
    world.charges[key] = amount
    return amount


def reserve(number: int) -> str:
    return f"shelf {number}"


@workflow("good")
async def good(payload: dict[str, Any], step: Step) -> list[Any]:
    shelf = await step.run("reserve", reserve, payload["number"])
    paid = await step.run("charge", charge, 5, step.run_id)
    await step.sleep("nap", "1d")
    answer = await step.wait_for(f"approval:{payload['number']}")
    await step.enqueue("mail", "tell", payload)
    child = await step.invoke("child", "tell", payload)
    await step.signal("done:17")
    return [shelf, paid, answer, child]


@workflow("tell")
async def tell(payload: Any) -> str:
    return "told"


async def mail(number: int) -> None:
    world.mails.append(number)


@workflow("mails-twice")
async def mails_twice(payload: int, step: Step) -> None:
    await step.run("mail", mail, payload)


@workflow("outside")
async def outside(payload: int, step: Step) -> None:
    world.mails.append(payload)
    await step.run("nothing", reserve, 1)


@workflow("random")
async def by_chance(payload: Any, step: Step) -> float:
    chance = random.random()
    await step.run("nothing", reserve, 1)
    return chance


@workflow("random-step")
async def random_step(payload: Any, step: Step) -> None:
    await step.run("draw", random.random)


@workflow("renames")
async def renames(payload: Any, step: Step) -> None:
    await step.run(f"nothing-{random.random()}", reserve, 1)
    await step.run("something", reserve, 1)


@workflow("side-by-side")
async def side_by_side(payload: Any, step: Step) -> list[Any]:
    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(step.run(f"part-{part}", reserve, part)) for part in range(3)]
        found.append(tasks.create_task(step.sleep("nap", "1h")))
    return [task.result() for task in found]


@workflow("plain")
def plain(payload: int, step: BlockingStep) -> str:
    try:
        step.run("reserve", reserve, payload)
        step.sleep("nap", "1h")
        return step.run("again", reserve, payload + 1)
    finally:
        world.lines.append("left")


@workflow("cleans-up", retries=0)
async def cleans_up(payload: Any, step: Step) -> str:
    try:
        return await step.run("reserve", reserve, 1)
    finally:
        world.lines.append("left")
        await asyncio.sleep(0)
        world.lines.append("left later")


@workflow("writes")
async def writes(payload: str, step: Step) -> None:
    Path(payload).write_text("hi")
    await step.run("write", Path(payload).write_text, "ho")


HANDLES = [good, tell, mails_twice, outside, by_chance, random_step, renames, side_by_side, plain, cleans_up, writes]
pytestmark = pytest.mark.tako(workflows=HANDLES, config="")
APPROVAL = [("advance", "1d"), ("signal", "approval:17", {"by": "ann"})]


def test_a_workflow_that_is_written_well_survives_a_death_at_each_point(tako: Tako) -> None:
    report = tako.kill_at_every_step(
        good, {"number": 17}, script=APPROVAL, check=lambda: list(world.charges.values()) == [5], reset=world.reset
    )
    points = [variant.label for variant in report.variants]
    assert points == [
        "start",
        *("before:reserve", "after:reserve", "stored:reserve", "before:charge", "after:charge", "stored:charge"),
        *("park:nap", "start#2", "park:wait_for:approval:17", "start#3", "before:mail", "stored:mail"),
        *("before:child", "park:child", "start#4", "before:signal:done:17", "after:signal:done:17", "end"),
    ]


def test_an_effect_that_is_not_idempotent_is_found_after_its_body(tako: Tako) -> None:
    with pytest.raises(AssertionError) as failure:
        tako.kill_at_every_step(mails_twice, 17, check=lambda: world.mails == [17], reset=world.reset)
    assert "killed after the body of `mail` had returned, and before its value was stored:" in str(failure.value)
    assert "`mail` ran twice, and check() is false. Make it idempotent: pass `step.run_id`" in str(failure.value)
    assert 'tako.crash("mails-twice", at="after:mail")' in str(failure.value)
    assert str(failure.value).count("\nkilled ") == 1


def test_the_reproduction_that_it_prints_reproduces(tako: Tako) -> None:
    world.reset()
    tako.crash("mails-twice", at="after:mail")
    run = tako.run(mails_twice, 17)
    assert (run.succeeded, run.crashes, run.attempts, world.mails) == (None, 1, 1, [17, 17])


def test_an_effect_outside_of_steps_is_found(tako: Tako) -> None:
    with pytest.raises(AssertionError, match="code outside of steps runs again after a kill"):
        tako.kill_at_every_step(outside, 17, check=lambda: world.mails == [17], reset=world.reset)


def test_a_result_by_chance_is_found(tako: Tako) -> None:
    with pytest.raises(AssertionError, match="does the handler read the clock, random numbers"):
        tako.kill_at_every_step(by_chance)


def test_a_step_with_another_value_is_found_unless_it_is_named(tako: Tako) -> None:
    with pytest.raises(AssertionError, match=r"pass unstable=\['draw'\]"):
        tako.kill_at_every_step(random_step)
    tako.kill_at_every_step(random_step, unstable=["draw"], same=lambda one, other: True)


def test_steps_with_names_by_chance_are_found(tako: Tako) -> None:
    with pytest.raises(AssertionError, match=r"step `nothing-[\d.]+` is stored, and without a kill it is not"):
        tako.kill_at_every_step(renames)


def test_a_check_that_fails_without_a_kill_is_an_error_of_the_test(tako: Tako) -> None:
    with pytest.raises(AssertionError, match="the run that is not killed is wrong already"):
        tako.kill_at_every_step(mails_twice, 17, check=lambda: False, reset=world.reset)


def test_steps_side_by_side_and_plain_handlers_survive(tako: Tako) -> None:
    assert not tako.kill_at_every_step(side_by_side).problems
    report = tako.kill_at_every_step(plain, 1, reset=world.reset)
    assert [variant.label for variant in report.variants][-3:] == ["after:again", "stored:again", "end"]


def test_two_deaths_of_one_run_are_survived(tako: Tako) -> None:
    report = tako.kill_at_every_step(plain, 1, twice=True, max_variants=14)
    assert (len(report.variants), report.left_out > 0) == (14, True)
    assert "left out" in str(report)


def test_no_line_of_a_dead_worker_is_executed_any_more(tako: Tako) -> None:
    world.reset()
    tako.crash(cleans_up, at="after:reserve")
    run = tako.run(cleans_up)
    assert (run.succeeded, world.lines) == ("shelf 1", ["left", "left later"])


def test_effects_outside_of_steps_are_reported(tako: Tako, tmp_path: Path) -> None:
    report = tako.kill_at_every_step(writes, str(tmp_path / "file"), effects=True)
    assert [effect.what for effect in report.effects] == [f"writes {tmp_path}/file"]
    assert "test_kill.py:" in report.effects[0].place
