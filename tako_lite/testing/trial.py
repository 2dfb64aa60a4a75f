"""Runs a workflow once, with deaths of its worker at given points, and tells what came out."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tako_lite.testing.effects import Effect, watching
from tako_lite.testing.script import Crash

if TYPE_CHECKING:
    from tako_lite.testing.scripting import Scripting
    from tako_lite.testing.tako import Tako

Action = tuple[Any, ...]
"""What the world does: `("signal", event, payload)`, `("advance", duration)`, or a function with its arguments."""
Check = Callable[[], object]


class Seen(NamedTuple):
    """What came out of one run of a workflow."""

    state: str
    result: Any
    error: Mapping[str, Any] | None
    steps: Mapping[str, Any]
    bodies: Mapping[str, int]
    points: Sequence[str]
    """The points that were reached before the first death, in their order."""
    later: Sequence[str]
    """The points that were reached after it."""
    attempts: int
    complaint: str | None
    """Why `check` was not satisfied."""
    effects: Sequence[Effect] = ()


class Trial(Protocol):
    """Runs the workflow once, in a fresh queue."""

    def __call__(self, deaths: Sequence[str], seed: int) -> Seen:
        """`deaths` are the points at which the worker dies, one after the other."""


@dataclass
class LocalTrial:
    """Runs it in a `Tako` of its own, with the stubs of another one."""

    tako: Scripting
    workflow: str
    payload: Any
    options: Mapping[str, Any]
    script: Sequence[Action]
    check: Check | None
    reset: Callable[[], object] | None
    effects: bool

    def __call__(self, deaths: Sequence[str], seed: int) -> Seen:
        if self.reset is not None:
            self.reset()
        state = random.getstate()
        random.seed(seed)  # a result that depends on random numbers outside of steps differs then
        try:
            root = self.tako.loaded.config.root
            with _quiet(), self.tako.twin() as twin, watching(root, self.effects) as effects:
                return self._run(twin, deaths, effects)
        finally:
            random.setstate(state)

    def _run(self, twin: Tako, deaths: Sequence[str], effects: Sequence[Effect]) -> Seen:
        run = twin.enqueue(self.workflow, self.payload, **self.options)
        crash: Crash | None = None
        for point in deaths:
            crash = Crash(self.workflow, point, run.id, crash)
            twin.script.crashes.append(crash)
        twin.run_until_idle()
        for action in self.script:
            _act(twin, action)
            twin.run_until_idle()
        twin.run_until_idle(skip=True)
        shown = run.data
        reached = [point for point in twin.script.points if point.run_id == run.id]
        return Seen(
            shown["state"],
            shown["result"],
            shown["error"],
            {step["name"]: None if step["kind"] == "enqueue" else step["result"] for step in shown["steps"]},
            {step: count for (id, step), count in twin.script.bodies.items() if id == run.id},
            [point.label for point in reached if not point.deaths],
            [point.label for point in reached if point.deaths == 1],
            shown["attempts"],
            complaint_of(self.check),
            list(effects),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Have the daemon not warn of the deaths in this block, which are meant."""
    logger = logging.getLogger("tako_lite")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _act(twin: Tako, action: Action) -> None:
    verb, *arguments = action
    if callable(verb):
        verb(*arguments)
    else:
        getattr(twin, verb)(*arguments)


def complaint_of(check: Check | None) -> str | None:
    """Why a check is not satisfied, or None. It may raise AssertionError, or return something false other than None."""
    if check is None:
        return None
    try:
        returned = check()
    except AssertionError as error:
        return f"check failed: {error}"
    return None if returned is None or returned else "check() is false"
