"""Our decorators, what each makes of a function, and which parameters such a function may have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from tako_lite.catalog.names import Names
from tako_lite.options import OPTIONS
from tako_lite.trigger import TRIGGER_OPTIONS

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Decorator(NamedTuple):
    """A decorator by its `word`: what it makes, what the function is called then, and how many parameters that has at most."""

    word: str
    noun: str
    function: str
    most: int
    takes: str
    options: tuple[str, ...]

    def example(self, node: Function) -> str:
        """How the decorator of this function may look."""
        return f'write @{self.word}("{node.name.replace("_", "-")}")'


WORKFLOW: Final = Decorator(
    "workflow", "workflow", "handler", 2, "a handler takes (payload, step), (payload) or nothing", OPTIONS
)
POLL: Final = Decorator(
    "poll", "trigger", "trigger", 1, "a trigger takes (cursor), returns (payloads, cursor)", TRIGGER_OPTIONS
)
DECORATORS: Final = {ours.word: ours for ours in (WORKFLOW, POLL)}


def parameter_problems(node: Function, ours: Decorator, names: Names) -> Iterator[tuple[ast.arg | Function, str]]:
    """Complaints about parameters that a worker would not know how to fill, each with its place."""
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    needed = [name for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    if variable := arguments.vararg or arguments.kwarg:
        yield variable, f"a {ours.function} cannot take * or **"
    for extra in positional[ours.most : ours.most + 1] + needed[:1]:
        yield extra, f"nobody fills the parameter {extra.arg}"
    if ours is POLL and not positional and not arguments.vararg:
        yield node, f"{node.name} does not take the cursor"
    if ours is WORKFLOW and len(positional) == 1 and _is_step(positional[0].annotation, names):
        yield positional[0], "the first parameter is the payload, the second is the step"


def _is_step(annotation: ast.expr | None, names: Names) -> bool:
    if isinstance(annotation, ast.Constant):
        return annotation.value == "Step"
    return annotation is not None and names.meaning(annotation) == "Step"
