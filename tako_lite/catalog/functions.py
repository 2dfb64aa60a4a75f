"""Finds the function that a setting names as `package.module:function` in the project's files, without importing them."""

from __future__ import annotations

import ast
from pathlib import Path

from tako_lite.catalog.bindings import bound_names
from tako_lite.catalog.decorators import Function
from tako_lite.catalog.source import Unreadable, parse, read_source
from tako_lite.hints import did_you_mean
from tako_lite.options import Problem


def function_problem(entry: str, root: Path) -> Problem | None:
    """Why a worker will not be able to call this function without arguments; None if it can, or if that is not certain.

    `root` is the folder of tako.toml, where workers look first. A module that is not there may be installed.
    """
    module, _, name = entry.partition(":")
    place, file = root, root
    for part in module.split("."):
        found = [each for each in (place / part / "__init__.py", place / f"{part}.py") if each.is_file()]
        if not found:
            is_certain = place != root and (place / "__init__.py").is_file()
            return Problem(f"{place.name} has no module {part}") if is_certain else None
        place, file = place / part, found[0]
    shown = str(file.relative_to(root))
    try:
        tree = parse(read_source(file.read_bytes(), shown))
    except (OSError, Unreadable):
        return None
    return _problem_in(tree, name, shown) if isinstance(tree, ast.Module) else None


def _problem_in(tree: ast.Module, name: str, shown: str) -> Problem | None:
    known = bound_names(tree)
    if known & {"*", "__getattr__"}:
        return None
    if name not in known:
        return Problem(f"{shown} defines no function {name}", did_you_mean(name, known))
    for node in tree.body:
        if isinstance(node, Function) and node.name == name and not node.decorator_list and _needs_arguments(node.args):
            return Problem(f"{shown}:{node.lineno}: {name}() takes arguments, and is called without any")
    return None


def _needs_arguments(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return positional > 0 or any(default is None for default in arguments.kw_defaults)
