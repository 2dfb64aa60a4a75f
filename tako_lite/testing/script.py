"""What a test says about steps and workers: stubs, spies, failures, deaths; and what it saw of them."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tako_lite.testing.clock import VirtualClock
from tako_lite.values import value_text

if TYPE_CHECKING:
    from tako_lite.testing.executor import LocalExecutor, LocalRun
    from tako_lite.testing.step import Call
    from tako_lite.testing.thread import LoopThread
    from tako_lite.worker.run import ActiveRun


ANY_WORKFLOW: Final = "*"


class StepCall(NamedTuple):
    """One execution of a step's body, as a spy saw it. `attempt` is that of the run."""

    args: tuple[Any, ...]
    attempt: int
    run_id: str


class Spy:
    """The executions of the body of one step, in their order."""

    def __init__(self, workflow: str, step: str) -> None:
        self.workflow = workflow
        self.step = step
        self.calls: list[StepCall] = []

    def __repr__(self) -> str:
        return f"<spy on step {self.step!r} of {self.workflow}: {len(self.calls)} calls>"


@dataclass(eq=False)
class Stub:
    """What happens instead of the body of a step, or of a child, up to `times` times."""

    workflow: str
    name: str
    kind: Literal["step", "child"]
    do: Callable[..., Any]
    times: int | None = None
    used: int = 0

    async def call(self, args: tuple[Any, ...]) -> Any:
        """What takes the place of the value of the step."""
        self.used += 1
        value = self.do(*args)
        return await value if inspect.isawaitable(value) else value

    async def as_child(self, payload: str) -> tuple[Literal["succeeded", "failed"], str]:
        """The outcome of the child that is not started: its state and the JSON text of its result or error."""
        try:
            return "succeeded", value_text(await self.call((json.loads(payload),)), "the result")
        except Exception as error:
            about = {"state": "dead", "type": type(error).__name__, "message": str(error), "child_id": None, "reason": None}
            return "failed", json.dumps(about)

    @property
    def is_left(self) -> bool:
        return self.times is None or self.used < self.times

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.workflow}"


@dataclass(eq=False)
class Crash:
    """The death of the worker at one point of a run, once."""

    workflow: str
    at: str
    run_id: str | None = None
    """The one run in which it happens; None for the first that comes to the point."""
    after: Crash | None = None
    """The death that must have happened before."""
    has_happened: bool = False

    def is_due(self, run: LocalRun, label: str) -> bool:
        """Whether it happens now."""
        if self.has_happened or (self.workflow, self.at) != (run.workflow_name, label):
            return False
        return self.run_id in (None, run.run_id) and (self.after is None or self.after.has_happened)


class Reached(NamedTuple):
    """A point that a run has reached after so many deaths of its worker: `before:charge`, the second time `before:charge#2`."""

    run_id: str
    deaths: int
    label: str


@dataclass
class Script:
    """Everything of one `Tako` that handlers meet."""

    clock: VirtualClock
    caller: LoopThread | None = None
    """The loop whose caller executes plain functions; None for threads of the worker."""
    stubs: list[Stub] = field(default_factory=list)
    spies: list[Spy] = field(default_factory=list)
    time_outs: list[Stub] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    points: list[Reached] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    """How often the worker of a run has died."""
    times: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    """How often each run has reached each point since its last death."""
    begun: dict[str, dict[str, int]] = field(default_factory=dict)
    """The steps of each run, numbered in the order in which they were asked for: virtual time does not tell."""
    bodies: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often the body of each step of each run was executed."""
    errors: dict[str, BaseException] = field(default_factory=dict)
    """What the last attempt of each run raised."""
    violations: list[str] = field(default_factory=list)
    executors: list[LocalExecutor] = field(default_factory=list)
    set_up: set[str] = field(default_factory=set)
    calls: dict[int, list[tuple[str, Coroutine[Any, Any, Any]]]] = field(default_factory=dict)

    def dies_at(self, run: LocalRun, point: str) -> bool:
        """Note a point that a run has reached; whether its worker dies there."""
        deaths = self.deaths[run.run_id]
        times = self.times[run.run_id, deaths, point] = self.times[run.run_id, deaths, point] + 1
        label = point if times == 1 else f"{point}#{times}"
        self.points.append(Reached(run.run_id, deaths, label))
        crash = next((crash for crash in self.crashes if crash.is_due(run, label)), None)
        if crash is None:
            return False
        crash.has_happened = True
        self.deaths[run.run_id] += 1
        return True

    async def call(self, run: LocalRun, name: str, call: Call | None, body: Callable[[], Awaitable[Any]]) -> Any:
        """Execute the body of a step, or what the test put in its place."""
        args = call[1] if call is not None else ()
        self.bodies[run.run_id, name] += 1
        for spy in self.spies:
            if (spy.workflow, spy.step) == (run.workflow_name, name):
                spy.calls.append(StepCall(args, run.attempt, run.run_id))
        if (late := _first(self.time_outs, "step", run, name)) is not None:
            late.used += 1
            run.time_out()
            run.check()
        stub = _first(self.stubs, "step", run, name)
        return await (body() if stub is None else stub.call(args))

    def stub_of_child(self, run: LocalRun, name: str, workflow: str) -> Stub | None:
        """The stub for a child, by the name of the step or of the child's workflow."""
        return _first(self.stubs, "child", run, name) or _first(self.stubs, "child", run, workflow)

    def note_call(self, run: LocalRun, name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Remember a call of a step until its attempt has ended."""
        self.calls.setdefault(id(run), []).append((name, coroutine))

    def check_awaited(self, run: ActiveRun) -> None:
        """Note the calls of steps in an attempt that were never awaited."""
        for name, coroutine in self.calls.pop(id(run), ()):
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
                self.violations.append(f"{run.workflow_name} called step {name!r} without await, so it had no effect")

    def unused(self) -> list[str]:
        """The stubs, spies and deaths that nothing has met."""
        found = [f"the stub for {stub} was never used" for stub in (*self.stubs, *self.time_outs) if not stub.used]
        found += [f"the spy on step {spy.step!r} of {spy.workflow} saw no call" for spy in self.spies if not spy.calls]
        found += [
            f"no run of {crash.workflow} reached {crash.at!r}, where its worker was to die"
            for crash in self.crashes
            if not crash.has_happened
        ]
        return found

    def clear(self) -> None:
        """Forget everything."""
        for part in (self.stubs, self.spies, self.time_outs, self.crashes, self.points, self.violations):
            part.clear()
        for counts in (self.deaths, self.times, self.begun):
            counts.clear()
        self.errors.clear()
        self.bodies.clear()
        self.calls.clear()


def _first(stubs: list[Stub], kind: str, run: LocalRun, name: str) -> Stub | None:
    """The newest stub for a step that is not used up."""
    alike = (stub for stub in reversed(stubs) if (stub.kind, stub.name) == (kind, name) and stub.is_left)
    found = (stub for stub in alike if stub.workflow in (run.workflow_name, ANY_WORKFLOW))
    return next(found, None)
