"""Readers of single values: numbers, text, choices, unions, and types that JSON carries as text."""

from __future__ import annotations

import contextlib
import functools
import json
from enum import Enum
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.typed.periods import read_period
from tako_lite.typed.reader import Problems, Reader, literal, misfit

_MOST_WORDS: Final = 12


def _scalar(kind: type, name: str) -> Reader:
    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not kind:  # a bool is an instance of int, but not accepted
            misfit(problems, name, value)
        return value

    return Reader(name, read, keeps=True)


def _read_float(value: Any, problems: Problems) -> Any:
    if value.__class__ is float:
        return value
    if value.__class__ is not int:
        misfit(problems, "float", value)
        return value
    try:
        return float(value)
    except OverflowError:
        problems.append(("", "the number is too large for a float"))
        return value


ANYTHING: Final = Reader("anything", lambda value, problems: value, keeps=True)
NULL: Final = _scalar(type(None), "null")
SCALARS: Final[dict[Any, Reader]] = {
    str: _scalar(str, "str"),
    int: _scalar(int, "int"),
    float: Reader("float", _read_float, keeps=True),
    bool: _scalar(bool, "bool"),
    None: NULL,
    type(None): NULL,
}


def choice(members: list[tuple[Any, Any]], name: str, *, of_keys: bool = False) -> Reader:
    """One of the members of a Literal or an Enum, which come with their values in JSON.

    Types count: 1 is not True, except as a key, which is always text.
    """
    table: dict[tuple[type, Any], Any] = {}
    for member, value in members:
        if isinstance(value, list | dict) and not of_keys:
            table[_composite(value, name)] = member
            continue
        if not isinstance(value, str | int | float | None):
            raise BadInput(f"{name} has the value {value!r}, which JSON cannot represent")
        text = value if isinstance(value, str) or not of_keys else json.dumps(value)
        table[_scalar_class(text), text] = member
    words = [value if kind in (list, dict) else literal(value) for kind, value in table]
    expected = " or ".join([*words[:_MOST_WORDS], *(["…"] if len(words) > _MOST_WORDS else [])])

    def read(value: Any, problems: Problems) -> Any:
        key = _composite(value, name) if isinstance(value, list | dict) else (value.__class__, value)
        if key in table:
            return table[key]
        misfit(problems, expected, value)
        return value

    return Reader(expected, read, keeps=not of_keys and not any(isinstance(member, Enum) for member, _ in members))


def _composite(value: Any, name: str) -> tuple[type, str]:
    """A list or an object as a key of a table: two that are equal have the same text."""
    try:
        return value.__class__, json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        raise BadInput(f"{name} has the value {value!r}, which JSON cannot represent") from None


def flags(kind: Any) -> Reader:
    """The members of a Flag, alone and combined, which are a number in JSON."""

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is int:
            with contextlib.suppress(ValueError):
                return kind(value)
        misfit(problems, f"the number of a {kind.__name__}", value)
        return value

    return Reader(f"the number of a {kind.__name__}", read)


def _scalar_class(value: object) -> type:
    """The JSON class of a value; the value of an Enum may be an instance of a subclass."""
    return next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), type(value))


def union(members: list[Reader]) -> Reader:
    """The first member that fits. If none fits and only one is not null, the message tells why that one does not fit."""
    expected = " or ".join(dict.fromkeys(member.expected for member in members))
    real = [member for member in members if member is not NULL]

    def read(value: Any, problems: Problems) -> Any:
        deeper: Problems = []
        for member in members:
            found: Problems = []
            made = member.read(value, found)
            if not found:
                return made
            if len(real) == 1 and any(path for path, _ in found):
                deeper = found
        if deeper:
            problems += deeper
        else:
            misfit(problems, expected, value)
        return value

    return Reader(expected, read, all(member.keeps for member in members))


def _number_key(kind: type, name: str) -> Reader:
    """A number as the key of an object, which is text in JSON: `"7"`, but not `"07"`."""

    def read(value: Any, problems: Problems) -> Any:
        try:
            made = json.loads(value)
            if made.__class__ is kind and json.dumps(made) == value:
                return made
        except ValueError:
            pass  # reported below
        misfit(problems, f"{name} as text", value)
        return value

    return Reader(f"{name} as text", read)


NUMBER_KEYS: Final[dict[Any, Reader]] = {
    int: _number_key(int, "int"),
    float: _number_key(float, "float"),
    bool: _number_key(bool, "bool"),
}

_TEXT: Final = {
    ("datetime", "datetime"): "an ISO-8601 date and time",
    ("datetime", "date"): "an ISO-8601 date",
    ("datetime", "time"): "an ISO-8601 time of day",
    ("datetime", "timedelta"): "a duration",
    ("uuid", "UUID"): "a UUID",
    ("decimal", "Decimal"): "a decimal number as text",
    ("pathlib", "PurePath"): "a path",
}
_DURATION: Final = _TEXT["datetime", "timedelta"]


def text_form(kind: type) -> str | None:
    """The words for the text form of a standard library class in JSON, or None.

    Found by name, so that none of their modules is imported for it.
    """
    for base in kind.__mro__:
        form = _TEXT.get((base.__module__.partition(".")[0], base.__name__))
        if form is not None:
            return form
    return None


def from_text(kind: type, form: str) -> Reader:
    """Dates and times in ISO-8601, durations, UUIDs, decimals (integers are accepted) and paths."""
    return Reader(form, functools.partial(_read_duration if form == _DURATION else _read_text, kind, form))


def _read_duration(kind: Any, form: str, value: Any, problems: Problems) -> Any:
    try:
        return read_period(kind, value)
    except ValueError:
        misfit(problems, form, value)
        return value


def _read_text(kind: Any, form: str, value: Any, problems: Problems) -> Any:
    decimal = form == _TEXT["decimal", "Decimal"]
    if value.__class__ is str or (decimal and value.__class__ is int):
        try:
            made = kind.fromisoformat(value) if hasattr(kind, "fromisoformat") else kind(value)
            if not decimal or made.is_finite():
                return made
        except (ValueError, ArithmeticError):
            pass  # reported below
    misfit(problems, form, value)
    return value
