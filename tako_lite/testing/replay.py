"""Runs a handler again with the stored steps of a run alone, and tells whether the code still fits them.

No step is executed: one that the run has not stored is where the handler stops. What it does outside of steps is done again.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from tako_lite import secrets
from tako_lite.client import link as client_link
from tako_lite.errors import StepError
from tako_lite.protocol.items import RunBailed, RunFailed, RunNotImported, RunPostponed, RunSucceeded
from tako_lite.protocol.worker import PriorStep, PushedRun, RunExtra
from tako_lite.reached import not_reached, sentences
from tako_lite.states import TERMINAL
from tako_lite.testing.replay_engine import NoLink, ReplayExecutor, ReplayRun
from tako_lite.testing.thread import LoopThread

if TYPE_CHECKING:
    from tako_lite.protocol.items import Item
    from tako_lite.testing.project import LoadedProject
    from tako_lite.worker.link import Link

LIMIT: Final = 10.0
"""Seconds of real time for one run."""
_PLACEHOLDER: Final = "secret"


class NotSame(AssertionError):
    """The code does not fit a stored run; `differences` has the reasons."""

    def __init__(self, run: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(f"the code does not fit {run}:\n" + "\n".join(f"  {line}" for line in differences))


@dataclass
class Replayed:
    """How far a handler came with the stored steps, and what does not fit."""

    reached: list[str] = field(default_factory=list)
    """The stored steps that it asked for."""
    frontier: list[str] = field(default_factory=list)
    """The steps without a stored value at which it stopped."""
    differences: list[str] = field(default_factory=list)


def replay(project: LoadedProject, shown: Mapping[str, Any]) -> Replayed:
    """Run the handler of a run that is in the format of `show`, with its stored steps."""
    name = shown["workflow"]
    spec = project.catalog.workflows.get(name)
    if spec is None:
        return Replayed(differences=[f"no workflow file defines {name} any more"])
    if project.config.group(shown["group"]).python is not None:
        return Replayed(
            differences=[f"the workers of group {shown['group']} use another interpreter: this one cannot replay it"]
        )
    steps = [_prior(step) for step in shown["steps"]]
    payload = json.dumps(shown["payload"])
    extra = RunExtra(shown["tenant"])
    pushed = PushedRun(shown["id"], name, spec.module, 1, shown["attempts"] + 1, None, payload, steps, extra)
    before = client_link.current()
    thread = LoopThread()
    values = dict.fromkeys(project.config.secrets, _PLACEHOLDER)
    try:
        with project.imports.applied(), secrets.installed(shown["group"], values):
            run, end = thread.call(_execute(project, pushed), LIMIT, lambda: f"the handler of {name} did not stop")
    except AssertionError as error:
        return Replayed(differences=[str(error)])
    finally:
        client_link.use(before)
        thread.stop()
    return _judged(shown, run, end)


def _prior(step: Mapping[str, Any]) -> PriorStep:
    value = step["result"] if step["state"] == "succeeded" else step["error"]
    return PriorStep(step["name"], step["state"], json.dumps(value), step["attempts"])


async def _execute(project: LoadedProject, pushed: PushedRun) -> tuple[ReplayRun, Item]:
    loop = asyncio.get_running_loop()
    link = NoLink(loop.create_future())
    client_link.use_link(_refuse, loop, for_all=True)
    executor = ReplayExecutor(cast("Link", link), project.loader, "replay", 1, lambda run_id: None, contextvars.copy_context())
    try:
        executor.start(pushed)
        run = cast("ReplayRun", executor.runs[pushed.run_id])
        return run, await link.end
    finally:
        executor.end_threads()


async def _refuse(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    raise StepError(f"the handler uses a client ({command}) outside of a step, which a replay does not execute")


# What fits


def _judged(shown: Mapping[str, Any], run: ReplayRun, end: Item) -> Replayed:
    kinds = {step["name"]: step["kind"] for step in shown["steps"]}
    done = [step["name"] for step in shown["steps"] if step["state"] == "succeeded"]
    waits = {wait["name"]: wait["kind"] for wait in shown["waits"]}
    unknown = [name for name in run.frontier if name not in waits and name not in kinds]
    missing = not_reached(done, run.asked, unknown if end.kind == "parked" else ())
    found = [
        f"`{name}` is a step of the kind {kind}, and the run has one of the kind {kinds[name]} stored under this name"
        for name, kind in run.asked.items()
        if name in done and kind != kinds[name]
    ]
    found += sentences(missing, unknown)
    if shown["state"] == "waiting":
        found += _of_waiting(shown, run, end, waits)
    if unknown and (missing or shown["state"] in ("waiting", "succeeded")):
        found += [f"the handler asks for step `{name}`, which the run has not stored" for name in unknown]
    found += _of_end(shown, end, waits)
    return Replayed([name for name in run.asked if name in done], list(run.frontier), found)


def _of_waiting(shown: Mapping[str, Any], run: ReplayRun, end: Item, waits: Mapping[str, str]) -> list[str]:
    if end.kind != "parked":
        return []
    lost = [name for name in waits if name not in run.frontier]
    return [f"the run waits for {waits[name]} `{name}`, and the handler does not ask for it" for name in lost]


def _of_end(shown: Mapping[str, Any], end: Item, waits: Mapping[str, str]) -> list[str]:
    """What does not fit of how the handler ended."""
    state, error = shown["state"], shown["error"] or {}
    where = f"while the run waits for {', '.join(waits)}" if waits else f"while the run is {state}"
    match end:
        case RunSucceeded():
            result = json.loads(end.result)
            if state == "succeeded" and result != shown["result"]:
                return [f"the handler returns {result!r}, and the stored result is {shown['result']!r}"]
            return [f"the handler returns {where}"] if state == "waiting" else []
        case RunFailed():
            about = f"{end.failure['type']}: {end.failure['message']}"
            if end.failure["type"] == error.get("type") and state != "waiting":
                return []
            return [f"the handler raises {about} {where}"]
        case RunNotImported():
            return [f"the handler cannot be imported: {end.error}"]
        case RunBailed():
            return [] if state == "cancelled" else [f"the handler calls step.bail({end.reason!r}) {where}"]
        case RunPostponed():
            return [f"the handler calls step.retry {where}"] if state in (*TERMINAL, "waiting") else []
    return []
