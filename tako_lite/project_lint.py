"""Compares tako.toml with the workflow files. Reports contradictions, and settings that are probably not intended."""

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
"""The path of a table in tako.toml: `("defaults", 0)`, `("tenants", "acme")`."""


def read_catalog(config: Config) -> Catalog:
    """Scan the workflow files of a project. Raises CatalogError, and ConfigError if a table names an unknown group."""
    catalog = scan(config.workflows_path, config.root, config.routes, pythons(config, all_files=True))
    if wrong := (*misrouted(config, catalog.groups), *_wrong_setups(config)):
        raise ConfigError(wrong)
    if wrong := tuple(_unknown_groups(config, catalog)):
        raise CatalogError(wrong)
    return catalog


def pythons(config: Config, *, all_files: bool = False) -> Pythons:
    """The interpreters of the groups. With `all_files`, each interpreter parses all files of its groups."""
    named = dict.fromkeys(settings.python for settings in config.groups.values() if settings.python is not None)
    return Pythons(tuple(named), lambda group: config.group(group).python, all_files)


def mistakes(config: Config, catalog: Catalog, *, whole: bool) -> tuple[Mistake, ...]:
    """The tables that name a group or a function that does not exist, and the hooks that name such a group.

    If `whole` is false, some files have mistakes and are not in the catalog. Any group whose name occurs in a file is then
    taken to exist, because a file with a mistake may define it.
    """
    if whole or config.document is None:
        return (*misrouted(config, catalog.groups), *_wrong_setups(config), *_unknown_groups(config, catalog))
    texts = [file.read_bytes() for file in catalog.files if os.access(file, os.R_OK)]
    mentioned = {name for name in config.routes.named_groups if any(name.encode() in text for text in texts)}
    tables = config.document.tables.get("workflows")
    known = {*catalog.groups, *mentioned, *(tables if isinstance(tables, dict) else ())}
    return (*misrouted(config, known), *_wrong_setups(config))


def _wrong_setups(config: Config) -> Iterator[Mistake]:
    """The settings `setup` and `teardown` whose function is certainly missing."""
    for path, said in config.tables.items():
        for key in ("setup", "teardown"):
            entry = said.get(key)
            if entry is not None and config.document is not None and (problem := function_problem(entry, config.root)):
                yield config.document.mistake((*path, key), f"`{key}`: {problem.message}", problem.hint)


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

    If `whole` is false, some files have mistakes. Warnings that may only be a consequence of them are then omitted, such as
    that no workflow uses a table.
    """
    found = [*config.warnings, *catalog.warnings]
    if whole:
        found += unreachable(config, catalog.named)
    specs = _handlers(catalog)
    if config.document is not None and specs:
        found += _misspelled_groups(config, specs)
        found += _without_required_tenant(config, catalog)
        if whole:
            found += _of_tables(config, config.document, specs)
    return tuple(found)


def _of_tables(config: Config, document: Document, specs: Sequence[WorkflowSpec]) -> list[Mistake]:
    """Warnings about tables that no workflow uses, in the order of the file."""
    by_table = _workflows_by_table(config.routes, specs)
    tables = [
        *_unmatched(document, config.routes, specs),
        *_overruled(document, config.routes, specs, by_table),
        *_unfillable(document, config.routes, by_table),
        *_excluded_tenants(document, config.routes, specs),
    ]
    return sorted(tables, key=lambda warning: (warning.line, warning.column))


def _misspelled_groups(config: Config, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Groups that only a decorator names, and whose name differs by a letter or two from a used group with a table."""
    used = [group for group in config.groups if any(spec.group == group for spec in specs)]
    for spec in specs:
        name = spec.options.worker
        if "worker" in spec.written and name not in config.groups and not is_template(name):
            meant = slip_of(name, used)
            if meant is not None:
                message = f"workflow {spec.name} uses group `{name}`, which has no {label(('workflows', name))} table"
                yield _at(spec, config.root, message, f"did you mean `{meant}`?")


def _without_required_tenant(config: Config, catalog: Catalog) -> Iterator[Mistake]:
    """Triggers, schedules and hooks whose group has `allowed_tenants`. Their runs have no tenant, so the group refuses them."""
    made: list[tuple[WorkflowSpec, WorkflowSpec, str]] = []
    for spec in catalog.workflows.values():
        if spec.options.schedule is not None:
            made.append((spec, spec, f"no run of the schedule of {spec.name} is executed"))
        if spec.options.is_hook:
            made.append((spec, spec, f"no run of the hook {spec.name} is executed"))
    for trigger in catalog.triggers.values():
        place, started = trigger.evaluation, catalog.workflows.get(trigger.options.starts)
        made.append((place, place, f"the trigger {trigger.name} is never evaluated"))
        if started is not None:  # an unknown workflow is a mistake
            made.append((place, started, f"no run that the trigger {trigger.name} starts is executed"))
    for place, spec, what in made:
        group = next((name for name, _ in spec.plan.groups), DEFAULT)
        allowed = None if is_template(group) else config.routes.policy_of(group).allowed
        if allowed is not None:
            message = (
                f"{what}: it has no tenant, and the group {group} is for {', '.join(allowed) or 'no tenant'} (allowed_tenants)"
            )
            yield _at(place, config.root, message, "choose another group for it")


def _at(spec: WorkflowSpec, root: os.PathLike[str], message: str, hint: str) -> Mistake:
    """A mistake at the function of a workflow or trigger."""
    return Mistake(_file(spec, root), spec.line, 1, message, hint=hint)


def _file(spec: WorkflowSpec, root: os.PathLike[str]) -> str:
    return str(spec.file.relative_to(root) if spec.file.is_relative_to(root) else spec.file)


def _handlers(catalog: Catalog) -> list[WorkflowSpec]:
    """The workflows and the triggers. Rules and namespaces treat both alike: by name, folder and group."""
    triggers = [replace(trigger.evaluation, name=trigger.name) for trigger in catalog.triggers.values()]
    return [*catalog.workflows.values(), *triggers]


class Undefined(NamedTuple):
    """A workflow that no file defines, although `runs` of its runs are in the queue."""

    runs: int
    workflow: str

    @property
    def message(self) -> str:
        """The problem, as a sentence."""
        verb = "waits" if self.runs == 1 else "wait"
        return f"{counted(self.runs, 'run')} of {self.workflow} {verb}, and no workflow file defines {self.workflow} any more"

    @property
    def remedy(self) -> str:
        """The remedy, as a sentence."""
        return f"define it again, or tako-lite cancel --workflow {self.workflow}"

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})"


def undefined(catalog: Catalog, queued: Mapping[str, int]) -> list[Undefined]:
    """The workflows that no file defines, among those in the queue; `queued` has the number of runs of each workflow."""
    gone = queued.keys() - catalog.workflows.keys()
    return [Undefined(queued[name], name) for name in sorted(gone) if not name.startswith(EVALUATION)]


def naming(config: Config, catalog: Catalog, group: str) -> list[str]:
    """The places that send runs to a group, such as `workflows/image.py:12 (resize)`, except the group's own tables."""
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


def _workflows_by_table(routes: Routes, specs: Sequence[WorkflowSpec]) -> Mapping[Path, list[WorkflowSpec]]:
    """The workflows whose runs may get their group from a table, by the path of the table."""
    by_table: dict[Path, list[WorkflowSpec]] = defaultdict(list)
    for spec in specs:
        for name, _, path in routes.candidates(spec.name, spec.namespace, spec.options, spec.written):
            by_table[path].append(spec)
            if not is_template(name):
                break
        else:
            for tenant in routes.tenants:
                by_table["tenants", tenant].append(spec)
    return by_table


def _unmatched(document: Document, routes: Routes, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Rules and namespaces that match no workflow."""
    matched = {rule for spec in specs for rule in routes.matching(spec.name)}
    names = [spec.name for spec in specs]
    for rule in routes.rules:
        if rule not in matched:
            hint = did_you_mean(rule.match, names) or "run tako-lite workflows for their names"
            yield document.mistake(("defaults", rule.place, "match"), "this rule matches no workflow", hint)
    spaces = {spec.namespace for spec in specs}
    for name in routes.namespaces:
        if not any(f"{space}.".startswith(f"{name}.") for space in spaces):
            message = f"{label(('namespaces', name))}: no workflow file is in this folder or its subfolders"
            hint = did_you_mean(name, spaces - {""}) or f"it is for files such as {name.replace('.', '/')}/NAME.py"
            yield document.mistake(("namespaces", name), message, hint, at_key=True)


def _overruled(
    document: Document, routes: Routes, specs: Sequence[WorkflowSpec], by_table: Mapping[Path, Sequence[WorkflowSpec]]
) -> Iterator[Mistake]:
    """Tables that name a group without effect, because another source takes precedence for each run."""
    for path, _ in routes.tables():
        if path not in by_table and _concerns_any(path, routes, specs):
            message = "no run gets its group from here: decorators or other tables take precedence for all workflows"
            hint = "forced = true lets a rule win over decorators" if path[0] == "defaults" else "remove this `worker`"
            yield document.mistake((*path, "worker"), message, hint)


def _concerns_any(path: Path, routes: Routes, specs: Sequence[WorkflowSpec]) -> bool:
    if path[0] == "defaults":
        return any(rule.place == path[1] for spec in specs for rule in routes.matching(spec.name))
    return path[0] == "tenants" or any(f"{spec.namespace}.".startswith(f"{path[1]}.") for spec in specs)


def _unfillable(document: Document, routes: Routes, by_table: Mapping[Path, Sequence[WorkflowSpec]]) -> Iterator[Mistake]:
    """Templates in tables with a field that no payload of their workflows has."""
    for path, worker in routes.tables():
        for field in fields(worker):
            lacks = [spec.payload.lacks(field) if spec.payload is not None else None for spec in by_table.get(path, ())]
            if lacks and all(lacks) and (first := lacks[0]):
                yield document.mistake((*path, "worker"), first.message, first.hint)


def _excluded_tenants(document: Document, routes: Routes, specs: Sequence[WorkflowSpec]) -> Iterator[Mistake]:
    """Tenants for whom no workflow can run, except with `enqueue --worker`."""
    for name, tenant in routes.tenants.items():
        groups = set()
        for spec in specs:
            named = [group for group, _ in spec.plan.groups] + [tenant.group or DEFAULT]
            if is_template(named[0]):
                break  # the group depends on the payload
            groups.add(named[0])
        else:
            allowed_tenants = [routes.policy_of(group).allowed for group in groups]
            if all(allowed is not None and name not in allowed for allowed in allowed_tenants):
                message = f"{label(('tenants', name))}: no workflow runs for this tenant"
                hint = f"add it to the allowed_tenants of: {', '.join(sorted(groups))}"
                yield document.mistake(("tenants", name), message, hint, at_key=True)
