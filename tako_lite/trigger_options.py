"""Reads the options of a polling trigger from its decorator, and describes the problems of invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from tako_lite.errors import BadInput
from tako_lite.names import NAME, NAME_HINT
from tako_lite.options import Problem, read_values
from tako_lite.templates import is_template
from tako_lite.units import duration

EVALUATION: Final = "@"
"""Prefix of the workflow name under which evaluations of a trigger are stored. Users cannot give a workflow such a name."""
SHORTEST_EVERY: Final = 1.0
DEFAULT_TIMEOUT: Final = 60.0


class TriggerOptions(NamedTuple):
    """The options of a trigger. `every` and `timeout` are in seconds, `starts` is the name of a workflow."""

    every: float
    starts: str
    worker: str = "default"
    timeout: float = DEFAULT_TIMEOUT


def read_trigger_options(given: Mapping[str, object]) -> tuple[TriggerOptions, dict[str, Problem]]:
    """Read the options. Returns them with a problem for each invalid or missing one."""
    values, problems = read_values(_READERS, given, "poll")
    for option, example in _NEEDED.items():
        if option not in given:
            problems[option] = Problem(f"@poll needs {option}", f"such as {example}")
    return TriggerOptions(**{"every": DEFAULT_TIMEOUT, "starts": "", **values}), problems


def _every(value: Any) -> float:
    seconds = duration(value)
    if seconds < SHORTEST_EVERY:
        raise BadInput(f"expected at least {SHORTEST_EVERY:g} s", hint="enqueue runs directly for anything more frequent")
    return seconds


def _timeout(value: Any) -> float:
    seconds = duration(value)
    if seconds == 0:
        raise BadInput("must be longer than zero", hint='omit it for "60s"')
    return seconds


def _starts(value: object) -> str:
    return _name(value, "a workflow")


def _worker(value: object) -> str:
    if isinstance(value, str) and is_template(value):
        raise BadInput("a trigger has no payload for a template", hint="use the name of a group")
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
