"""Reading one workflow file: its decorated functions, their options, and what it imports."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.backoff import Backoff
from tako_lite.catalog.awaits import unawaited
from tako_lite.catalog.decorators import DECORATORS, WORKFLOW, Decorator, Function, parameter_problems
from tako_lite.catalog.names import PUBLIC, Names, imported_at_import, statements, unknown_imports
from tako_lite.catalog.payload import Records, payload_type, records_of
from tako_lite.catalog.schedule import schedule_problem, timezone_problem
from tako_lite.catalog.source import Node, Source
from tako_lite.catalog.specs import TriggerSpec, WorkflowSpec
from tako_lite.errors import BadInput, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.options import OF_TENANT, WorkflowOptions, name_problem, read_options
from tako_lite.routing import Routes
from tako_lite.templates import fields
from tako_lite.trigger import EVALUATION, read_trigger_options

_BACKOFF_PARTS: Final = ("base", "max")
_WHY_LITERALS: Final = "options act before any worker exists, so they are read without running the file"


class FoundTrigger(NamedTuple):
    """A trigger, and where its name and that of the workflow which it starts are written."""

    spec: TriggerSpec
    place: Node
    starts_place: Node


@dataclass(frozen=True, slots=True)
class Module:
    """What was found in one workflow file. `places` point at the name in each workflow's decorator."""

    name: str
    source: Source
    workflows: tuple[WorkflowSpec, ...] = ()
    places: tuple[Node, ...] = ()
    imports: tuple[tuple[str, Node], ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    triggers: tuple[FoundTrigger, ...] = ()

    @property
    def groups(self) -> set[str]:
        """The groups whose workers import it when they start."""
        return {spec.group for spec in self.workflows} | {found.spec.group for found in self.triggers}


def read_module(tree: ast.Module, source: Source, file: Path, name: str, namespace: str, routes: Routes) -> Module:
    """Everything that a file says about workflows; a file without any is empty."""
    nodes = statements(tree)
    reading = _Reading(source, Names(nodes), routes, records_of(tree))
    for alias in unknown_imports(tree):
        hint = did_you_mean(alias.name, PUBLIC) or "its names are " + ", ".join(PUBLIC)
        reading.mistake(alias, f"tako_lite has no {alias.name}", hint)
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
        tuple(imported_at_import(tree, package)) if reading.workflows or reading.triggers else (),
        tuple(sorted(reading.mistakes, key=lambda mistake: (mistake.line, mistake.column))),
        tuple(reading.warnings),
        tuple(reading.triggers),
    )


@dataclass(slots=True)
class _Reading:
    source: Source
    names: Names
    routes: Routes
    records: Records
    warnings: list[Mistake] = field(default_factory=list)
    workflows: list[WorkflowSpec] = field(default_factory=list)
    places: list[Node] = field(default_factory=list)
    triggers: list[FoundTrigger] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    seen: set[ast.expr] = field(default_factory=set)
    """Decorators that were judged where they stand."""

    def mistake(self, node: Node, message: str, hint: str | None = None) -> None:
        self.mistakes.append(self.source.mistake(node, message, hint))

    def function(self, node: Function, file: Path, module: str, namespace: str) -> None:
        """A function at the top level of the module."""
        found = [(decorator, ours) for decorator in node.decorator_list if (ours := self._ours(decorator))]
        self.seen.update(decorator for decorator, _ in found)
        if not found:
            return
        decorator, ours = found[0]
        for extra, other in found[1:]:
            twice = f"one {ours.noun}: it has two @{ours.word} decorators"
            self.mistake(extra, f"a function is {twice if other is ours else 'a workflow or a trigger, not both'}")
        for where, problem in parameter_problems(node, ours, self.names):
            self.mistake(where, problem, ours.takes)
        if ours is WORKFLOW and isinstance(node, ast.AsyncFunctionDef):
            for call, words in unawaited(node):
                self.mistake(call, f"{words} is not awaited, so it does nothing", f"write `await {words}`")
        if not isinstance(decorator, ast.Call):
            self.mistake(decorator, f"@{ours.word} needs a name", ours.example(node))
            return
        name, place = self._name(decorator, node, ours)
        values, places = self._values(decorator, ours)
        written = frozenset(values)
        spec = WorkflowSpec(name or "", WorkflowOptions(), module, namespace, node.name, file, node.lineno, written)
        if ours is WORKFLOW:
            self._workflow(replace(spec, payload=payload_type(node, self.records)), place, values, places)
        else:
            self._trigger(spec, place, values, places, decorator)

    def _workflow(self, spec: WorkflowSpec, place: Node, values: Mapping[str, object], places: Mapping[str, Node]) -> None:
        options, problems = read_options(values)
        if options.schedule is not None and (problem := schedule_problem(options.schedule)):
            problems["schedule"] = problem
        if problem := timezone_problem(options.timezone):
            problems["timezone"] = problem
        for option, problem in problems.items():
            self.mistake(places[option], problem.message, problem.hint)
        if spec.name:
            spec = replace(spec, options=options)
            self.workflows.append(spec.routed(self.routes))
            self.places.append(place)
            self._fields(spec, places)

    def _trigger(
        self, spec: WorkflowSpec, place: Node, values: Mapping[str, object], places: Mapping[str, Node], decorator: Node
    ) -> None:
        options, problems = read_trigger_options(values)
        for option, problem in problems.items():
            if option in values or option not in places:  # of what is no literal it was said already
                self.mistake(places.get(option, decorator), problem.message, problem.hint)
        if spec.name:
            # An evaluation waits for its group, whatever others do; of rules and namespaces it takes the group alone.
            own = WorkflowOptions(worker=options.worker, retries=0, timeout=options.timeout, fallback="wait")
            routed = replace(spec, options=own).routed(self.routes)
            evaluation = replace(routed, name=f"{EVALUATION}{spec.name}", options=own)
            found = TriggerSpec(spec.name, options, evaluation)
            self.triggers.append(FoundTrigger(found, place, places.get("starts", decorator)))

    def _fields(self, spec: WorkflowSpec, places: Mapping[str, Node]) -> None:
        """Warn of options that name a field which the payload cannot have."""
        options = spec.options
        keys = {"limit_key": options.limit_key, "rate_key": options.rate_key}
        named = {option: [key] for option, key in keys.items() if key is not None and key != OF_TENANT}
        named["worker"] = list(fields(options.worker))
        for option, place in places.items():
            for path in named.get(option, ()):
                if spec.payload is not None and (lacks := spec.payload.lacks(path)):
                    self.warnings.append(self.source.mistake(place, f"{option}: {lacks.message}", lacks.hint))

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
            if isinstance(node, ast.Call) and (meaning := self.names.meaning(node.func)) in DECORATORS:
                self.mistake(node, f"{meaning}(…) is only for decorating a function at the top level of a module")

    def _misplaced(self, node: Function | ast.ClassDef, decorator: ast.expr) -> None:
        ours = self._ours(decorator)
        if ours is None or decorator in self.seen:
            return
        self.seen.add(decorator)
        if isinstance(node, ast.ClassDef):
            self.mistake(decorator, f"a class cannot be a {ours.noun}", "decorate a function")
            return
        self.mistake(
            decorator,
            f"{node.name} is nested: a {ours.noun} is a function at the top level of its module",
            "move it out of the function, class or block that it is in",
        )

    def _ours(self, decorator: ast.expr) -> Decorator | None:
        meaning = self.names.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)
        return DECORATORS.get(meaning) if meaning is not None else None

    def _name(self, call: ast.Call, node: Function, ours: Decorator) -> tuple[str | None, Node]:
        given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
        for extra in call.args[1:]:
            self.mistake(extra, f"options of @{ours.word} are written with their names", 'such as worker="media"')
        if not given:
            self.mistake(call, f"@{ours.word} needs a name", ours.example(node))
            return None, call
        place = given[0]
        known, name = self._literal("the name", place)
        if not known:
            return None, place
        problem = name_problem(name, decorator=ours.word, noun=ours.noun)
        if problem:
            self.mistake(place, problem.message, problem.hint)
        return None if problem else str(name), place

    def _values(self, call: ast.Call, ours: Decorator) -> tuple[dict[str, object], dict[str, Node]]:
        """The options that are written, and where each of them stands."""
        values: dict[str, object] = {}
        places: dict[str, Node] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self.mistake(keyword.value, f"options of @{ours.word} are written out, not given with **", _WHY_LITERALS)
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
            self.mistake(keyword, f"{option} is not an option of @{ours.word}", hint)

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
