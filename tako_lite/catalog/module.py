"""Reads one workflow file: its decorated functions, their options, and its imports."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tako_lite.catalog.arguments import Arguments
from tako_lite.catalog.awaits import misused, unawaited
from tako_lite.catalog.bindings import bound_names, replacement
from tako_lite.catalog.decorators import DECORATORS, WORKFLOW, Decorator, Function
from tako_lite.catalog.handlers import generator_problem, misplaced_step, parameter_problems, type_problems
from tako_lite.catalog.names import PUBLIC, Exports, Names, imported_at_import, statements, unknown_imports
from tako_lite.catalog.payload import Records, annotation_of, payload_type, records_of, strict_records
from tako_lite.catalog.schedule import schedule_problem, timezone_problem
from tako_lite.catalog.source import Node, Source
from tako_lite.catalog.specs import TriggerSpec, WorkflowSpec
from tako_lite.catalog.uses import returns_its_argument, stray_uses
from tako_lite.errors import Mistake
from tako_lite.hints import did_you_mean
from tako_lite.options import OF_TENANT, WorkflowOptions, read_options
from tako_lite.routing import Routes
from tako_lite.templates import fields
from tako_lite.trigger_options import EVALUATION, read_trigger_options


class FoundTrigger(NamedTuple):
    """A trigger, with the places of its name and of the name of the workflow that it starts."""

    spec: TriggerSpec
    place: Node
    starts_place: Node


class FoundHook(NamedTuple):
    """The patterns of the option `on_dead` of a workflow, and their place."""

    patterns: tuple[str, ...]
    place: Node


@dataclass(frozen=True, slots=True)
class Module:
    """The contents of one workflow file. `places` has the place of each workflow's name in its decorator."""

    name: str
    source: Source
    workflows: tuple[WorkflowSpec, ...] = ()
    places: tuple[Node, ...] = ()
    imports: tuple[tuple[str, Node], ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    triggers: tuple[FoundTrigger, ...] = ()
    hooks: tuple[FoundHook, ...] = ()

    @property
    def groups(self) -> set[str]:
        """The groups whose workers import the file when they start."""
        return {spec.group for spec in self.workflows} | {found.spec.group for found in self.triggers}


def read_module(
    tree: ast.Module, source: Source, file: Path, name: str, namespace: str, routes: Routes, exports: Exports
) -> Module:
    """Everything that a file declares about workflows; a file without any is empty."""
    nodes, package = statements(tree), package_of(file, name)
    reading = _Reading(source, tree, Names(nodes, package, exports), routes, records_of(tree))
    for alias in unknown_imports(tree):
        hint = did_you_mean(alias.name, PUBLIC) or "its names are " + ", ".join(PUBLIC)
        reading.mistake(alias, f"tako_lite has no {alias.name}", hint)
    for node in tree.body:
        if isinstance(node, Function):
            reading.function(node, file, name, namespace)
    reading.rest(nodes)
    return Module(
        name,
        source,
        tuple(reading.workflows),
        tuple(reading.places),
        tuple(imported_at_import(tree, package)) if reading.workflows or reading.triggers else (),
        tuple(sorted(reading.mistakes, key=lambda mistake: (mistake.line, mistake.column))),
        tuple(reading.warnings),
        tuple(reading.triggers),
        tuple(reading.hooks),
    )


def package_of(file: Path, name: str) -> str:
    """The package that relative imports of a module start from."""
    return name if file.name == "__init__.py" else name.rpartition(".")[0]


@dataclass(slots=True)
class _Reading:
    source: Source
    tree: ast.Module
    names: Names
    routes: Routes
    records: Records
    warnings: list[Mistake] = field(default_factory=list)
    workflows: list[WorkflowSpec] = field(default_factory=list)
    places: list[Node] = field(default_factory=list)
    triggers: list[FoundTrigger] = field(default_factory=list)
    hooks: list[FoundHook] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    arguments: Arguments = field(init=False)
    seen: set[ast.expr] = field(default_factory=set)
    """Decorators that are already checked."""

    def __post_init__(self) -> None:
        self.arguments = Arguments(self.names, self.mistake)

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
        self._decorators_above(node, decorator, ours)
        for problem in parameter_problems(node, ours, self.names):
            self.mistake(*problem)
        self._handler(node, decorator, ours)
        if ours is WORKFLOW and isinstance(node, ast.AsyncFunctionDef):
            for call, words in unawaited(node):
                self.mistake(call, f"{words} is not awaited, so it has no effect", f"write `await {words}`")
        if ours is WORKFLOW:
            self.warnings += [self.source.mistake(*problem) for problem in misused(node)]
        if not isinstance(decorator, ast.Call):
            self.mistake(decorator, f"@{ours.word} needs a name", ours.example(node))
            return
        name, place = self.arguments.name(decorator, node, ours)
        self._replaced(node, ours, name)
        values, places = self.arguments.options(decorator, ours)
        written = frozenset(values)
        spec = WorkflowSpec(name or "", WorkflowOptions(), module, namespace, node.name, file, node.lineno, written)
        if ours is WORKFLOW:
            spec = replace(spec, payload=payload_type(node, self.records), annotation=annotation_of(node))
            self._workflow(spec, place, values, places)
        else:
            self._trigger(spec, place, values, places, decorator)

    def _decorators_above(self, node: Function, decorator: ast.expr, ours: Decorator) -> None:
        """Report decorators that receive the handle instead of the function, and may return anything."""
        for above in node.decorator_list[: node.decorator_list.index(decorator)]:
            if self._ours(above) is None and not returns_its_argument(above, self.tree, self.names):
                written = ast.unparse(above.func if isinstance(above, ast.Call) else above)
                message = f"@{written} above @{ours.word} replaces the {ours.noun} {node.name}, so workers would not find it"
                self.mistake(above, message, f"put it below @{ours.word}")

    def _handler(self, node: Function, decorator: ast.expr, ours: Decorator) -> None:
        """Report a function that a worker could not call. The effect of another decorator on it is not known here."""
        if node.decorator_list[-1] is not decorator:
            return
        if problem := generator_problem(node, ours):
            self.mistake(*problem)
        is_scheduled = isinstance(decorator, ast.Call) and any(
            word.arg == "schedule" and not (isinstance(word.value, ast.Constant) and word.value.value is None)
            for word in decorator.keywords
        )
        records, own = strict_records(self.tree, self.records), bound_names(self.tree)
        for problem in type_problems(node, ours, self.names, own, records, is_scheduled=is_scheduled):
            self.warnings.append(
                self.source.mistake(*problem)
            )  # a warning: runs with another payload, or a stored cursor, do work
        if ours is WORKFLOW and (step := misplaced_step(node, self.names)):
            message = f"the first parameter of {node.name} is named `step`, but receives the payload"
            self.warnings.append(self.source.mistake(step, message, "the step is the second parameter: (payload, step)"))

    def _replaced(self, node: Function, ours: Decorator, name: str | None) -> None:
        """Report a later statement that rebinds the name of a handler."""
        later = self.tree.body[self.tree.body.index(node) + 1 :]
        if found := replacement(node.name, later):
            what = f'the {ours.noun} "{name or node.name}" of line {node.lineno}'
            by = self._named(found.place) or found.by
            message = f"{by} rebinds the name `{node.name}` of {what}, so workers would not find it"
            self.mistake(found.place, message, "rename one of the two")

    def _named(self, place: object) -> str | None:
        """A workflow or trigger by its name, for messages."""
        if isinstance(place, Function):
            for decorator in place.decorator_list:
                ours = self._ours(decorator)
                if ours and isinstance(decorator, ast.Call) and decorator.args and isinstance(decorator.args[0], ast.Constant):
                    return f'the {ours.noun} "{decorator.args[0].value!s}"'
        return None

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
            if options.on_dead:
                self.hooks.append(FoundHook(options.on_dead, places["on_dead"]))
            self._fields(spec, places)

    def _trigger(
        self, spec: WorkflowSpec, place: Node, values: Mapping[str, object], places: Mapping[str, Node], decorator: Node
    ) -> None:
        options, problems = read_trigger_options(values)
        for option, problem in problems.items():
            if option in values or option not in places:  # an option that is not a literal was reported already
                self.mistake(places.get(option, decorator), problem.message, problem.hint)
        if spec.name:
            # An evaluation waits for its group and does not fall back; rules and namespaces only choose the group.
            own = WorkflowOptions(worker=options.worker, retries=0, timeout=options.timeout, fallback="wait")
            routed = replace(spec, options=own).routed(self.routes)
            evaluation = replace(routed, name=f"{EVALUATION}{spec.name}", options=own)
            found = TriggerSpec(spec.name, options, evaluation)
            self.triggers.append(FoundTrigger(found, place, places.get("starts", decorator)))

    def _fields(self, spec: WorkflowSpec, places: Mapping[str, Node]) -> None:
        """Warn about options that name a field which the payload cannot have."""
        options = spec.options
        keys = {"limit_key": options.limit_key, "rate_key": options.rate_key}
        named = {option: [key] for option, key in keys.items() if key is not None and key != OF_TENANT}
        named["worker"] = list(fields(options.worker))
        for option, place in places.items():
            for path in named.get(option, ()):
                if spec.payload is not None and (lacks := spec.payload.lacks(path)):
                    self.warnings.append(self.source.mistake(place, f"{option}: {lacks.message}", lacks.hint))

    def rest(self, nodes: list[ast.stmt]) -> None:
        """Report other uses of the decorators: workers would not find their handlers."""
        for node in nodes:
            if isinstance(node, Function | ast.ClassDef):
                for decorator in node.decorator_list:
                    self._misplaced(node, decorator)
        for use, meaning in stray_uses(self.tree, self.names):
            self.mistake(use, f"{meaning}(…) can only decorate a function at the top level of a module")

    def _misplaced(self, node: Function | ast.ClassDef, decorator: ast.expr) -> None:
        ours = self._ours(decorator)
        if ours is None or decorator in self.seen:
            return
        self.seen.add(decorator)
        if isinstance(node, ast.ClassDef):
            self.mistake(decorator, f"a class is not a {ours.noun}", "decorate a function")
            return
        self.mistake(
            decorator,
            f"{node.name} is nested: a {ours.noun} is a function at the top level of its module",
            "move it out of the function, class or block that it is in",
        )

    def _ours(self, decorator: ast.expr) -> Decorator | None:
        meaning = self.names.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)
        return DECORATORS.get(meaning) if meaning is not None else None
