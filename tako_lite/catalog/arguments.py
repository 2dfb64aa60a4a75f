"""Reads the arguments of a decorator: a name and options, all of them literals."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from tako_lite.backoff import Backoff
from tako_lite.catalog.decorators import Decorator, Function
from tako_lite.catalog.names import Names
from tako_lite.catalog.source import Node
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.options import name_problem

_BACKOFF_PARTS: Final = ("base", "max")
_WHY_LITERALS: Final = "tako-lite reads the options without running the file"


class Arguments:
    """Reads the arguments and reports each invalid one to `mistake`, with its place and a hint."""

    def __init__(self, names: Names, mistake: Callable[[Node, str, str | None], None]) -> None:
        self._names = names
        self._mistake = mistake

    def name(self, call: ast.Call, node: Function, ours: Decorator) -> tuple[str | None, Node]:
        """The name in the arguments and its place; the name is None if it is missing or invalid."""
        given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
        for extra in call.args[1:]:
            self._mistake(extra, f"options of @{ours.word} must be keyword arguments", 'such as worker="media"')
        if not given:
            self._mistake(call, f"@{ours.word} needs a name", ours.example(node))
            return None, call
        place = given[0]
        known, name = self._literal("the name", place)
        if not known:
            return None, place
        problem = name_problem(name, decorator=ours.word, noun=ours.noun)
        if problem:
            self._mistake(place, problem.message, problem.hint)
        return None if problem else str(name), place

    def options(self, call: ast.Call, ours: Decorator) -> tuple[dict[str, object], dict[str, Node]]:
        """The options in the arguments by name, and the place of each."""
        values: dict[str, object] = {}
        places: dict[str, Node] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self._mistake(keyword.value, f"options of @{ours.word} must be written out, not passed with **", _WHY_LITERALS)
            elif keyword.arg not in ours.options:
                self._unknown_option(keyword, keyword.arg, ours)
            else:
                places[keyword.arg] = keyword.value
                known, value = self._value(keyword.arg, keyword.value)
                if known:
                    values[keyword.arg] = value
        return values, places

    def _unknown_option(self, keyword: ast.keyword, option: str, ours: Decorator) -> None:
        if option != "name":
            hint = did_you_mean(option, ours.options) or "the options are " + ", ".join(ours.options)
            self._mistake(keyword, f"{option} is not an option of @{ours.word}", hint)

    def _value(self, option: str, node: ast.expr) -> tuple[bool, object]:
        if isinstance(node, ast.Call) and self._names.meaning(node.func) == "Backoff":
            return self._backoff(option, node)
        return self._literal(option, node)

    def _literal(self, what: str, node: ast.expr) -> tuple[bool, Any]:
        try:
            return True, ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            self._mistake(node, f"{what} must be a literal", _WHY_LITERALS)
            return False, None

    def _backoff(self, option: str, call: ast.Call) -> tuple[bool, Backoff | None]:
        is_sound = True
        parts: dict[str, Any] = {}
        for extra in call.args[2:]:
            self._mistake(extra, "Backoff takes base and max", None)
            is_sound = False
        pairs = [*zip(_BACKOFF_PARTS, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
        for part, value in pairs:
            if part in _BACKOFF_PARTS:
                known, parts[part] = self._literal(f"{option}: {part}", value)
                is_sound = is_sound and known
            else:
                is_sound = False
                self._mistake(value, f"{option}: Backoff has no {part or '**'}", "it takes base and max")
        if not is_sound:
            return False, None
        try:
            return True, Backoff(**parts)
        except BadInput as error:
            self._mistake(call, f"{option}: {error.message}", error.hint)
            return False, None
