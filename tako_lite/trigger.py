"""The `@poll` decorator and the handle that it makes of a function that looks for work; what is stored of a trigger."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, ParamSpec, TypeVar

from tako_lite.clock import iso
from tako_lite.errors import BadInput, NotJson, TooLarge
from tako_lite.options import NAME_HINT, Problem, name_problem
from tako_lite.templates import is_template
from tako_lite.units import duration
from tako_lite.wire import NAME, encode_value
from tako_lite.workflow import Workflow

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    Duration: TypeAlias = float | timedelta | str
    Found: TypeAlias = tuple[list[Any] | tuple[Any, ...], Any]

EVALUATION: Final = "@"
"""Before its trigger's name, the workflow of which an evaluation is a run; no workflow of a user's has such a name."""
SHORTEST_EVERY: Final = 1.0
DEFAULT_TIMEOUT: Final = 60.0
MOST_PAYLOADS: Final = 10_000
"""Runs that one evaluation may start: they are stored in one transaction, and others wait for it."""
_PART_HINT: Final = "return a part of the payloads, and a cursor from which the next evaluation goes on"

P = ParamSpec("P")
F_co = TypeVar("F_co", bound="Found | Awaitable[Found]", covariant=True)
F = TypeVar("F", bound="Found | Awaitable[Found]")


class TriggerOptions(NamedTuple):
    """What the decorator says about a trigger. `every` and `timeout` are seconds, `starts` is the name of a workflow."""

    every: float
    starts: str
    worker: str = "default"
    timeout: float = DEFAULT_TIMEOUT


class StoredTrigger(NamedTuple):
    """A polling trigger: what the catalog says of it, where it got to, and what came of its last evaluation.

    `cursor` is JSON text, `started` counts the runs that it has started, `error` is that of the last evaluation, `evaluation`
    is the state of the one under way.
    """

    name: str
    group: str
    starts: str
    every_ms: int
    cursor: str = "null"
    next_at: int = 0
    evaluated_at: int | None = None
    started: int = 0
    error: dict[str, Any] | None = None
    paused: bool = False
    evaluation: str | None = None

    @property
    def evaluating(self) -> bool:
        """Whether an evaluation is due, or a worker has begun it."""
        return self.evaluation is not None

    def as_json(self, trouble: str | None = None) -> dict[str, Any]:
        """The shape of `triggers`; there is no next time while it is paused, or being evaluated.

        With `trouble` its group takes no work now, for which an evaluation waits that no worker has begun.
        """
        return {
            "name": self.name,
            "group": self.group,
            "every_s": self.every_ms / 1000,
            "starts": self.starts,
            "cursor": json.loads(self.cursor),
            "next_at": None if self.paused or self.evaluating else iso(self.next_at),
            "evaluated_at": iso(self.evaluated_at),
            "started": self.started,
            "last_error": self.error,
            "paused": self.paused,
            "evaluating": self.evaluating,
            "trouble": trouble if self.evaluation == "pending" else None,
        }


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
    reads them from the source and never imports it. Raises BadInput for options that cannot be.
    """
    if problem := name_problem(name, decorator="poll", noun="trigger"):
        raise BadInput(problem.message, hint=problem.hint)
    options, problems = read_trigger_options({"every": every, "starts": starts, "worker": worker, "timeout": timeout})
    for problem in problems.values():
        raise BadInput(f"trigger {name}: {problem.message}", hint=problem.hint)

    def decorate(function: Callable[P, F]) -> Trigger[P, F]:
        if isinstance(function, Trigger | Workflow) or not callable(function):
            raise BadInput(f"trigger {name}: @poll is for a function, not {ascii(function)[:80]}")
        made = Trigger(name, options, function)
        made.__module__ = sys._getframe(1).f_globals.get("__name__", made.__module__)  # as in `workflow`
        return made

    return decorate


def read_trigger_options(given: Mapping[str, object]) -> tuple[TriggerOptions, dict[str, Problem]]:
    """The options in the values that were given, and a problem for each one that cannot be or is not there."""
    values: dict[str, Any] = {"every": DEFAULT_TIMEOUT, "starts": ""}
    problems: dict[str, Problem] = {}
    for option, value in given.items():
        read = _READERS.get(option)
        if read is None:
            problems[option] = Problem(f"{option} is not an option of @poll")
            continue
        try:
            values[option] = read(value)
        except BadInput as error:
            problems[option] = Problem(f"{option}: {error.message}", error.hint)
    for option, example in _NEEDED.items():
        if option not in given:
            problems[option] = Problem(f"@poll needs {option}", f"such as {example}")
    return TriggerOptions(**values), problems


def found(returned: object) -> list[Any]:
    """What an evaluation returned, as JSON has it: the payloads and the cursor. Raises BadInput for what cannot be that."""
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
    """The value itself; where JSON cannot carry it, dataclasses, models and times in it are made plain."""
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


def _every(value: Any) -> float:
    seconds = duration(value)
    if seconds < SHORTEST_EVERY:
        raise BadInput(f"expected at least {SHORTEST_EVERY:g} s", hint="what happens more often should enqueue runs by itself")
    return seconds


def _timeout(value: Any) -> float:
    seconds = duration(value)
    if seconds == 0:
        raise BadInput("an evaluation cannot end in no time", hint='leave it out for "60s"')
    return seconds


def _starts(value: object) -> str:
    return _name(value, "a workflow")


def _worker(value: object) -> str:
    if isinstance(value, str) and is_template(value):
        raise BadInput("a trigger has no payload to fill in a template from", hint="name a group")
    return _name(value, "a group")


def _name(value: object, noun: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"expected text, got {ascii(value)[:80]}")
    if not NAME.match(value):
        raise BadInput(f"{ascii(value)[:80]} is not a name for {noun}", hint=NAME_HINT)
    return value


_READERS: Final[dict[str, Callable[[Any], object]]] = {
    "every": _every,
    "starts": _starts,
    "worker": _worker,
    "timeout": _timeout,
}
_NEEDED: Final = {"every": 'every="30s"', "starts": 'starts="process-image"'}
TRIGGER_OPTIONS: Final = tuple(_READERS)
