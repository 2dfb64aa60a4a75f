"""The form of a compiled annotation, and the wording of its problems."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Problems = list[tuple[str, str]]
"""A problem: the place inside the value (`.size.width`, `[3]`), and what is wrong there."""

MOST_PROBLEMS: Final = 20
_LONGEST: Final = 60


class Reader(NamedTuple):
    """A compiled annotation: what it expects, in words, and the function that reads a value and records its problems.

    After `read` has recorded a problem, its return value means nothing. `keeps`: it always returns the JSON value itself
    unchanged.
    """

    expected: str
    read: Callable[[Any, Problems], Any]
    keeps: bool = False


def misfit(problems: Problems, expected: str, value: Any) -> None:
    """Record that the value is not what was expected."""
    problems.append(("", f"expected {expected}, got {shown(value)}"))


def inside(problems: Problems, mark: int, place: str) -> None:
    """Put the place of the enclosing value before the problems from `mark` on.

    Places are only built when something is wrong, so valid values cost nothing.
    """
    problems[mark:] = [(place + path, what) for path, what in problems[mark:]]


def place(key: Any) -> str:
    """A key of an object as part of a path: `.width`, or `["odd key"]`."""
    text = str(key)
    return f".{text}" if text.isidentifier() and len(text) <= _LONGEST else f"[{_cut(json.dumps(text))}]"


def worded(problems: Problems, where: str) -> str:
    """All problems in one line, each with its place."""
    texts = [f"{where}{path}: {what}" for path, what in problems[:MOST_PROBLEMS]]
    more = len(problems) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def shown(value: Any) -> str:
    """A value in a message, with its type, shortened: `str "12"`, `bool true`, `list`."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str | int | float):
        return f"{type(value).__name__} {literal(value)}"
    return type(value).__name__


def literal(value: str | float | None) -> str:
    """A single value in JSON, shortened."""
    if isinstance(value, str):
        return _cut(json.dumps(value[: _LONGEST + 1]))
    try:
        return _cut(json.dumps(value))
    except ValueError:  # an integer with thousands of digits
        return "…"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
