"""The type of a handler's payload, made again from the source of its file; nothing of the project is imported.

Only what the file shows without doubt becomes a type: dataclasses and TypedDicts whose fields can all be read there, plain
types, and containers of them. Everything else, such as a model of pydantic or a class of another module, becomes `Any`, which
accepts every value: the worker checks the payload against the real type in any case.
"""

from __future__ import annotations

import ast
import functools
import operator
import typing
from dataclasses import field, make_dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tako_lite.catalog.bindings import bound_names, replacement
from tako_lite.catalog.names import Names, statements

Function = ast.FunctionDef | ast.AsyncFunctionDef

_BUILTINS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}
_PLAIN: Final[dict[str, Any]] = {
    **{f"datetime.{kind.__name__}": kind for kind in (datetime, date, time_of_day, timedelta)},
    "uuid.UUID": UUID,
    "decimal.Decimal": Decimal,
    "pathlib.Path": Path,
    "typing.List": list,
    "typing.Dict": dict,
}
_WRAPPERS: Final[dict[str, Any]] = {"typing.Required": typing.Required, "typing.NotRequired": typing.NotRequired}


def payload_annotation(text: bytes, workflow: str) -> Any:
    """The type of the payload of a workflow, as far as its file shows it; `Any` if it shows nothing. Raises SyntaxError."""
    tree = ast.parse(text)
    types = _Types(tree)
    for node in tree.body:
        if isinstance(node, Function) and types.is_handler(node, workflow):
            parameters = node.args.posonlyargs + node.args.args
            return types.of(parameters[0].annotation) if parameters else Any
    return Any


class _Types:
    """Makes the types that the annotations of a file name."""

    def __init__(self, tree: ast.Module) -> None:
        self._names = Names(statements(tree))
        self._bound = bound_names(tree)
        self._classes = {
            node.name: node
            for place, node in enumerate(tree.body)
            if isinstance(node, ast.ClassDef) and replacement(node.name, [*tree.body[:place], *tree.body[place + 1 :]]) is None
        }
        self._made: dict[str, Any] = {}

    def is_handler(self, node: Function, workflow: str) -> bool:
        """Whether a function is the handler of a workflow, and no other decorator stands between its payload and it."""
        match node.decorator_list:
            case [ast.Call(func=decorator, args=[ast.Constant(value=name)])]:
                return name == workflow and self._names.meaning(decorator) == "workflow"
        return False

    def of(self, node: ast.expr | None) -> Any:
        """The type that an annotation means."""
        match _unquoted(node):
            case ast.Constant(value=None):
                return None
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _either(self.of(left), self.of(right))
            case ast.Subscript(value=outer, slice=inner):
                return self._generic(outer, inner.elts if isinstance(inner, ast.Tuple) else [inner])
            case ast.Name(id=name) if name in self._classes:
                return self._class(self._classes[name])
            case ast.Name(id=name) if name not in self._bound:
                return _BUILTINS.get(name, Any)
            case ast.Name() | ast.Attribute() as named:
                return _PLAIN.get(self._origin(named), Any)
        return Any

    def _generic(self, outer: ast.expr, parts: list[ast.expr]) -> Any:
        full = self._origin(outer)
        if full == "typing.Literal":
            values = tuple(part.value for part in parts if isinstance(part, ast.Constant))
            return typing.Literal[values] if len(values) == len(parts) else Any
        types = [self.of(part) for part in parts]
        if full == "typing.Optional":
            return _either(*types, None)
        if full == "typing.Union":
            return _either(*types)
        container = self.of(outer)
        if container in (list, dict) and len(types) == (1 if container is list else 2):
            return container[types[0]] if container is list else container[types[0], types[1]]
        return Any

    def _class(self, node: ast.ClassDef) -> Any:
        if node.name not in self._made:
            self._made[node.name] = Any  # within itself, a class accepts every value
            self._made[node.name] = self._record(node)
        return self._made[node.name]

    def _record(self, node: ast.ClassDef) -> Any:
        """A type with the fields of a class, or `Any` if the file does not show them all."""
        fields = self._fields(node)
        if fields is None:
            return Any
        if self._is_typed_dict(node):
            return typing.TypedDict(node.name, {name: wrapped for name, (wrapped, _) in fields.items()})  # type: ignore[operator]
        made = [(name, kind, field(default=None) if may_lack else field()) for name, (kind, may_lack) in fields.items()]
        return make_dataclass(node.name, made, kw_only=True)

    def _fields(self, node: ast.ClassDef) -> dict[str, tuple[Any, bool]] | None:
        """The fields of a dataclass or TypedDict: the type of each, and whether it may lack."""
        is_dict = self._is_typed_dict(node)
        if not is_dict and not self._is_dataclass(node):
            return None
        found: dict[str, tuple[Any, bool]] = {}
        for base in reversed(node.bases):
            if self._origin(base) == "typing.TypedDict":
                continue
            above = self._classes.get(base.id) if isinstance(base, ast.Name) else None
            inherited = None if above is None or self._is_typed_dict(above) != is_dict else self._fields(above)
            if inherited is None:
                return None
            found |= inherited
        total = all(_is_constant(keyword.value, True) for keyword in node.keywords if keyword.arg == "total")
        for statement in node.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                    own = self._dict_field(annotation, total=total) if is_dict else self._field(annotation, value)
                    if own is None:
                        return None
                    found[name] = own
        return found

    def _dict_field(self, annotation: ast.expr, *, total: bool) -> tuple[Any, bool]:
        match _unquoted(annotation):
            case ast.Subscript(value=outer, slice=inner) if (wrapper := _WRAPPERS.get(self._origin(outer))) is not None:
                return wrapper[self.of(inner)], False
        wrapper = typing.Required if total else typing.NotRequired
        return wrapper[self.of(annotation)], False

    def _field(self, annotation: ast.expr, value: ast.expr | None) -> tuple[Any, bool] | None:
        """A field of a dataclass, or None for what is not simply a field: `ClassVar`, `InitVar`, `KW_ONLY`, `field(init=…)`."""
        named = _unquoted(annotation)
        outer = named.value if isinstance(named, ast.Subscript) else named
        if outer is None or self._origin(outer).rpartition(".")[2] in ("ClassVar", "InitVar", "KW_ONLY"):
            return None
        if not isinstance(value, ast.Call):
            return self.of(named), value is not None
        given = {keyword.arg for keyword in value.keywords}
        if self._origin(value.func) != "dataclasses.field" or given & {"init", None}:
            return None
        return self.of(named), bool(given & {"default", "default_factory"})

    def _is_dataclass(self, node: ast.ClassDef) -> bool:
        match node.decorator_list:
            case [ast.Call(func=decorator)] | [decorator]:
                return self._origin(decorator) == "dataclasses.dataclass" and not node.keywords
        return False

    def _is_typed_dict(self, node: ast.ClassDef) -> bool:
        above = [self._classes.get(base.id) for base in node.bases if isinstance(base, ast.Name)]
        return not node.decorator_list and (
            any(self._origin(base) == "typing.TypedDict" for base in node.bases)
            or any(self._is_typed_dict(one) for one in above if one is not None and one is not node)
        )

    def _origin(self, node: ast.expr) -> str:
        """The full name of what an imported name stands for; empty for other names."""
        return (self._names.origin(node) or "").replace("typing_extensions.", "typing.")


def _either(*types: Any) -> Any:
    return Any if any(kind is Any for kind in types) else functools.reduce(operator.or_, types)


def _is_constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _unquoted(node: ast.expr | None) -> ast.expr | None:
    """An annotation that is written as text, parsed; None if it is no expression."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return node
    try:
        return ast.parse(node.value, mode="eval").body
    except SyntaxError:
        return None
