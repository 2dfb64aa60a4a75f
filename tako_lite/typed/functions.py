"""The types that functions are annotated with, as far as they can be resolved. Nothing here raises."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.typed.annotations import compiled
from tako_lite.typed.reader import Reader

NOTHING: Final = object()
"""Stands for an annotation that is missing or unresolvable."""

_PLAIN: Final = frozenset(
    {str, int, float, bool, None, list, dict, tuple, Any, object}
    | {"str", "int", "float", "bool", "None", "list", "dict", "tuple", "Any", "object", "dict[str, Any]"}
)
"""Return annotations that leave JSON unchanged, known by their names alone."""
_AWAITED: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_MOST_LAYERS: Final = 50
_known: weakref.WeakKeyDictionary[Any, Reader | None] = weakref.WeakKeyDictionary()


def result_reader(function: Any) -> Reader | None:
    """A reader of the JSON of a returned value, for the function's return annotation or for the class itself.

    None if the JSON stays unchanged: no annotation, plain JSON, or an annotation that JSON cannot express.
    """
    try:
        if isinstance(function, types.BuiltinFunctionType):
            return None
        if isinstance(function, types.FunctionType) and _returned(function) in _PLAIN:
            return None
        function = _undressed(function)
        if function not in _known:
            _known[function] = _reader_of(_result_annotation(function))
        return _known[function]
    except Exception:  # annotations may raise anything, and the function works without them
        return None


def payload_annotation(function: Callable[..., Any]) -> Any:
    """The annotation of the first parameter of a handler, or NOTHING."""
    try:
        for parameter in _signature(function).parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                found = parameter.annotation
                return NOTHING if found is parameter.empty else _resolved(function, found)
            break
    except Exception:  # as above
        return NOTHING
    return NOTHING


def _undressed(function: Any) -> Any:
    """The function that has the annotations: that of a method, of a partial, of a callable object."""
    for _ in range(_MOST_LAYERS):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif isinstance(function, types.FunctionType | types.BuiltinFunctionType | type):
            break
        elif hasattr(function, "__wrapped__"):  # a handle, or a function from functools.cache
            function = function.__wrapped__
        else:
            function = type(function).__call__
    return function


def _returned(function: Any) -> Any:
    """The return annotation as written; None if there is none."""
    try:
        return function.__annotations__.get("return")
    except NameError:  # Python 3.14 evaluates all annotations here, including those only for type checkers
        library = import_module("annotationlib")
        return library.get_annotations(function, format=library.Format.FORWARDREF).get("return")


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except NameError:  # as above
        only_3_14: dict[str, Any] = {"annotation_format": import_module("annotationlib").Format.FORWARDREF}
        return inspect.signature(function, **only_3_14)


def _result_annotation(function: Any) -> Any:
    if isinstance(function, type):
        return function
    annotation = _resolved(function, _returned(function))
    if typing.get_origin(annotation) in _AWAITED:
        return typing.get_args(annotation)[-1]
    return annotation


def _reader_of(annotation: Any) -> Reader | None:
    if annotation in (None, NOTHING, tuple):  # a bare tuple does not tell the types of its elements: it stays a list
        return None
    try:
        reader = compiled(annotation)
    except BadInput:
        return None
    return None if reader.keeps else reader


def _resolved(function: Any, annotation: Any) -> Any:
    """An annotation with strings resolved to types; other annotations of the function are not touched."""
    if annotation is None or isinstance(annotation, type):
        return annotation
    inner = inspect.unwrap(function)
    cells = zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=False) if hasattr(inner, "__code__") else ()
    local = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    names = getattr(inner, "__globals__", None) or vars(sys.modules.get(getattr(inner, "__module__", ""), object()))

    def stand_in() -> None: ...

    stand_in.__annotations__ = {"return": annotation}
    try:
        return typing.get_type_hints(stand_in, names, local, include_extras=True)["return"]
    except Exception:
        return NOTHING


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # not assigned yet
        return False
