"""The annotations of generic types, with their type variables replaced: the field `content: T` of `Box[int]` is an `int`."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

Bound = Mapping[Any, Any]
"""Type variables, and what each stands for."""


def field_annotations(record: Any, resolved: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The annotations of the fields of a record such as `Box[int]` or a subclass of it.

    `resolved` returns those of a class, with the type variables of its ancestors still in them.
    """
    kind = typing.get_origin(record) or record
    hints = resolved(kind)
    return hints if not any(map(_variables, hints.values())) else hints | _replaced(record, resolved)


def with_arguments(annotation: Any, bound: Bound) -> Any:
    """An annotation with its type variables replaced; those that are not in `bound` stay."""
    if isinstance(annotation, typing.TypeVar):
        return bound.get(annotation, annotation)
    names = _variables(annotation)
    return annotation[tuple(bound.get(name, name) for name in names)] if names else annotation


def arguments_of(annotation: Any) -> Bound:
    """The arguments of `Box[int]` by the type variables of Box; empty without brackets."""
    names = getattr(typing.get_origin(annotation), "__parameters__", ())
    return dict(zip(names, typing.get_args(annotation), strict=False))


def stand_in(variable: Any) -> Any:
    """What a type variable without an argument accepts: its default, its constraints, its bound, or anything."""
    if hasattr(variable, "has_default") and variable.has_default():  # Python 3.13
        return variable.__default__
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007
    return Any if variable.__bound__ is None else variable.__bound__


def _variables(annotation: Any) -> tuple[Any, ...]:
    if isinstance(annotation, typing.TypeVar):
        return (annotation,)
    names = () if isinstance(annotation, type) else getattr(annotation, "__parameters__", ())
    return names if isinstance(names, tuple) else ()


def _replaced(record: Any, resolved: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Class by class, since a type variable may stand for one type in a class and for another one in its parent."""
    kind = typing.get_origin(record) or record
    bound = arguments_of(record)
    found: dict[str, Any] = {}
    for parent in reversed(kind.__dict__.get("__orig_bases__", kind.__bases__)):
        origin = typing.get_origin(parent) or parent
        if isinstance(origin, type) and origin not in (typing.Generic, typing.Protocol):
            found |= _replaced(with_arguments(parent, bound), resolved)
    inherited = found.keys() if issubclass(kind, dict) else ()  # a TypedDict repeats the fields of its parents
    own = {name: hint for name, hint in resolved(kind).items() if name in kind.__annotations__ and name not in inherited}
    return found | {name: with_arguments(hint, bound) for name, hint in own.items()}
