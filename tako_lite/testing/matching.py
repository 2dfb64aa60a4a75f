"""Compares payloads with what a test expects of them: a part, a placeholder, or a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Final[Any] = _Any()
"""Matches any value, as `...` does."""


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where a value is not as expected, one line for each place.

    A dict matches if it has the expected keys; it may have others. `...` and `ANY` match everything, and a function matches a
    value for which it returns true. Everything else matches what is equal to it.
    """
    at = path or "it"
    if expected is ... or expected is ANY:
        return
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            inner = f"{path}.{key}" if path else str(key)
            if key not in found:
                yield f"{inner} is missing"
            else:
                yield from differences(value, found[key], inner)
    elif isinstance(expected, list | tuple) and isinstance(found, list) and len(expected) == len(found):
        for index, (value, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(value, other, f"{path}[{index}]")
    elif _is_condition(expected):
        if not expected(found):
            yield f"{at} is {found!r}, which {getattr(expected, '__name__', 'the condition')} does not accept"
    elif expected != found and not (isinstance(expected, tuple) and list(expected) == found):
        yield f"{at} is {found!r}, expected {expected!r}"


def _is_condition(expected: object) -> bool:
    return isinstance(expected, Callable) and not isinstance(expected, type)  # type: ignore[arg-type]
