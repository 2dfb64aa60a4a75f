"""The workflows of the chaos project: what they do, they tell the witness. Copied into its folder of workflows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tako_lite import Backoff, BlockingStep, Step, poll, workflow
from tako_lite.linux import read_process
from tako_lite.worker.run import current_run
from tests.faults.witness import Witness

WITNESS = Witness(Path.cwd() / "witness.jsonl")
ATTEMPTS = Path.cwd() / "attempts"
Payload = dict[str, Any]


def token() -> int:
    """The token of the claim that this code runs under."""
    run = current_run.get()
    assert run is not None
    return run.token


class Traces:
    """A file for each run with the processes of its attempts, so that the next attempt sees whether they are dead.

    A workflow of which one run at a time may be running has one too.
    """

    def __init__(self, name: str) -> None:
        self._file = ATTEMPTS / name

    def note(self, pid: int, mark: str) -> None:
        """A process works for this attempt (`+`), or no more (`-`)."""
        process = read_process(pid)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{mark} {pid} {process.started if process else 0} {token()}\n".encode())
        os.close(descriptor)

    def alive(self) -> list[str]:
        """What earlier attempts noted and never took back, where the process is still there."""
        if not self._file.exists():
            return []
        open_: dict[str, None] = {}
        for line in self._file.read_text().splitlines():
            mark, _, rest = line.partition(" ")
            if mark == "+":
                open_[rest] = None
            else:
                open_.pop(rest, None)
        found = []
        for rest in open_:
            pid, started, _ = map(int, rest.split())
            process = read_process(pid)
            if process is not None and process.started == started and process.state not in "ZX":
                found.append(f"{rest} {process.state}")
        return found


@contextmanager
def attempt(step: Step | BlockingStep, payload: Payload, *, alone: bool = False) -> Iterator[None]:
    """Tell the witness when this attempt starts and ends, and whether an earlier one is still alive.

    With `alone`, whether one of any other run of the workflow is.
    """
    traces = [Traces(step.run_id), *([Traces(step.workflow_name)] if alone else [])]
    facts = {"run": step.run_id, "token": token()}
    alive = [left for noted in traces for left in noted.alive()]
    key = payload["key"] or step.run_id
    WITNESS.write("start", key=key, workflow=step.workflow_name, attempt=step.attempt, alive=alive, **facts)
    for noted in traces:
        noted.note(os.getpid(), "+")
    try:
        yield
    finally:
        for noted in traces:
            noted.note(os.getpid(), "-")
        WITNESS.write("end", **facts)


def body(run: str, step: str, ms: int) -> str:
    """A step's body, which works for a while; its value is another one each time."""
    number = token()
    WITNESS.write("body", run=run, step=step, token=number)
    over = time.monotonic() + ms / 1000
    while (left := over - time.monotonic()) > 0:
        time.sleep(min(left, 0.01))
        WITNESS.write("tick", run=run, step=step, token=number)
    return f"{run}/{step}/{number}/{time.monotonic_ns()}"


def with_child(run: str, step: str, ms: int) -> str:
    """The same, with a process of its own in a process group of its own."""
    child = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        Traces(run).note(child.pid, "+")  # never taken back: once it is gone, its pid and start are nobody's
        return body(run, step, ms)
    finally:
        child.kill()
        child.wait()


def saw(run: str, step: str, value: object) -> None:
    """The value of a step came back."""
    WITNESS.write("saved", run=run, step=step, token=token(), value=value)


async def do(step: Step, name: str, ms: int) -> None:
    """One step, seen by the witness."""
    saw(step.run_id, name, await step.run(name, body, step.run_id, name, ms))


@workflow("steps", worker="fast")
async def steps(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        await do(step, "one", payload["ms"])
        await asyncio.gather(do(step, "two", payload["ms"]), do(step, "three", payload["ms"] // 2))
        return step.run_id


@workflow("blocking", worker="slow")
def blocking(payload: Payload, step: BlockingStep) -> str:
    with attempt(step, payload):
        for name in ("one", "two"):
            saw(step.run_id, name, step.run(name, with_child, step.run_id, name, payload["ms"]))
        return step.run_id


@workflow("flaky", worker="fast", retries=3, backoff=Backoff(base=0.05, max=0.2))
async def flaky(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        await do(step, f"try-{step.attempt}", payload["ms"])
        if step.attempt < 3:
            raise RuntimeError("not yet")
        return step.run_id


@workflow("doomed", worker="slow", retries=1, backoff=Backoff(base=0.05, max=0.2))
async def doomed(payload: Payload, step: Step) -> None:
    with attempt(step, payload):
        await do(step, "one", payload["ms"])
        raise RuntimeError("never")


@workflow("bails", worker="lone")
async def bails(payload: Payload, step: Step) -> None:
    with attempt(step, payload):
        await do(step, "one", payload["ms"])
        step.bail("no need")


@workflow("sleeper", worker="slow")
async def sleeper(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        await do(step, "before", payload["ms"])
        await step.sleep("long", 1.2)
        await do(step, "between", payload["ms"])
        await step.sleep("short", 0.1)
        await do(step, "after", payload["ms"])
        return step.run_id


@workflow("signalled", worker="fast")
async def signalled(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        await do(step, "before", payload["ms"])
        event = f"go:{step.run_id}"
        saw(step.run_id, event, await step.wait_for(event))
        await do(step, "after", payload["ms"])
        return step.run_id


@workflow("parent", worker="lone")
async def parent(payload: Payload, step: Step) -> str:
    with attempt(step, payload):

        async def invoke(name: str) -> None:
            child = {"key": f"{step.run_id}/{name}", "ms": payload["ms"]}
            saw(step.run_id, name, await step.invoke(name, "child", child))

        await do(step, "before", payload["ms"])
        await asyncio.gather(invoke("left"), invoke("right"))
        leaf = {"key": f"{step.run_id}/leaf", "ms": payload["ms"]}
        saw(step.run_id, "leaf", await step.enqueue("leaf", "child", leaf))
        await do(step, "after", payload["ms"])
        return step.run_id


@workflow("child", worker="kids")  # where only the tenant of its parent is let in
async def child(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        await do(step, "one", payload["ms"])
        return step.run_id


@workflow("stopped", worker="fast")
async def stopped(payload: Payload, step: Step) -> str:
    with attempt(step, payload):
        for number in range(20):
            await do(step, f"part-{number}", payload["ms"])
        return step.run_id


@workflow("tick", worker="fast", schedule="* * * * * *", catch_up="all")
async def tick(payload: None, step: Step) -> None:
    with attempt(step, {"key": None}):
        pass


@workflow("single", worker="slow", limit=1)
async def single(payload: Payload, step: Step) -> str:
    """No two of its runs at a time."""
    with attempt(step, payload, alone=True):
        await do(step, "one", payload["ms"])
        return step.run_id


@poll("finds", every="1s", starts="found", worker="fast")
def finds(cursor: int | None) -> tuple[list[Payload], int]:
    """The next number, and a run for it."""
    number = cursor or 0
    return [{"key": f"found/{number}"}], number + 1


@workflow("found", worker="lone")
async def found(payload: Payload, step: Step) -> None:
    with attempt(step, payload):
        pass


@workflow("brief", worker="brief", retries=0)
async def brief(payload: Payload, step: Step) -> str:
    """One of a crowd."""
    with attempt(step, payload):
        return "brief"
