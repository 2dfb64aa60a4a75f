"""Decides whether an annotation accepts null: schedules enqueue null, and a trigger's first cursor is null."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Final

from tako_lite.catalog.names import Names

_BUILTINS: Final = frozenset({"int", "str", "float", "bool", "bytes", "list", "dict", "tuple", "set", "frozenset"})
_CLASSES: Final = frozenset(
    {
        *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "uuid.UUID", "decimal.Decimal"),
        *("pathlib.Path", "pathlib.PurePath", "typing.List", "typing.Dict", "typing.Tuple", "typing.Set", "typing.Sequence"),
        *("typing.Mapping", "collections.abc.Sequence", "collections.abc.Mapping"),
    }
)
"""Classes that do not accept null, unless the file itself binds their names."""


def refuses_null(annotation: ast.expr | None, names: Names, own: Collection[str], records: Collection[str]) -> bool:
    """Whether null certainly does not fit. `own` are the names that the file binds, `records` those of its records."""
    match annotation:
        case ast.Constant(value=str(text)):
            try:
                return refuses_null(ast.parse(text, mode="eval").body, names, own, records)
            except SyntaxError:
                return False
        case ast.BinOp(left, ast.BitOr(), right):
            return refuses_null(left, names, own, records) and refuses_null(right, names, own, records)
        case ast.Subscript(value, inner):
            return _refuses_subscripted(value, inner, names, own, records)
        case ast.Name(id=name):
            return name in records or (name in _BUILTINS and name not in own) or names.origin(annotation) in _CLASSES
        case ast.Attribute():
            return names.origin(annotation) in _CLASSES
    return False


def _refuses_subscripted(
    value: ast.expr, inner: ast.expr, names: Names, own: Collection[str], records: Collection[str]
) -> bool:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    match (names.origin(value) or "").removeprefix("typing_extensions.").removeprefix("typing."):
        case "Annotated":
            return refuses_null(parts[0], names, own, records)
        case "Union":
            return all(refuses_null(part, names, own, records) for part in parts)
        case "Literal":
            return all(isinstance(part, ast.Constant) and part.value is not None for part in parts)
    return isinstance(value, ast.Name | ast.Attribute) and refuses_null(value, names, own, ())
