"""Compiles an annotation into its reader."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable
from enum import Enum, Flag
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.typed.containers import list_of, object_of, tuple_of
from tako_lite.typed.generics import arguments_of, stand_in, with_arguments
from tako_lite.typed.models import is_model, model_reader
from tako_lite.typed.plain import plain
from tako_lite.typed.reader import Problems, Reader, worded
from tako_lite.typed.records import (
    Compile,
    dataclass_reader,
    is_named_tuple,
    is_typed_dict,
    named_tuple_reader,
    typed_dict_reader,
)
from tako_lite.typed.structs import is_struct, struct_reader
from tako_lite.typed.values import ANYTHING, NUMBER_KEYS, SCALARS, choice, flags, from_text, text_form, union

_WRAPPERS: Final = (typing.Annotated, typing.Required, typing.NotRequired, typing.Final)
_LISTS: Final = frozenset({"list", "Sequence", "MutableSequence", "Iterable", "Collection"})
_SETS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "set": set,
    "Set": set,
    "MutableSet": set,
    "frozenset": frozenset,
}
_DICTS: Final = frozenset({"dict", "Mapping", "MutableMapping"})

_Building = dict[Any, Reader]
"""Readers of records that are being compiled, so that a record may contain itself."""


def convert(value: Any, annotation: Any, where: str = "payload") -> Any:
    """The JSON value as the type of the annotation; BadInput names every field that does not fit."""
    return converter(annotation, where)(value)


def converter(annotation: Any, where: str = "payload") -> Callable[[Any], Any]:
    """A function that does `convert` for this annotation. Raises BadInput at once if JSON cannot express the annotation."""
    try:
        reader = compiled(annotation)
    except BadInput as error:
        raise BadInput(f"{where}: {error.message}", hint=error.hint) from None
    return functools.partial(read_by, reader, where=where)


def read_by(reader: Reader, value: Any, where: str) -> Any:
    """The JSON value as the type of a compiled annotation; BadInput names every field that does not fit."""
    problems: Problems = []
    made = reader.read(value, problems)
    if problems:
        raise BadInput(worded(problems, where))
    return made


def compiled(annotation: Any) -> Reader:
    """The reader of an annotation. Raises BadInput if JSON cannot express it."""
    try:
        hash(annotation)
    except TypeError:  # Annotated[int, []] is not hashable, so it is not cached
        return _compile(annotation, {})
    # `str | Path` equals `Path | str`, but the first member that fits wins: the text of the annotation tells them apart.
    return _remembered(annotation, "" if isinstance(annotation, type) else repr(annotation))


@functools.lru_cache(maxsize=1024)
def _remembered(annotation: Any, text: str) -> Reader:
    return _compile(annotation, {})


def _compile(annotation: Any, building: _Building) -> Reader:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return _compile_simple(annotation, building)
    if origin in _WRAPPERS or getattr(origin, "_name", None) == "ReadOnly":  # that of typing_extensions too
        return _compile(arguments[0], building)
    if origin is typing.Literal:
        return choice(_plain_forms(arguments), "the literal")
    if origin in (typing.Union, types.UnionType):
        return union([_compile(member, building) for member in arguments])
    if isinstance(origin, type):
        return _class(annotation, building) or _container(origin, arguments, building) or _refuse(annotation)
    if hasattr(origin, "__value__"):  # `type X[T] = …` of Python 3.12, with an argument
        value = with_arguments(origin.__value__, arguments_of(annotation))
        return _recursive(annotation, building, lambda: _compile(value, building))
    return _refuse(annotation)


def _plain_forms(members: Iterable[Any]) -> list[tuple[Any, Any]]:
    """The members of a Literal or an Enum, each with its value in JSON."""
    return [(member, plain(member)) for member in members]


def _compile_simple(annotation: Any, building: _Building) -> Reader:
    """The reader of an annotation without brackets."""
    if annotation is Any or annotation is object:
        return ANYTHING
    if type(annotation).__hash__ is None:
        return _refuse(annotation)
    if annotation in SCALARS:
        return SCALARS[annotation]
    if annotation in building:
        return building[annotation]
    if isinstance(annotation, typing.TypeVar):
        return _compile(stand_in(annotation), building)
    if isinstance(annotation, type):
        return _class(annotation, building) or _container(annotation, (), building) or _refuse(annotation)
    if hasattr(annotation, "__supertype__"):  # a NewType
        return _compile(annotation.__supertype__, building)
    if hasattr(annotation, "__value__"):  # `type X = …` of Python 3.12, which may refer to itself
        return _recursive(annotation, building, lambda: _compile(annotation.__value__, building))
    return _refuse(annotation)


def _class(annotation: Any, building: _Building) -> Reader | None:
    """The reader of a class, or of a generic class with its arguments, that is not a container."""
    kind = typing.get_origin(annotation) or annotation
    if is_model(kind):
        return model_reader(annotation)
    if is_struct(kind):
        return struct_reader(annotation)
    if make := _record_reader(kind):
        return _recursive(annotation, building, lambda: make(annotation, functools.partial(_compile, building=building)))
    if issubclass(kind, Flag):
        return flags(kind)
    if issubclass(kind, Enum):
        return choice(_plain_forms(kind), kind.__name__)
    form = text_form(kind)
    return None if form is None else from_text(kind, form)


def _record_reader(kind: type) -> Callable[[Any, Compile], Reader] | None:
    if is_named_tuple(kind):
        return named_tuple_reader
    if is_typed_dict(kind):
        return typed_dict_reader
    return dataclass_reader if dataclasses.is_dataclass(kind) else None


def _recursive(annotation: Any, building: _Building, compile_it: Callable[[], Reader]) -> Reader:
    """Compile an annotation that may contain itself: inside it, the unfinished reader is looked up for each value."""
    made: Reader
    try:
        if annotation in building:
            return building[annotation]
    except TypeError:  # Box[Annotated[int, []]] is not hashable
        return compile_it()
    name = (typing.get_origin(annotation) or annotation).__name__
    building[annotation] = Reader(name, lambda value, problems: made.read(value, problems))
    made = building[annotation] = compile_it()
    return made


def _container(kind: type, arguments: tuple[Any, ...], building: _Building) -> Reader | None:
    if kind.__module__ not in ("builtins", "collections.abc"):
        return None
    name = kind.__name__
    if name == "tuple" and arguments and arguments[-1] is not Ellipsis:
        return tuple_of([_compile(argument, building) for argument in arguments])
    if name in _DICTS:
        return _object(arguments, building)
    make = tuple if name == "tuple" else _SETS.get(name)
    if make is None and name not in _LISTS:
        return None
    return list_of(_compile(arguments[0], building) if arguments else ANYTHING, make)


def _object(arguments: tuple[Any, ...], building: _Building) -> Reader:
    key, value = arguments or (Any, Any)
    return object_of(_key(key), _compile(value, building))


def _key(annotation: Any) -> Reader:
    """The reader of the keys of an object. Keys are text in JSON: they are only read if they become another type."""
    if annotation is str or annotation is Any or annotation is object:
        return ANYTHING
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _WRAPPERS:
        return _key(arguments[0])
    if origin is typing.Literal:
        return choice(_plain_forms(arguments), "the literal", of_keys=True)
    if origin in (typing.Union, types.UnionType):
        return union([SCALARS[str] if member is str else _key(member) for member in arguments])
    if isinstance(annotation, type) and origin is None:
        if annotation in NUMBER_KEYS:
            return NUMBER_KEYS[annotation]
        if issubclass(annotation, Enum):
            return choice(_plain_forms(annotation), annotation.__name__, of_keys=True)
        if form := text_form(annotation):
            return from_text(annotation, form)
    if inner := getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None):
        return _key(inner)
    if isinstance(annotation, str):
        return _refuse(annotation)
    name = getattr(annotation, "__name__", annotation)
    raise BadInput(f"the keys of a JSON object are text, which does not convert to {name}", hint="write dict[str, …]")


def _refuse(annotation: Any) -> Reader:
    if isinstance(annotation, str):
        raise BadInput(f'the annotation "{annotation}" is not resolved', hint="import what it names at run time")
    name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    raise BadInput(
        f"{name} cannot be made from JSON",
        hint="annotate with a dataclass, a TypedDict, a pydantic model, a msgspec.Struct, a plain JSON type or Any",
    )
