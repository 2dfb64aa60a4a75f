"""Counts the parameters of a handler that a decorator hides: `def inner(*args)` without functools.wraps."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType


def written_parameters(module: ModuleType, name: str, seen: int) -> int:
    """The number of parameters of the function that a module's source defines under a name; `seen` without a source."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return seen
    count = seen
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            count = len(node.args.posonlyargs + node.args.args)
    return count
