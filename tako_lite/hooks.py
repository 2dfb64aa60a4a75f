"""Hooks of a project: functions around attempts and steps, and at the end of a worker; what hook workflows are passed.

Register them in the function that the setting `setup` of a group names, or in a module that the workers of the group import.
They run in that worker, for all of its runs, in the order of their registration: the first one is the outermost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

__all__ = ["Death", "Outcome", "Proceed", "RunInfo", "StepInfo", "Unhealthy", "around", "around_step", "teardown"]

Outcome = Literal["succeeded", "failed", "timeout", "parked", "released", "postponed", "bailed", "cancelled", "superseded"]
"""How an attempt ended.

`parked`: all that it did was wait. `released`: its worker stops. `postponed`: `step.retry`. `bailed`: `step.bail`.
`superseded`: another attempt owns the run.
"""

Proceed = Callable[[], Awaitable[Any]]
"""Calls the next hook, and finally what the hooks are around: returns the value of that, for an attempt as JSON has it."""


@dataclass(frozen=True, slots=True, eq=False)
class RunInfo:
    """A run in one attempt of it. `schedule` and `timezone` are those of its workflow, `trace` a W3C traceparent.

    `outcome` is None until `proceed` has ended. Then `is_final` says whether no other attempt follows.
    """

    id: str
    workflow: str
    group: str
    attempt: int
    max_attempts: int
    tenant: str | None = None
    parent: str | None = None
    schedule: str | None = None
    timezone: str | None = None
    trace: str | None = None
    outcome: Outcome | None = None
    is_final: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The facts by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class StepInfo:
    """One try of a `step.run`: its run, its name, and the number of the try, from 1."""

    run: RunInfo
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Death:
    """A run that ended dead, as the payload of a workflow with `on_dead`. `see` is the command that shows the run.

    `error` and `message` are the type and the text of its last error, `reason` a word such as `timeout`, or None.
    `finished_at` is ISO 8601.
    """

    run_id: str
    workflow: str
    group: str
    tenant: str | None
    attempts: int
    error: str
    message: str
    reason: str | None
    finished_at: str
    see: str


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A group that became unhealthy, as the payload of a workflow with `on_unhealthy`. `see` is the command that shows it.

    `failures` counts the failed starts, `error` is the last one. `since` is ISO 8601.
    """

    group: str
    server: str
    failures: int
    error: str
    since: str
    see: str


AroundHook = Callable[[RunInfo, Proceed], Awaitable[object]]
StepHook = Callable[[StepInfo, Proceed], Awaitable[object]]
TeardownHook = Callable[[], object]
A = TypeVar("A", bound=AroundHook)
S = TypeVar("S", bound=StepHook)
T = TypeVar("T", bound=TeardownHook)

attempt_hooks: list[AroundHook] = []
step_hooks: list[StepHook] = []
teardown_hooks: list[TeardownHook] = []


def around(hook: A) -> A:
    """Have a function called around each attempt: `async def hook(run: RunInfo, proceed): return await proceed()`.

    It must await `proceed()` once. A plain `def` can do something before: it returns `proceed()`. A hook observes: neither what
    it returns nor an error that it catches changes the outcome. An error of its own fails the attempt, as `hook_failed`.
    """
    attempt_hooks.append(hook)
    return hook


def around_step(hook: S) -> S:
    """Have a function called around each try of a `step.run` that is executed: `async def hook(step: StepInfo, proceed)`.

    A step that has its value stored is not executed again. The rules are those of `around`.
    """
    step_hooks.append(hook)
    return hook


def teardown(hook: T) -> T:
    """Have a function called when the worker ends in order: `def` in a thread, or `async def` on the loop of the handlers.

    The last one that was registered is called first. Together they may take half of `drain_timeout`.
    """
    teardown_hooks.append(hook)
    return hook
