"""Compares tako.toml with the workflow files: reports contradictions, and settings that are probably not intended."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tako_lite.catalog import Catalog, Pythons, WorkflowSpec, scan
from tako_lite.catalog.functions import function_problem
from tako_lite.config import Config, misrouted, unreachable
from tako_lite.config.document import Document
from tako_lite.config.settings import label
from tako_lite.errors import CatalogError, ConfigError, Mistake
from tako_lite.hints import did_you_mean, slip_of
from tako_lite.routing import DEFAULT, Routes
from tako_lite.templates import fields, is_template
from tako_lite.trigger_options import EVALUATION
from tako_lite.units import counted

Path = tuple[str | int, ...]
"""A table's place in tako.toml: `("defaults", 0)`, `("tenants", "acme")`."""


def read_catalog(config: Config) -> Catalog:
    """The workflow files of a project. Raises CatalogError, and ConfigError where a table names what does not exist."""
    catalog = scan(config.workflows_path, config.root, config.routes, pythons(config, all_files=True))
    if wrong := (*misrouted(config, catalog.groups), *_wrong_setups(config)):
        raise ConfigError(wrong)
    if wrong := tuple(_unknown_groups(config, catalog)):
        raise CatalogError(wrong)
    return catalog


def pythons(config: Config, *, all_files: bool = False) -> Pythons:
    """The interpreters of the groups; with `all_files` each of them is to read all files of its groups."""
    named = dict.fromkeys(settings.python for settings in config.groups.values() if settings.python is not None)
    return Pythons(tuple(named), lambda group: config.group(group).python, all_files)


def mistakes(config: Config, catalog: Catalog, *, whole: bool) -> tuple[Mistake, ...]:
    """The tables that name a group or a function which does not exist, and the hooks that name such a group.

    Where the files are not read as a `whole`, since they have other mistakes, a group that they mention may be one: that
    nothing defines it would follow from those.
    """
    if whole or config.document is None:
        return (*misrouted(config, catalog.groups), *_wrong_setups(config), *_unknown_groups(config, catalog))
    texts = [file.read_bytes() for file in catalog.files if os.access(file, os.R_OK)]
    mentioned = {name for name in config.routes.named_groups if any(name.encode() in text for text in texts)}
    tables = config.document.tables.get("workflows")
    known = {*catalog.groups, *mentioned, *(tables if isinstance(tables, dict) else ())}
    return (*misrouted(config, known), *_wrong_setups(config))


def _wrong_setups(config: Config) -> Iterator[Mistake]:
    """The settings `setup` whose function is certainly missing."""
    for path, said in config.tables.items():
        entry = said.get("setup")
        if entry is not None and config.document is not None and (problem := function_problem(entry, config.root)):
            yield config.document.mistake((*path, "setup"), f"`setup`: {problem.message}", problem.hint)


def _unknown_groups(config: Config, catalog: Catalog) -> Iterator[Mistake]:
    """The hooks for groups that do not exist."""
    known = {DEFAULT, *config.groups, *catalog.groups}
    for spec in catalog.workflows.values():
        for name in spec.options.on_unhealthy:
            if "*" not in name and name not in known:
                message = f"on_unhealthy of {spec.name}: there is no worker group {name!r}"
                yield _at(spec, config.root, message, did_you_mean(name, known) or f"groups: {', '.join(sorted(known))}")


def warnings(config: Config, catalog: Catalog, *, whole: bool = True) -> tuple[Mistake, ...]:
    """Warnings about everything that is valid but probably not intended.

    Where the files are not read as a `whole`, since they have mistakes, nothing is said that may only follow from those: that
    nothing uses a table, for one.
    """
    found = [*config.warnings, *catalog.warnings]
    if whole:
        found += unreachable(config, catalog.named)
    specs = _handlers(catalog)
    if config.document is not None and specs:
        found += _mistyped(config, specs)
        found += _without_tenant(config, catalog)
        if whole:
            found += _of_tables(config, config.document, specs)
    return tuple(found)


def _of_tables(config: Config, document: Document, specs: Sequence[WorkflowSpec]) -> list[Mistake]:
    """Warnings of tables that no workflow uses, in the order of the file."""
    takers = _takers(config.routes, specs)
    tables = [
        *_unmatched(document, config.routes, specs),
        *_unheard(document, config.routes, specs, takers),
        *_never_filled(document, config.routes, takers),
        *_shut_out(document, config.routes, specs),
    ]
    return sorted(tables, key=lambda warning: (warning.line, warning.column))


def _mistyped(config: Config, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Groups that only a decorator names, and whose names are a letter or two away from one with a table that others use."""
    used = [group for group in config.groups if any(spec.group == group for spec in specs)]
    for spec in specs:
        name = spec.options.worker
        if "worker" in spec.written and name not in config.groups and not is_template(name):
            meant = slip_of(name, used)
            if meant is not None:
                message = f"workflow {spec.name} uses group `{name}`, which has no {label(('workflows', name))} table"
                yield _at(spec, config.root, message, f"did you mean `{meant}`?")


def _without_tenant(config: Config, catalog: Catalog) -> Iterator[Mistake]:
    """Triggers, schedules and hooks: what they make has no tenant, so no group takes it that is for some tenants alone."""
    made: list[tuple[WorkflowSpec, WorkflowSpec, str]] = []
    for spec in catalog.workflows.values():
        if spec.options.schedule is not None:
            made.append((spec, spec, f"no run of the schedule of {spec.name} is executed"))
        if spec.options.is_hook:
            made.append((spec, spec, f"no run of the hook {spec.name} is executed"))
    for trigger in catalog.triggers.values():
        place, started = trigger.evaluation, catalog.workflows.get(trigger.options.starts)
        made.append((place, place, f"the trigger {trigger.name} is never evaluated"))
        if started is not None:  # where it is missing, that is a mistake
            made.append((place, started, f"no run that the trigger {trigger.name} starts is executed"))
    for place, spec, what in made:
        group = next((name for name, _ in spec.plan.groups), DEFAULT)
        allowed = None if is_template(group) else config.routes.policy_of(group).allowed
        if allowed is not None:
            message = (
                f"{what}: it has no tenant, and the group {group} is for {', '.join(allowed) or 'no tenant'} (allowed_tenants)"
            )
            yield _at(place, config.root, message, "name another group for it")


def _at(spec: WorkflowSpec, root: os.PathLike[str], message: str, hint: str) -> Mistake:
    """A mistake at the function of a workflow or trigger."""
    return Mistake(_file(spec, root), spec.line, 1, message, hint=hint)


def _file(spec: WorkflowSpec, root: os.PathLike[str]) -> str:
    return str(spec.file.relative_to(root) if spec.file.is_relative_to(root) else spec.file)


def _handlers(catalog: Catalog) -> list[WorkflowSpec]:
    """Workflows, and triggers as what they are to rules and namespaces: they have a name, a folder and a group."""
    triggers = [replace(trigger.evaluation, name=trigger.name) for trigger in catalog.triggers.values()]
    return [*catalog.workflows.values(), *triggers]


class Undefined(NamedTuple):
    """Runs in the queue whose workflow no file defines any more: how many runs, and the name of the workflow."""

    runs: int
    workflow: str

    @property
    def message(self) -> str:
        """The problem, in a sentence."""
        verb = "waits" if self.runs == 1 else "wait"
        return f"{counted(self.runs, 'run')} of {self.workflow} {verb}, and no workflow file defines {self.workflow} any more"

    @property
    def remedy(self) -> str:
        """The remedy, in a sentence."""
        return f"define it again, or tako-lite cancel --workflow {self.workflow}"

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})"


def undefined(catalog: Catalog, queued: Mapping[str, int]) -> list[Undefined]:
    """The workflows that have runs in the queue, which are given by their number, and that no file defines."""
    gone = queued.keys() - catalog.workflows.keys()
    return [Undefined(queued[name], name) for name in sorted(gone) if not name.startswith(EVALUATION)]


def naming(config: Config, catalog: Catalog, group: str) -> list[str]:
    """The places that name a group for runs, such as `workflows/image.py:12 (@workflow)`; not its own tables."""
    places = [
        f"{_file(spec, catalog.root)}:{spec.line} ({spec.name})"
        for spec in sorted(_handlers(catalog), key=lambda spec: (spec.file, spec.line))
        if spec.options.worker == group and "worker" in spec.written
    ]
    if config.document is not None:
        for path, worker in config.routes.tables():
            if worker == group:
                place = config.document.mistake((*path, "worker"), "")
                places.append(f"{place.file}:{place.line} ({_table_name(path)})")
    return places


def _table_name(path: Path) -> str:
    return "[[defaults]]" if path[0] == "defaults" else label((str(path[0]), str(path[1])))


def _takers(routes: Routes, specs: Sequence[WorkflowSpec]) -> Mapping[Path, list[WorkflowSpec]]:
    """The workflows whose runs may get their group from a table, by its place."""
    takers: dict[Path, list[WorkflowSpec]] = defaultdict(list)
    for spec in specs:
        for name, _, path in routes.candidates(spec.name, spec.namespace, spec.options, spec.written):
            takers[path].append(spec)
            if not is_template(name):
                break
        else:
            for tenant in routes.tenants:
                takers["tenants", tenant].append(spec)
    return takers


def _unmatched(document: Document, routes: Routes, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Rules and namespaces without a workflow."""
    matched = {rule for spec in specs for rule in routes.matching(spec.name)}
    names = [spec.name for spec in specs]
    for rule in routes.rules:
        if rule not in matched:
            hint = did_you_mean(rule.match, names) or "run tako-lite workflows for their names"
            yield document.mistake(("defaults", rule.place, "match"), "this rule matches no workflow", hint)
    spaces = {spec.namespace for spec in specs}
    for name in routes.namespaces:
        if not any(f"{space}.".startswith(f"{name}.") for space in spaces):
            message = f"{label(('namespaces', name))}: no workflow file lies in this folder or below"
            hint = did_you_mean(name, spaces - {""}) or f"it is for files such as {name.replace('.', '/')}/NAME.py"
            yield document.mistake(("namespaces", name), message, hint, at_key=True)


def _unheard(
    document: Document, routes: Routes, specs: Sequence[WorkflowSpec], takers: Mapping[Path, Sequence[WorkflowSpec]]
) -> Iterator[Mistake]:
    """Tables whose group no run gets, because an earlier source names one for each."""
    for path, _ in routes.tables():
        if path not in takers and _is_about_any(path, routes, specs):
            message = "no run gets its group from here: decorators or other tables, which come first, name one for each"
            hint = "forced = true lets a rule win over decorators" if path[0] == "defaults" else "remove this `worker`"
            yield document.mistake((*path, "worker"), message, hint)


def _is_about_any(path: Path, routes: Routes, specs: Sequence[WorkflowSpec]) -> bool:
    if path[0] == "defaults":
        return any(rule.place == path[1] for spec in specs for rule in routes.matching(spec.name))
    return path[0] == "tenants" or any(f"{spec.namespace}.".startswith(f"{path[1]}.") for spec in specs)


def _never_filled(document: Document, routes: Routes, takers: Mapping[Path, Sequence[WorkflowSpec]]) -> Iterator[Mistake]:
    """Templates in tables with a field that no payload of their workflows can have."""
    for path, worker in routes.tables():
        for field in fields(worker):
            lacks = [spec.payload.lacks(field) if spec.payload is not None else None for spec in takers.get(path, ())]
            if lacks and all(lacks) and (first := lacks[0]):
                yield document.mistake((*path, "worker"), first.message, first.hint)


def _shut_out(document: Document, routes: Routes, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Tenants for whom no workflow can run, but by `enqueue --worker`."""
    for name, tenant in routes.tenants.items():
        groups = set()
        for spec in specs:
            named = [group for group, _ in spec.plan.groups] + [tenant.group or DEFAULT]
            if is_template(named[0]):
                break  # it depends on the payload
            groups.add(named[0])
        else:
            gates = [routes.policy_of(group).allowed for group in groups]
            if all(allowed is not None and name not in allowed for allowed in gates):
                message = f"{label(('tenants', name))}: no workflow runs for this tenant"
                hint = f"add it to the allowed_tenants of: {', '.join(sorted(groups))}"
                yield document.mistake(("tenants", name), message, hint, at_key=True)
