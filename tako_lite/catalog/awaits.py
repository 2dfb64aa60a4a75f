"""Finds step calls without `await`: such a call does nothing, and the run continues without the step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tako_lite.catalog.decorators import Function

AWAITED: Final = frozenset({"run", "sleep", "sleep_until", "wait_for", "invoke", "enqueue", "signal"})
"""The methods of `Step` that are coroutines."""


def unawaited(handler: ast.AsyncFunctionDef) -> Iterator[tuple[ast.Call, str]]:
    """The statements of a handler that call a step without `await`, each with the text of the call."""
    parameters = [*handler.args.posonlyargs, *handler.args.args]
    if len(parameters) > 1:
        for statement in handler.body:
            yield from _below(statement, parameters[1].arg)


def _below(node: ast.AST, step: str) -> Iterator[tuple[ast.Call, str]]:
    if isinstance(node, Function) and any(own.arg == step for own in ast.walk(node.args) if isinstance(own, ast.arg)):
        return  # a nested scope, not code of this handler
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(id=name), attr=method)) as call) if name == step and method in AWAITED:
            yield call, f"{name}.{method}(…)"
    for child in ast.iter_child_nodes(node):
        yield from _below(child, step)
