"""Readers of lists, sets, tuples and objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tako_lite.typed.reader import MOST_PROBLEMS, Problems, Reader, inside, misfit, place
from tako_lite.typed.values import ANYTHING

OBJECT = "an object"


def list_of(item: Reader, make: Callable[[list[Any]], Any] | None = None) -> Reader:
    """A JSON list whose elements all fit `item`; `make` turns it into another container, such as a set or a tuple."""
    expected = "list" if item is ANYTHING else f"list[{item.expected}]"

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not list:
            misfit(problems, expected, value)
            return value
        if item is ANYTHING and make is None:
            return value
        start = len(problems)
        made = []
        for index, element in enumerate(value):
            mark = len(problems)
            made.append(item.read(element, problems))
            if len(problems) > mark:
                inside(problems, mark, f"[{index}]")
                if len(problems) >= MOST_PROBLEMS:
                    break
        return made if make is None or len(problems) > start else _made(make, made, problems)

    return Reader(expected, read, make is None and item.keeps)


def _made(make: Callable[[list[Any]], Any], items: list[Any], problems: Problems) -> Any:
    try:
        return make(items)
    except TypeError as error:  # a set of values that are not hashable
        problems.append(("", str(error)))
        return items


def tuple_of(items: list[Reader], make: Callable[[list[Any]], Any] = tuple, required: int | None = None) -> Reader:
    """A JSON list of exactly these elements; elements with defaults may be missing at the end of a named tuple."""
    fewest = len(items) if required is None else required
    expected = f"a list of {len(items)}" if fewest == len(items) else f"a list of {fewest} to {len(items)}"

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not list:
            misfit(problems, expected, value)
            return value
        if not fewest <= len(value) <= len(items):
            problems.append(("", f"expected {expected}, got {len(value)}"))
            return value
        made = []
        start = len(problems)
        for index, (item, element) in enumerate(zip(items, value, strict=False)):
            mark = len(problems)
            made.append(item.read(element, problems))
            if len(problems) > mark:
                inside(problems, mark, f"[{index}]")
        return made if len(problems) > start else make(made)

    return Reader(expected, read)


def object_of(key: Reader, item: Reader) -> Reader:
    """A JSON object whose keys and values fit these readers."""

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not dict:
            misfit(problems, OBJECT, value)
            return value
        if key is ANYTHING and item is ANYTHING:
            return value
        made = {}
        for name, element in value.items():
            mark = len(problems)
            made_key, made_item = key.read(name, problems), item.read(element, problems)
            if len(problems) == mark:
                if made_key not in made:
                    made[made_key] = made_item
                    continue
                problems.append(("", "another key means the same"))
            inside(problems, mark, place(name))
            if len(problems) >= MOST_PROBLEMS:
                break
        return made

    return Reader(OBJECT, read, key is ANYTHING and item.keeps)
