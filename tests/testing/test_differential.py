"""Any workflow of steps, sleeps, signals, children and failures comes to the same end on `Tako` and on a real daemon.

The gate takes the same few workflows each time, `make test-faults` more of them at random.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tako_lite.testing import Tako, TestProject
from tests.support.profiles import scaled

PROGRAMS = """
import asyncio
from collections import Counter

from tako_lite import Backoff, BlockingStep, ChildFailed, Step, workflow

tries = Counter()

def body(key, fails, value):
    tries[key] += 1
    if tries[key] <= fails:
        raise ConnectionError(f"try {tries[key]}")
    return value

async def execute(op, name, step):
    match op:
        case ["run", fails, retries, value]:
            return await step.run(name, body, f"{step.run_id}/{name}", fails, value, retries=retries)
        case ["sleep", seconds]:
            return await step.sleep(name, seconds)
        case ["wait", event, timeout]:
            return await step.wait_for(event, timeout=timeout)
        case ["send", event]:
            return await step.signal(event)
        case ["child", ops]:
            try:
                return await step.invoke(name, "program", ops)
            except ChildFailed as error:
                return error.state
        case ["enqueue", ops]:
            await step.enqueue(name, "program", ops)
        case ["together", ops]:
            parts = (execute(inner, f"{name}.{number}", step) for number, inner in enumerate(ops))
            return await asyncio.gather(*parts)
        case ["raise", attempts]:
            if step.attempt <= attempts:
                raise ValueError(f"attempt {step.attempt}")
        case ["bail"]:
            step.bail("enough")
        case ["fail"]:
            step.fail("never again")
        case ["blocking", ops]:
            return await step.invoke(name, "blocking", ops)

@workflow("program", retries=1, backoff=Backoff(base=2))
async def program(payload, step: Step):
    return [await execute(op, f"s{number}", step) for number, op in enumerate(payload)]

@workflow("blocking", retries=1)
def blocking(payload, step: BlockingStep):
    found = []
    for number, op in enumerate(payload):
        if op[0] == "sleep":
            step.sleep(f"s{number}", op[1])
        elif op[0] == "run":
            found.append(step.run(f"s{number}", body, f"{step.run_id}/s{number}", op[1], op[3], retries=op[2]))
    return found
"""
EVENTS = ("go", "stop")
tags = itertools.count()

values = st.none() | st.integers(-5, 5) | st.text("aé\n", max_size=3) | st.lists(st.booleans(), max_size=2)
seconds = st.sampled_from([0, 0.01, 60, 86_400])
runs = st.tuples(st.just("run"), st.integers(0, 2), st.integers(0, 1), values).map(list)
sleeps = st.tuples(st.just("sleep"), seconds).map(list)
quiet = runs | sleeps | st.tuples(st.just("wait"), st.sampled_from(EVENTS), st.sampled_from([None, "1h"])).map(list)
simple = (
    quiet
    | st.tuples(st.just("together"), st.lists(quiet.filter(lambda op: op[0] != "wait"), min_size=2, max_size=3)).map(list)
    | st.tuples(st.just("raise"), st.integers(1, 2)).map(list)
    | st.sampled_from([["bail"], ["fail"], ["send", "other"]])
    | st.tuples(st.just("blocking"), st.lists(runs | sleeps, max_size=3)).map(list)
)
programs = st.recursive(
    st.lists(simple, min_size=1, max_size=4),
    lambda inner: st.lists(simple | st.tuples(st.sampled_from(["child", "enqueue"]), inner).map(list), min_size=1, max_size=4),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestProject, Tako]]:
    folder = tmp_path_factory.mktemp("both")
    with TestProject(folder) as real:
        real.workflow("programs.py", PROGRAMS)
        real.serve()
        with Tako(folder, strict=False) as tako:
            yield real, tako


def seen(shown: dict[str, Any]) -> dict[str, Any]:
    """What must be the same of a run."""
    error = shown["error"]
    steps = {
        step["name"]: (step["kind"], step["state"], step["result"]) for step in shown["steps"] if step["kind"] != "enqueue"
    }
    return {
        "payload": shown["payload"],
        "state": shown["state"],
        "result": shown["result"],
        "error": error and (error["type"], error["message"], error["reason"]),
        "attempts": shown["attempts"],
        "crashes": shown["crashes"],
        "steps": steps,
        "enqueued": sorted(step["name"] for step in shown["steps"] if step["kind"] == "enqueue"),
    }


def on_tako(tako: Tako, program: list[Any], events: list[str]) -> list[dict[str, Any]]:
    tako.clear()
    tako.enqueue("program", program)
    tako.run_until_idle()
    for event in events:
        tako.signal(event, event)
        tako.run_until_idle()
    tako.run_until_idle(skip=True)
    return sorted((seen(dict(run.data)) for run in tako.runs()), key=repr)


def on_a_daemon(real: TestProject, program: list[Any], events: list[str]) -> list[dict[str, Any]]:
    with real.client() as client:
        known = {run["id"] for run in client.runs()}
        root = client.enqueue("program", program).id
        real.until_idle()
        for event in events:
            real.signal(event, event)
            real.until_idle()
        real.skip(root)
        while unended := [run["id"] for run in client.runs(state=["pending", "running", "waiting"])]:
            real.skip(unended[0])
        return sorted((seen(client.get(run["id"])) for run in client.runs() if run["id"] not in known), key=repr)


def tagged(program: Any, tag: int) -> Any:
    """A program with signals of its own: each name is signalled once in the life of a queue."""
    if isinstance(program, list):
        return [tagged(part, tag) for part in program]
    return f"{program}-{tag}" if program in (*EVENTS, "other") else program


@settings(
    max_examples=scaled(6, 150),
    derandomize=scaled(True, False),
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
)
@given(program=programs)
def test_a_workflow_comes_to_the_same_end_as_on_a_real_daemon(both: tuple[TestProject, Tako], program: list[Any]) -> None:
    real, tako = both
    tag = next(tags)
    program, events = tagged(program, tag), [f"{event}-{tag}" for event in EVENTS]
    assert on_tako(tako, program, events) == on_a_daemon(real, program, events)
