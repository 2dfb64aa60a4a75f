"""The workflows of the chaos project, to whose attempts and steps the witness listens. Copied into its folder of workflows."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

from tako_lite import Backoff, BlockingStep, Step, poll, workflow
from tako_lite.worker.run import current_run
from tests.support.event_log import LOG, EventLog
from tests.support.handler_probe import Traces, install_probe

WITNESS = EventLog(Path.cwd() / LOG)
Payload = dict[str, Any]


def token() -> int:
    """The token of the claim that this code runs under."""
    run = current_run.get()
    assert run is not None
    return run.token


def body(run: str, step: str, ms: int) -> str:
    """A step's body, which works for a while; its value is another one each time."""
    number = token()
    over = time.monotonic() + ms / 1000
    while (left := over - time.monotonic()) > 0:
        time.sleep(min(left, 0.01))
        WITNESS.write("tick", run=run, step=step, token=number)
    return f"{run}/{step}/{number}/{time.monotonic_ns()}"


def with_child(run: str, step: str, ms: int) -> str:
    """The same, with a process of its own in a process group of its own."""
    child = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        Traces(Path.cwd(), run).note(
            child.pid, "+", token()
        )  # never taken back: once it is gone, its pid and start are nobody's
        return body(run, step, ms)
    finally:
        child.kill()
        child.wait()


async def do(step: Step, name: str, ms: int) -> None:
    """One step."""
    await step.run(name, body, step.run_id, name, ms)


@workflow("steps", worker="fast")
async def steps(payload: Payload, step: Step) -> str:
    await do(step, "one", payload["ms"])
    await asyncio.gather(do(step, "two", payload["ms"]), do(step, "three", payload["ms"] // 2))
    return step.run_id


@workflow("blocking", worker="slow")
def blocking(payload: Payload, step: BlockingStep) -> str:
    for name in ("one", "two"):
        step.run(name, with_child, step.run_id, name, payload["ms"])
    return step.run_id


@workflow("flaky", worker="fast", retries=3, backoff=Backoff(base=0.05, max=0.2))
async def flaky(payload: Payload, step: Step) -> str:
    await do(step, f"try-{step.attempt}", payload["ms"])
    if step.attempt < 3:
        raise RuntimeError("not yet")
    return step.run_id


@workflow("doomed", worker="slow", retries=1, backoff=Backoff(base=0.05, max=0.2))
async def doomed(payload: Payload, step: Step) -> None:
    await do(step, "one", payload["ms"])
    raise RuntimeError("never")


@workflow("bails", worker="lone")
async def bails(payload: Payload, step: Step) -> None:
    await do(step, "one", payload["ms"])
    step.bail("no need")


@workflow("sleeper", worker="slow")
async def sleeper(payload: Payload, step: Step) -> str:
    await do(step, "before", payload["ms"])
    await step.sleep("long", 1.2)
    await do(step, "between", payload["ms"])
    await step.sleep("short", 0.1)
    await do(step, "after", payload["ms"])
    return step.run_id


@workflow("signalled", worker="fast")
async def signalled(payload: Payload, step: Step) -> str:
    await do(step, "before", payload["ms"])
    await step.wait_for(f"go:{step.run_id}")
    await do(step, "after", payload["ms"])
    return step.run_id


@workflow("parent", worker="lone")
async def parent(payload: Payload, step: Step) -> str:
    async def invoke(name: str) -> None:
        await step.invoke(name, "child", {"key": f"{step.run_id}/{name}", "ms": payload["ms"]})

    await do(step, "before", payload["ms"])
    await asyncio.gather(invoke("left"), invoke("right"))
    await step.enqueue("leaf", "child", {"key": f"{step.run_id}/leaf", "ms": payload["ms"]})
    await do(step, "after", payload["ms"])
    return step.run_id


@workflow("child", worker="kids")  # where only the tenant of its parent is let in
async def child(payload: Payload, step: Step) -> str:
    await do(step, "one", payload["ms"])
    return step.run_id


@workflow("stopped", worker="fast")
async def stopped(payload: Payload, step: Step) -> str:
    for number in range(20):
        await do(step, f"part-{number}", payload["ms"])
    return step.run_id


@workflow("tick", worker="fast", schedule="* * * * * *", catch_up="all")
async def tick(payload: None, step: Step) -> None:
    """A slot."""


@workflow("single", worker="slow", limit=1)
async def single(payload: Payload, step: Step) -> str:
    """No two of its runs at a time."""
    await do(step, "one", payload["ms"])
    return step.run_id


@poll("finds", every="1s", starts="found", worker="fast")
def finds(cursor: int | None) -> tuple[list[Payload], int]:
    """The next number, and a run for it."""
    number = cursor or 0
    return [{"key": f"found/{number}"}], number + 1


@workflow("found", worker="lone")
async def found(payload: Payload, step: Step) -> None:
    """What the trigger found."""


@workflow("brief", worker="brief", retries=0)
async def brief(payload: Payload, step: Step) -> str:
    """One of a crowd."""
    return "brief"


install_probe(globals(), Path.cwd())
