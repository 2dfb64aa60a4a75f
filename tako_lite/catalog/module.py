"""Reading one workflow file: its decorated functions, their options, and what it imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tako_lite.backoff import Backoff
from tako_lite.catalog.names import Names, imported_at_import, statements
from tako_lite.catalog.schedule import schedule_problem, timezone_problem
from tako_lite.catalog.source import Node, Source
from tako_lite.catalog.specs import WorkflowSpec
from tako_lite.errors import BadInput, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.routing import Routes
from tako_lite.workflow import OPTIONS, Problem, WorkflowOptions, name_problem, read_options

Function = ast.FunctionDef | ast.AsyncFunctionDef

_BACKOFF_PARTS: Final = ("base", "max")
_WHY_LITERALS: Final = "options act before any worker exists, so they are read without running the file"
_HANDLERS: Final = "a handler takes (payload, step), (payload) or nothing"


@dataclass(frozen=True, slots=True)
class Module:
    """What was found in one workflow file. `places` point at the name in each workflow's decorator."""

    name: str
    source: Source
    workflows: tuple[WorkflowSpec, ...] = ()
    places: tuple[Node, ...] = ()
    imports: tuple[tuple[str, Node], ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def read_module(tree: ast.Module, source: Source, file: Path, name: str, namespace: str, routes: Routes) -> Module:
    """Everything that a file says about workflows; a file without any is empty."""
    nodes = statements(tree)
    reading = _Reading(source, Names(nodes), routes)
    for node in tree.body:
        if isinstance(node, Function):
            reading.function(node, file, name, namespace)
    reading.rest(tree, nodes)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return Module(
        name,
        source,
        tuple(reading.workflows),
        tuple(reading.places),
        tuple(imported_at_import(tree, package)) if reading.workflows else (),
        tuple(sorted(reading.mistakes, key=lambda mistake: (mistake.line, mistake.column))),
    )


@dataclass(slots=True)
class _Reading:
    source: Source
    names: Names
    routes: Routes
    workflows: list[WorkflowSpec] = field(default_factory=list)
    places: list[Node] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    seen: set[ast.expr] = field(default_factory=set)
    """Decorators that were judged where they stand."""

    def mistake(self, node: Node, message: str, hint: str | None = None) -> None:
        self.mistakes.append(self.source.mistake(node, message, hint))

    def function(self, node: Function, file: Path, module: str, namespace: str) -> None:
        """A function at the top level of the module."""
        found = [decorator for decorator in node.decorator_list if self._is_workflow(decorator)]
        self.seen.update(found)
        for extra in found[1:]:
            self.mistake(extra, "a function is one workflow: it has two @workflow decorators")
        if not found:
            return
        self._parameters(node)
        decorator = found[0]
        if not isinstance(decorator, ast.Call):
            self.mistake(decorator, "@workflow needs a name", f'write @workflow("{node.name.replace("_", "-")}")')
            return
        name, place = self._name(decorator, node)
        options, written = self._options(decorator)
        if name is not None:
            spec = WorkflowSpec(name, options, module, namespace, node.name, file, node.lineno, written)
            self.workflows.append(spec.routed(self.routes))
            self.places.append(place)

    def rest(self, tree: ast.Module, nodes: list[ast.stmt]) -> None:
        """Uses of ours anywhere else, where no worker would find them."""
        for node in nodes:
            if isinstance(node, Function | ast.ClassDef):
                for decorator in node.decorator_list:
                    self._misplaced(node, decorator)
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
                self._called(node)

    def _called(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and self.names.meaning(node.func) == "workflow":
                self.mistake(node, "workflow(…) is only for decorating a function at the top level of a module")

    def _misplaced(self, node: Function | ast.ClassDef, decorator: ast.expr) -> None:
        meaning = self._meaning(decorator)
        if meaning == "poll":
            self.mistake(decorator, "@poll is not supported by this version of tako-lite", "take it out")
        if meaning != "workflow" or decorator in self.seen:
            return
        self.seen.add(decorator)
        if isinstance(node, ast.ClassDef):
            self.mistake(decorator, "a class cannot be a workflow", "decorate a function")
            return
        self.mistake(
            decorator,
            f"{node.name} is nested: a workflow is a function at the top level of its module",
            "move it out of the function, class or block that it is in",
        )

    def _is_workflow(self, decorator: ast.expr) -> bool:
        return self._meaning(decorator) == "workflow"

    def _meaning(self, decorator: ast.expr) -> str | None:
        return self.names.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)

    def _parameters(self, node: Function) -> None:
        """Complain about parameters that a worker would not know how to fill."""
        arguments = node.args
        positional = arguments.posonlyargs + arguments.args
        needed = [name for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
        if arguments.vararg or arguments.kwarg:
            self.mistake(arguments.vararg or arguments.kwarg or node, "a handler cannot take * or **", _HANDLERS)
        for extra in positional[2:3] + needed[:1]:
            self.mistake(extra, f"nobody fills the parameter {extra.arg}", _HANDLERS)
        if len(positional) == 1 and positional[0].annotation and self._is_step(positional[0].annotation):
            self.mistake(positional[0], "the first parameter is the payload, the second is the step", _HANDLERS)

    def _is_step(self, annotation: ast.expr) -> bool:
        if isinstance(annotation, ast.Constant):
            return annotation.value == "Step"
        return self.names.meaning(annotation) == "Step"

    def _name(self, call: ast.Call, node: Function) -> tuple[str | None, Node]:
        given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
        for extra in call.args[1:]:
            self.mistake(extra, "options of @workflow are written with their names", 'such as worker="media"')
        if not given:
            self.mistake(call, "@workflow needs a name", f'write @workflow("{node.name.replace("_", "-")}")')
            return None, call
        place = given[0]
        known, name = self._literal("the name", place)
        if not known:
            return None, place
        problem = name_problem(name)
        if problem:
            self.mistake(place, problem.message, problem.hint)
        return None if problem else str(name), place

    def _options(self, call: ast.Call) -> tuple[WorkflowOptions, frozenset[str]]:
        values: dict[str, object] = {}
        places: dict[str, Node] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self.mistake(keyword.value, "options of @workflow are written out, not given with **", _WHY_LITERALS)
            elif keyword.arg != "name" and self._is_option(keyword, keyword.arg):
                known, value = self._value(keyword.arg, keyword.value)
                if known:
                    values[keyword.arg], places[keyword.arg] = value, keyword.value
        options, problems = read_options(values)
        if options.schedule is not None and (problem := schedule_problem(options.schedule)):
            problems["schedule"] = problem
        if problem := timezone_problem(options.timezone):
            problems["timezone"] = problem
        for option, problem in problems.items():
            self.mistake(places[option], problem.message, problem.hint)
        return options, frozenset(values)

    def _is_option(self, keyword: ast.keyword, option: str) -> bool:
        if option in OPTIONS:
            return True
        _, problems = read_options({option: None})
        problem: Problem = problems[option]
        hint = did_you_mean(option, OPTIONS) or "the options are " + ", ".join(OPTIONS)
        self.mistake(keyword, problem.message, hint)
        return False

    def _value(self, option: str, node: ast.expr) -> tuple[bool, object]:
        if isinstance(node, ast.Call) and self.names.meaning(node.func) == "Backoff":
            return self._backoff(option, node)
        return self._literal(option, node)

    def _literal(self, what: str, node: ast.expr) -> tuple[bool, Any]:
        try:
            return True, ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            self.mistake(node, f"{what} must be a literal", _WHY_LITERALS)
            return False, None

    def _backoff(self, option: str, call: ast.Call) -> tuple[bool, Backoff | None]:
        before = len(self.mistakes)
        parts: dict[str, Any] = {}
        for extra in call.args[2:]:
            self.mistake(extra, "Backoff takes base and max")
        pairs = [*zip(_BACKOFF_PARTS, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
        for part, value in pairs:
            if part in _BACKOFF_PARTS:
                _, parts[part] = self._literal(f"{option}: {part}", value)
            else:
                self.mistake(value, f"{option}: Backoff has no {part or '**'}", "it takes base and max")
        if len(self.mistakes) > before:
            return False, None
        try:
            return True, Backoff(**parts)
        except BadInput as error:
            self.mistake(call, f"{option}: {error.message}", error.hint)
            return False, None
