"""What type checkers must accept, and with `type: ignore` what they must refuse. Checked, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, assert_type

from tako_lite import hooks
from tako_lite.blocking import BlockingStep
from tako_lite.records import Enqueued
from tako_lite.step import Step as RealStep
from tako_lite.trigger import Trigger, poll
from tako_lite.workflow import Workflow, workflow


@dataclass
class Job:
    key: str


class BigJob(Job):
    pass


class Order(TypedDict):
    number: int


class Step:
    pass


@workflow("full", worker="media", timeout=timedelta(minutes=5))
async def full(payload: Job, step: Step) -> dict[str, int]:
    return {}


@workflow("blocking", timeout="5m")
def blocking(payload: Job, step: Step) -> int:
    return 1


@workflow("alone")
async def alone(payload: Order) -> None: ...


@workflow("nothing")
def nothing() -> int:
    return 1


@workflow("maybe")
def maybe(payload: int | None, step: Step) -> None: ...


@workflow("anything")
def anything(payload: Any, step: Step) -> None: ...


@workflow("mapping")
def mapping(payload: Mapping[str, object]) -> None: ...


@poll("numbers", every="30s", starts="alone", worker="media", timeout=5)
def numbers(cursor: int | None) -> tuple[list[Order], int]:
    return [{"number": cursor or 0}], (cursor or 0) + 1


@poll("pages", every=timedelta(minutes=1), starts="anything")
async def pages(cursor: Any) -> tuple[tuple[str, ...], dict[str, int]]:
    return ("a",), {}


def accepted() -> None:
    assert_type(numbers(None), tuple[list[Order], int])
    trigger: Trigger[..., Any] = pages
    trigger({"page": 1})
    assert_type(full.enqueue(Job("a")), Enqueued)
    full.enqueue(BigJob("a"), unique_key="a", delay="5m", priority=1, retries=0, worker="media", id="x")
    full.enqueue(payload=Job("a"), at=datetime.now(UTC), delay=timedelta(seconds=1))
    blocking.enqueue(Job("a"), at="2030-01-01T00:00:00Z", delay=1.5)
    alone.enqueue({"number": 1})
    nothing.enqueue()
    nothing.enqueue(None, priority=2)
    maybe.enqueue(1)
    maybe.enqueue(None)
    anything.enqueue([1, {}])
    mapping.enqueue({"a": 1})
    assert_type(blocking(Job("a"), Step()), int)
    assert_type(blocking(payload=Job("a"), step=Step()), int)
    handle: Workflow[..., Any] = full
    handle.enqueue({"a": 1})


async def accepted_in_asyncio() -> None:
    assert_type(await full.aenqueue(Job("a"), priority=1), Enqueued)
    await blocking.aenqueue(Job("a"))
    await alone.aenqueue({"number": 1})
    await nothing.aenqueue()
    assert_type(await full(Job("a"), Step()), dict[str, int])


def make(key: str) -> Job:
    return Job(key)


async def fetch(key: str) -> Job:
    return Job(key)


async def accepted_in_steps(step: RealStep) -> None:
    assert_type(await step.run("make", make, "a"), Job)
    assert_type(await step.run("fetch", fetch, "a", retries=2, timeout="5s"), Job)
    assert_type(await step.run("now", datetime.now), datetime)
    assert_type(await step.run("none", lambda: None), None)
    assert_type(await step.run("as", print, returns=Job), Job)
    assert_type(await step.run("as list", print, returns=list[Job]), list[Job])
    assert_type(await step.run("as either", print, returns=Job | None), Any)
    assert_type(await step.invoke("child", full, Job("a")), dict[str, int])
    assert_type(await step.invoke("child", blocking, Job("a"), delay="5m"), int)
    assert_type(await step.invoke("child", "full", {"key": "a"}), Any)
    assert_type(await step.invoke("child", "full", {"key": "a"}, returns=Job), Job)


def accepted_in_blocking_steps(step: BlockingStep) -> None:
    assert_type(step.run("make", make, "a"), Job)
    assert_type(step.run("fetch", fetch, "a", retries=2), Job)
    assert_type(step.run("as", print, returns=Job), Job)
    assert_type(step.invoke("child", full, Job("a")), dict[str, int])
    assert_type(step.invoke("child", blocking, Job("a")), int)
    assert_type(step.invoke("child", "full", None, returns=Job), Job)


async def refused_in_steps(step: RealStep, other: BlockingStep) -> None:
    await step.run("x", print, "hi", end="!")  # type: ignore[call-overload]
    await step.run("x", print("hi"))  # type: ignore[call-overload]
    await step.run("x", fetch("a"))  # type: ignore[call-overload]
    other.run("x", print, "hi", end="!")  # type: ignore[call-overload]


def refused() -> None:
    numbers("a")  # type: ignore[arg-type]
    poll("x", every=5)  # type: ignore[call-arg]
    poll("x", every=None, starts="alone")  # type: ignore[arg-type]
    poll("x", every=5, starts="alone")(refused)  # type: ignore[type-var]
    full.enqueue(3)  # type: ignore[arg-type]
    full.enqueue({"key": "a"})  # type: ignore[arg-type]
    full.enqueue()  # type: ignore[call-arg]
    full.enqueue(Job("a"), 1)  # type: ignore[call-arg, arg-type]
    full.enqueue(Job("a"), delayed=3)  # type: ignore[call-arg]
    full.enqueue(Job("a"), unique_key=3)  # type: ignore[arg-type]
    full.enqueue(Job("a"), priority="high")  # type: ignore[arg-type]
    blocking.enqueue("a")  # type: ignore[arg-type]
    alone.enqueue({"number": "one"})  # type: ignore[typeddict-item]
    nothing.enqueue(3)  # type: ignore[arg-type]
    maybe.enqueue("a")  # type: ignore[arg-type]
    mapping.enqueue([1])  # type: ignore[arg-type]
    blocking(3, Step())  # type: ignore[arg-type]
    workflow("x", retires=3)  # type: ignore[call-arg]
    workflow("x", catch_up="some")  # type: ignore[arg-type]


async def refused_in_asyncio() -> None:
    await full.aenqueue(3)  # type: ignore[arg-type]
    await alone.aenqueue({})  # type: ignore[typeddict-item]
    await nothing.aenqueue(3)  # type: ignore[arg-type]
    await full.aenqueue(Job("a"), nope=1)  # type: ignore[call-arg]


# Hooks


@hooks.around
async def observe(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
    assert_type(run.outcome, hooks.Outcome | None)
    assert_type(run.as_dict(), dict[str, Any])
    run.outcome = None  # type: ignore[misc]
    return await proceed()


@hooks.around
def before(run: hooks.RunInfo, proceed: hooks.Proceed) -> Awaitable[object]:
    return proceed()


@hooks.around_step
async def observe_step(step: hooks.StepInfo, proceed: hooks.Proceed) -> object:
    assert_type(step.run, hooks.RunInfo)
    return await proceed()


@hooks.teardown
def close() -> None: ...


@hooks.teardown
async def aclose() -> None: ...


@hooks.around  # type: ignore[type-var]
async def takes_no_proceed(run: hooks.RunInfo) -> object: ...


@hooks.around  # type: ignore[type-var]
def returns_nothing(run: hooks.RunInfo, proceed: hooks.Proceed) -> int:
    return 1


@hooks.around_step  # type: ignore[type-var]
async def takes_a_run(run: hooks.RunInfo, proceed: hooks.Proceed) -> object: ...


@workflow("alert", on_dead="*", on_unhealthy=["io", "media.*"])
async def alert(death: hooks.Death) -> None:
    assert_type(death.reason, str | None)


@workflow("wrong", on_dead=3)  # type: ignore[arg-type]
async def wrong(death: hooks.Death) -> None: ...
