"""Readers of records: dataclasses, TypedDicts and named tuples."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.typed.containers import OBJECT, tuple_of
from tako_lite.typed.generics import field_annotations
from tako_lite.typed.reader import MOST_PROBLEMS, Problems, Reader, inside, misfit, place

Compile = Callable[[Any], Reader]


class _Field(NamedTuple):
    name: str
    reader: Reader
    required: bool


def dataclass_reader(annotation: Any, compile_annotation: Compile) -> Reader:
    """Builds a dataclass by keyword; a ValueError or TypeError of its `__post_init__` is reported as a problem of the value."""
    hints = field_annotations(annotation, _hints)
    kind = typing.get_origin(annotation) or annotation
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise BadInput(
                f"{kind.__name__}.{name} is an InitVar, which an instance does not keep",
                hint="make it a field of the dataclass",
            )
    fields = [
        _Field(
            field.name,
            _compile_field(kind, field.name, hints[field.name], compile_annotation),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
        if field.init
    ]
    return _record(kind.__name__, fields, kind)


def is_typed_dict(kind: type) -> bool:
    """Whether this is a TypedDict from `typing` or `typing_extensions`."""
    return issubclass(kind, dict) and hasattr(kind, "__total__") and hasattr(kind, "__required_keys__")


def typed_dict_reader(annotation: Any, compile_annotation: Compile) -> Reader:
    """Checks an object against a TypedDict."""
    fields = []
    kind = typing.get_origin(annotation) or annotation
    for name, hint in field_annotations(annotation, _hints_with_extras).items():
        # `__required_keys__` misses Required and NotRequired in annotations that are strings.
        wrapper = typing.get_origin(hint)
        required = wrapper is typing.Required or (wrapper is not typing.NotRequired and name in kind.__required_keys__)
        fields.append(_Field(name, _compile_field(kind, name, hint, compile_annotation), required))
    return _record(kind.__name__, fields, None)


def is_named_tuple(kind: type) -> bool:
    """Whether this is a NamedTuple or the result of `collections.namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_field_defaults")


def named_tuple_reader(annotation: Any, compile_annotation: Compile) -> Reader:
    """Builds a named tuple from a list, its form in JSON."""
    hints = field_annotations(annotation, _hints_with_extras)
    kind = typing.get_origin(annotation) or annotation
    items = [_compile_field(kind, name, hints.get(name, Any), compile_annotation) for name in kind._fields]
    return tuple_of(items, lambda made: kind(*made), len(items) - len(kind._field_defaults))


def _hints(kind: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=include_extras)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise BadInput(
            f"the annotations of {kind.__name__} cannot be resolved: {error}",
            hint="the names in them must be importable at run time, not only for type checkers",
        ) from None


def _hints_with_extras(kind: Any) -> dict[str, Any]:
    return _hints(kind, include_extras=True)


def _compile_field(kind: type, name: str, hint: Any, compile_annotation: Compile) -> Reader:
    try:
        return compile_annotation(hint)
    except BadInput as error:
        inner = error.message if error.message.startswith(("the annotations of ", "the field ")) else ""
        raise BadInput(inner or f"the field {kind.__name__}.{name}: {error.message}", hint=error.hint) from None


def _record(name: str, fields: list[_Field], make: Callable[..., Any] | None) -> Reader:
    known = {field.name for field in fields}

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not dict:
            misfit(problems, OBJECT, value)
            return value
        start = len(problems)
        made = {}
        for field in fields:
            if field.name in value:
                mark = len(problems)
                made[field.name] = field.reader.read(value[field.name], problems)
                if len(problems) > mark:
                    inside(problems, mark, place(field.name))
            elif field.required:
                problems.append((place(field.name), "missing"))
        if len(made) != len(value):
            _note_unknown(value, known, name, problems)
        return made if make is None or len(problems) > start else _build(make, made, problems)

    return Reader(name, read, make is None and all(field.reader.keeps for field in fields))


def _note_unknown(value: Mapping[str, Any], known: set[str], name: str, problems: Problems) -> None:
    for key in list(value.keys() - known)[:MOST_PROBLEMS] if len(value) > MOST_PROBLEMS else value:
        if key not in known:
            guess = did_you_mean(key, known)
            problems.append((place(key), f"not a field of {name}" + (f"; {guess}" if guess else "")))


def _build(make: Callable[..., Any], fields: dict[str, Any], problems: Problems) -> Any:
    try:
        return make(**fields)
    except (ValueError, TypeError, BadInput) as error:
        problems.append(("", str(error) or type(error).__name__))
        return fields
