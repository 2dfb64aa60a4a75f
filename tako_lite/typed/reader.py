"""What a compiled annotation is, and how its findings are worded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Problems = list[tuple[str, str]]
"""What is wrong with a value: where inside of it (`.size.width`, `[3]`), and what."""

MOST_PROBLEMS: Final = 20
_LONGEST: Final = 60


class Reader(NamedTuple):
    """A compiled annotation: what it expects, in words, and the function that reads a value and notes what is wrong.

    After `read` has noted something, what it returned means nothing. `keeps` says that it always returns the JSON value
    itself.
    """

    expected: str
    read: Callable[[Any, Problems], Any]
    keeps: bool = False


def misfit(problems: Problems, expected: str, value: Any) -> None:
    """Note that the value is not what was expected."""
    problems.append(("", f"expected {expected}, got {shown(value)}"))


def inside(problems: Problems, mark: int, place: str) -> None:
    """Move the problems from `mark` on under a place of the value that contains them.

    Places are put together only when something is wrong, so that good values pay nothing for them.
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
    """A value in a message, with its type and cut short: `str "12"`, `bool true`, `list`."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str | int | float):
        return f"{type(value).__name__} {literal(value)}"
    return type(value).__name__


def literal(value: str | float | None) -> str:
    """A single value as JSON writes it, cut short."""
    if isinstance(value, str):
        return _cut(json.dumps(value[: _LONGEST + 1]))
    try:
        return _cut(json.dumps(value))
    except ValueError:  # an integer of thousands of digits
        return "…"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
