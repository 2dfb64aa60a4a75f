"""What the names in a file stand for, as far as tako-lite is concerned."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Final

PUBLIC: Final = (
    "AsyncClient",
    "Backoff",
    "BlockingStep",
    "ChildFailed",
    "Client",
    "Step",
    "TakoError",
    "Trigger",
    "Workflow",
    "poll",
    "secret",
    "workflow",
)
"""`tako_lite.__all__`, which cannot be imported from here: it leads to everything."""

_MEANINGS: Final = {
    "tako_lite.workflow": "workflow",
    "tako_lite.workflow.workflow": "workflow",
    "tako_lite.Backoff": "Backoff",
    "tako_lite.backoff.Backoff": "Backoff",
    "tako_lite.Step": "Step",
    "tako_lite.step.Step": "Step",
    "tako_lite.poll": "poll",
    "tako_lite.trigger.poll": "poll",
}


def statements(tree: ast.Module) -> list[ast.stmt]:
    """Every statement of a file, also nested ones. Expressions, the bulk of a tree, are not visited."""
    found: list[ast.stmt] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            found.append(node)
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending += getattr(node, block, ())
    return found


class Names:
    """The imports of a file, so that `workflow`, `tako_lite.workflow`, `t.workflow` and `wf` are all understood."""

    def __init__(self, nodes: Iterable[ast.stmt]) -> None:
        self._origins: dict[str, str] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._origins[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                self._take(node.module, node.names)

    def _take(self, module: str, aliases: list[ast.alias]) -> None:
        for alias in aliases:
            if alias.name != "*":
                self._origins[alias.asname or alias.name] = f"{module}.{alias.name}"
            elif module == "tako_lite":
                self._origins |= {name: f"tako_lite.{name}" for name in ("workflow", "poll", "Backoff", "Step")}

    def meaning(self, expression: ast.expr) -> str | None:
        """`workflow`, `Backoff`, `Step` or `poll` if the expression is ours of that name."""
        parts: list[str] = []
        while isinstance(expression, ast.Attribute):
            parts.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name) or expression.id not in self._origins:
            return None
        return _MEANINGS.get(".".join([self._origins[expression.id], *reversed(parts)]))


def unknown_imports(tree: ast.Module) -> Iterator[ast.alias]:
    """What a file imports from tako_lite that it does not have; what stands in a block may be meant to fail."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "tako_lite":
            for alias in node.names:
                if alias.name not in (*PUBLIC, "*", "__version__") and find_spec(f"tako_lite.{alias.name}") is None:
                    yield alias


def imported_at_import(tree: ast.Module, package: str) -> Iterator[tuple[str, ast.stmt]]:
    """The full names that a module imports while it is itself imported; of `from a import b` both `a` and `a.b`.

    `package` is what relative imports start from. Function bodies and `if TYPE_CHECKING:` are left out.
    """
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield base, node
            yield from ((f"{base}.{alias.name}", node) for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            pending += ast.iter_child_nodes(node)


def _base(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    above = package.split(".")
    parts = above[: len(above) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"
