"""The decorators of tako-lite, and what each makes of a function."""

from __future__ import annotations

import ast
from typing import Final, NamedTuple

from tako_lite.options import OPTIONS
from tako_lite.trigger_options import TRIGGER_OPTIONS

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Decorator(NamedTuple):
    """A decorator by its `word`: what it makes, the noun for its function, and the most parameters the function may have."""

    word: str
    noun: str
    function: str
    most: int
    takes: str
    options: tuple[str, ...]

    def example(self, node: Function) -> str:
        """A hint that shows how to write the decorator for this function."""
        return f'write @{self.word}("{node.name.replace("_", "-")}")'


WORKFLOW: Final = Decorator(
    "workflow", "workflow", "handler", 2, "a handler takes (payload, step), (payload) or nothing", OPTIONS
)
POLL: Final = Decorator(
    "poll", "trigger", "trigger", 1, "a trigger takes (cursor), returns (payloads, cursor)", TRIGGER_OPTIONS
)
DECORATORS: Final = {ours.word: ours for ours in (WORKFLOW, POLL)}
