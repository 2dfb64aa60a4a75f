"""The `@poll` decorator, and the handle that it makes of a function that looks for work."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from tako_lite.errors import BadInput, NotJson, TooLarge
from tako_lite.handle import WorkflowHandle
from tako_lite.options import name_problem
from tako_lite.trigger_options import DEFAULT_TIMEOUT, TriggerOptions, read_trigger_options
from tako_lite.wire import encode_value

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    Duration: TypeAlias = float | timedelta | str
    Found: TypeAlias = tuple[list[Any] | tuple[Any, ...], Any]

MOST_PAYLOADS: Final = 10_000
"""Runs that one evaluation may start: they are stored in one transaction, and other operations wait for it."""
_PART_HINT: Final = "return a part of the payloads, and a cursor from which the next evaluation continues"

P = ParamSpec("P")
F_co = TypeVar("F_co", bound="Found | Awaitable[Found]", covariant=True)
F = TypeVar("F", bound="Found | Awaitable[Found]")


class Trigger(Generic[P, F_co]):
    """A polling trigger: its name, its options and the function that looks for work.

    Calling it calls the function, as if it were not decorated. A loader finds the triggers of a module in its namespace.
    """

    def __init__(self, name: str, options: TriggerOptions, function: Callable[P, F_co]) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.options = options
        self.function = function

    def __repr__(self) -> str:
        return f"<trigger {self.name} (group {self.options.worker})>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> F_co:
        return self.function(*args, **kwargs)


def poll(
    name: str, *, every: Duration, starts: str, worker: str = "default", timeout: Duration = DEFAULT_TIMEOUT
) -> Callable[[Callable[P, F]], Trigger[P, F]]:
    """Make a trigger of the function below: `(cursor) -> (payloads, cursor)`, also as `async def`.

    It is called in the group `worker` each time that `every` has passed since it was left, with the cursor that it returned
    last, which is None at first. Each payload starts one run of the workflow `starts`. Every option is a literal: the daemon
    reads them from the source and never imports it. Raises BadInput for invalid options.
    """
    if problem := name_problem(name, decorator="poll", noun="trigger"):
        raise BadInput(problem.message, hint=problem.hint)
    options, problems = read_trigger_options({"every": every, "starts": starts, "worker": worker, "timeout": timeout})
    for problem in problems.values():
        raise BadInput(f"trigger {name}: {problem.message}", hint=problem.hint)

    def decorate(function: Callable[P, F]) -> Trigger[P, F]:
        if isinstance(function, Trigger | WorkflowHandle) or not callable(function):
            raise BadInput(f"trigger {name}: @poll is for a function, not {ascii(function)[:80]}")
        made = Trigger(name, options, function)
        made.__module__ = sys._getframe(1).f_globals.get("__name__", made.__module__)  # as in `workflow`
        return made

    return decorate


def found(returned: object) -> list[Any]:
    """What an evaluation returned, as JSON has it: the payloads and the cursor. Raises BadInput for anything else."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise BadInput(f"a trigger returns (payloads, cursor), and this one returned {_kind(returned)}")
    payloads = returned[0]
    if not isinstance(payloads, tuple | list):
        raise BadInput(f"the payloads that a trigger returns are a list, not {_kind(payloads)}")
    if len(payloads) > MOST_PAYLOADS:
        raise TooLarge(f"it returned {len(payloads):,} payloads; the limit is {MOST_PAYLOADS:,}", hint=_PART_HINT)
    try:
        return _json([*returned])
    except TooLarge as error:
        raise TooLarge(error.message, hint=_PART_HINT) from None


def _json(value: list[Any]) -> list[Any]:
    """The value itself; where JSON cannot represent it, dataclasses, models and times in it are made plain."""
    try:
        encode_value(value, "what it returned")
        return value
    except NotJson:
        from tako_lite.typed import plain  # most payloads are plain already

        made: list[Any] = plain(value, "what it returned")
        encode_value(made, "what it returned")
        return made


def _kind(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__
