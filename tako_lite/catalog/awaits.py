"""Finds step calls that cannot work: without `await`, which does nothing, or with what `step.run` does not take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tako_lite.catalog.decorators import Function

AWAITED: Final = frozenset({"run", "sleep", "sleep_until", "wait_for", "invoke", "enqueue", "signal"})
"""The methods of `Step` that are coroutines."""
OPTIONS_OF_RUN: Final = frozenset({"name", "fn", "retries", "backoff", "timeout", "returns"})
"""What `step.run` can be given by keyword."""


def unawaited(handler: ast.AsyncFunctionDef) -> Iterator[tuple[ast.Call, str]]:
    """The statements of a handler that call a step without `await`, each with the text of the call."""
    for node, step in _of_handler(handler):
        match node:
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(id=name), attr=method)) as call) if (
                name == step and method in AWAITED
            ):
                yield call, f"{name}.{method}(…)"


def misused(handler: Function) -> Iterator[tuple[ast.expr | ast.keyword, str, str]]:
    """What the calls of `step.run` in a handler are given and do not take, each with its problem and what to write."""
    for node, step in _of_handler(handler):
        match node:
            case ast.Call(ast.Attribute(ast.Name(id=name), attr="run"), args=args, keywords=keywords) if name == step:
                function = ast.unparse(args[1]) if len(args) > 1 else "function"
                for keyword in keywords:
                    if keyword.arg is not None and keyword.arg not in OPTIONS_OF_RUN:
                        advice = f"functools.partial({function}, …, {keyword.arg}=…)"
                        yield keyword, f"{keyword.arg} is no option of {name}.run", f"for keywords of the function: {advice}"
                match args:
                    case [_, ast.Call(func=ast.Name(id="print"), args=given), *_]:
                        advice = f"{name}.run({', '.join(map(ast.unparse, [args[0], ast.Name('print'), *given]))})"
                        yield args[1], "print is called before the step, which gets None", f"give its arguments apart: {advice}"


def _of_handler(handler: Function) -> Iterator[tuple[ast.AST, str]]:
    """The nodes of a handler, each with the name of its step; without nested functions whose parameter has that name."""
    parameters = [*handler.args.posonlyargs, *handler.args.args]
    if len(parameters) > 1:
        for statement in handler.body:
            yield from ((node, parameters[1].arg) for node in _below(statement, parameters[1].arg))


def _below(node: ast.AST, step: str) -> Iterator[ast.AST]:
    if isinstance(node, Function) and any(own.arg == step for own in ast.walk(node.args) if isinstance(own, ast.arg)):
        return  # a nested scope, not code of this handler
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _below(child, step)
