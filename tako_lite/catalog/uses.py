"""Finds uses of our decorators that do not decorate a function, and other decorators that change nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, TypeGuard

from tako_lite.catalog.decorators import DECORATORS, Function
from tako_lite.catalog.names import Names

_SCOPES: Final = Function | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_HARMLESS: Final = frozenset({"typing.final", "typing.override", "typing.no_type_check", "atexit.register"})
"""Decorators of the standard library that return the function that they receive."""


def stray_uses(tree: ast.Module, names: Names) -> Iterator[tuple[ast.Call, str]]:
    """Calls of our decorators that decorate nothing, with the word of each; also those passed to `functools.partial`."""
    pending: list[tuple[ast.AST, frozenset[str]]] = [(node, frozenset()) for node in tree.body]
    while pending:
        node, hidden = pending.pop()
        if isinstance(node, ast.Call) and (meaning := _used(node, hidden, names)):
            yield node, meaning
        if isinstance(node, _SCOPES):
            hidden |= _bound_in(node)
        decorators = node.decorator_list if isinstance(node, Function | ast.ClassDef) else []
        pending += [(child, hidden) for child in ast.iter_child_nodes(node) if child not in decorators]


def _used(call: ast.Call, hidden: frozenset[str], names: Names) -> str | None:
    functions = [call.func]
    if (names.origin(call.func) or "") == "functools.partial":
        functions += call.args[:1]
    for function in functions:
        root = function
        while isinstance(root, ast.Attribute):
            root = root.value
        if not (isinstance(root, ast.Name) and root.id in hidden) and (meaning := names.meaning(function)) in DECORATORS:
            return meaning
    return None


def _bound_in(scope: ast.AST) -> frozenset[str]:
    """The names that a function or comprehension binds for itself."""
    arguments = {node.arg for node in ast.walk(scope) if isinstance(node, ast.arg)}
    return frozenset(arguments | {node.id for node in ast.walk(scope) if _is_stored(node)})


def returns_its_argument(decorator: ast.expr, tree: ast.Module, names: Names) -> bool:
    """Whether a decorator certainly returns what it decorates: some of Python's do, and some of the file's own."""
    if isinstance(decorator, ast.Name):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == decorator.id:
                return _returns_first(node)
    return names.origin(decorator) in _HARMLESS


def _returns_first(function: ast.FunctionDef) -> bool:
    positional = function.args.posonlyargs + function.args.args
    if not positional:
        return False
    first = positional[0].arg
    values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    rebinds = first in {node.id for node in ast.walk(function) if _is_stored(node)}
    return bool(values) and not rebinds and all(isinstance(value, ast.Name) and value.id == first for value in values)


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
