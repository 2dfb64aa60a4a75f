"""Resolves the names of a file to what they mean for tako-lite."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
"""`tako_lite.__all__`, repeated here because importing `tako_lite` would import nearly everything."""

_OURS: Final = ("workflow", "poll", "Backoff", "Step", "BlockingStep")
_MEANINGS: Final = {
    "tako_lite.workflow": "workflow",
    "tako_lite.workflow.workflow": "workflow",
    "tako_lite.Backoff": "Backoff",
    "tako_lite.backoff.Backoff": "Backoff",
    "tako_lite.Step": "Step",
    "tako_lite.step.Step": "Step",
    "tako_lite.poll": "poll",
    "tako_lite.trigger.poll": "poll",
    "tako_lite.BlockingStep": "BlockingStep",
    "tako_lite.blocking.BlockingStep": "BlockingStep",
}

Exports = Mapping[str, Mapping[str, str]]
"""For each module of the folder, its names that come from tako-lite and their meanings: other modules may import them."""


def statements(tree: ast.Module) -> list[ast.stmt]:
    """Every statement of a file, including nested ones. Expressions, the bulk of a tree, are not visited."""
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
    """The imports of a file: resolves `workflow`, `tako_lite.workflow`, `t.workflow` and `wf` alike.

    `package` is what relative imports start from. `exports` are the names that other modules of the folder pass on.
    """

    def __init__(self, nodes: Sequence[ast.stmt], package: str = "", exports: Exports = {}) -> None:  # noqa: B006 -- never changed
        self._origins: dict[str, str] = {}
        self._exports = exports
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._origins[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom):
                self._take(base_of(node, package), node.names)
        for node in sorted(nodes, key=lambda node: node.lineno):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if meaning := self.meaning(value):
                    self._origins[name] = f"tako_lite.{meaning}"

    def _take(self, module: str, aliases: list[ast.alias]) -> None:
        for alias in aliases:
            if alias.name != "*":
                self._origins[alias.asname or alias.name] = f"{module}.{alias.name}"
            elif module == "tako_lite":
                self._origins |= {name: f"tako_lite.{name}" for name in _OURS}
            else:
                self._origins |= self._exports.get(module, {})

    def origin(self, expression: ast.expr) -> str | None:
        """The full name that an imported name or an attribute of one stands for, such as `datetime.date`."""
        parts: list[str] = []
        while isinstance(expression, ast.Attribute):
            parts.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name) or expression.id not in self._origins:
            return None
        return ".".join([self._origins[expression.id], *reversed(parts)])

    def meaning(self, expression: ast.expr) -> str | None:
        """`workflow`, `poll`, `Backoff`, `Step` or `BlockingStep` if the expression means tako-lite's object of that name."""
        origin = self.origin(expression)
        if origin is None:
            return None
        module, _, name = origin.rpartition(".")
        return _MEANINGS.get(self._exports.get(module, {}).get(name, origin))

    def leads_to(self, modules: Iterable[str]) -> bool:
        """Whether the file imports one of these modules, or a package that contains one."""
        origins = set(self._origins.values())
        return any(module == origin or module.startswith(f"{origin}.") for module in modules for origin in origins)

    def ours(self) -> dict[str, str]:
        """The names of the file that come from tako-lite, with their meanings."""
        found = ((name, self.meaning(ast.Name(name))) for name in self._origins)
        return {name: f"tako_lite.{meaning}" for name, meaning in found if meaning is not None}


def unknown_imports(tree: ast.Module) -> Iterator[ast.alias]:
    """Imports from tako_lite of names that it does not have. Imports inside blocks are skipped: they may be meant to fail."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "tako_lite":
            for alias in node.names:
                if alias.name not in (*PUBLIC, "*", "__version__") and find_spec(f"tako_lite.{alias.name}") is None:
                    yield alias


def imported_at_import(tree: ast.Module, package: str) -> Iterator[tuple[str, ast.stmt]]:
    """The full names that a module imports while it is itself imported; for `from a import b` both `a` and `a.b`.

    `package` is what relative imports start from. Function bodies and `if TYPE_CHECKING:` are left out.
    """
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, package)
            yield base, node
            yield from ((f"{base}.{alias.name}", node) for alias in node.names)
        elif isinstance(node, ast.If):
            pending += taken_branches(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            pending += ast.iter_child_nodes(node)


def base_of(node: ast.ImportFrom, package: str) -> str:
    """The full name of the module of a `from` import."""
    if node.level == 0:
        return node.module or ""
    above = package.split(".")
    parts = above[: len(above) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def taken_branches(node: ast.If) -> list[ast.stmt]:
    """The statements of an `if` that may run while a worker imports the module."""
    if _is_type_checking(node.test) or _is_main(node.test):
        return node.orelse
    if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not) and _is_type_checking(node.test.operand):
        return node.body
    return [*node.body, *node.orelse]


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _is_main(test: ast.expr) -> bool:
    """Whether the test is `__name__ == "__main__"`, which is false in a worker."""
    match test:
        case ast.Compare(ast.Name(id="__name__"), [ast.Eq()], [ast.Constant(value="__main__")]):
            return True
        case ast.Compare(ast.Constant(value="__main__"), [ast.Eq()], [ast.Name(id="__name__")]):
            return True
    return False
