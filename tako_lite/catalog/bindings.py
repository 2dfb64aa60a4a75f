"""Finds the names that a module binds while it is imported: a worker finds a handler by its name in the module."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tako_lite.catalog.names import taken_branches


class Binding(NamedTuple):
    """A name that a statement binds or deletes, its place, and a phrase for the kind of statement."""

    name: str
    place: ast.stmt | ast.expr | ast.alias | ast.excepthandler | ast.pattern
    by: str


def replacement(name: str, later: Sequence[ast.stmt]) -> Binding | None:
    """The first later statement of the module that takes the name of a handler; None if a worker still finds the handler."""
    for statement in later:
        match statement:
            case ast.Assign(value=ast.Name(id=kept)) if kept == name:
                return None  # the handler has another name by then
        for binding in _bindings(statement):
            if binding.name == name:
                return binding
    return None


def bound_names(tree: ast.Module) -> set[str]:
    """All names that the module's own code binds."""
    return {binding.name for statement in tree.body for binding in _bindings(statement)}


def _bindings(statement: ast.AST) -> Iterator[Binding]:
    """The names that a statement binds when it is executed, in order, without those inside functions and classes."""
    pending = [statement]
    while pending:
        node = pending.pop()
        yield from _bound_by(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda() | ast.AnnAssign(value=None):
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue  # a separate scope
            case ast.If():
                inner: list[ast.AST] = [node.test, *taken_branches(node)]
            case _:
                inner = list(ast.iter_child_nodes(node))
        pending += reversed(inner)


def _bound_by(node: ast.AST) -> Iterator[Binding]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield Binding(node.name, node, "this function")
        case ast.ClassDef():
            yield Binding(node.name, node, "this class")
        case ast.Import():
            yield from (Binding(alias.asname or alias.name.partition(".")[0], alias, "this import") for alias in node.names)
        case ast.ImportFrom():
            yield from (Binding(alias.asname or alias.name, alias, "this import") for alias in node.names)
        case ast.Name(ctx=ast.Store()):
            yield Binding(node.id, node, "this assignment")
        case ast.Name(ctx=ast.Del()):
            yield Binding(node.id, node, "this `del`")
        case ast.ExceptHandler(name=str(name)):
            yield Binding(name, node, "this `except`")
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield Binding(name, node, "this pattern")
        case ast.MatchMapping(rest=str(name)):
            yield Binding(name, node, "this pattern")
