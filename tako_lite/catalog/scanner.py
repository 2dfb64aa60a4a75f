"""Scanning a folder of workflow files into a catalog, with every mistake at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tako_lite.catalog.files import Stamp, python_files
from tako_lite.catalog.module import Module, read_module
from tako_lite.catalog.source import Node, Unparsable, parse
from tako_lite.catalog.specs import Catalog, TriggerSpec, WorkflowSpec
from tako_lite.errors import CatalogError, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.routing import Routes

NO_ROUTES: Final = Routes()


def scan(path: Path, root: Path, routes: Routes = NO_ROUTES) -> Catalog:
    """The catalog of the workflow files under `path`, read without importing them, routed as tako.toml says.

    `root` is the folder that file names in messages start from. A folder that is not there is an empty catalog with a
    warning. Raises CatalogError with all mistakes.
    """
    catalog, mistakes = survey(path, root, routes)
    if mistakes:
        raise CatalogError(mistakes)
    return catalog


def survey(path: Path, root: Path, routes: Routes = NO_ROUTES) -> tuple[Catalog, Sequence[Mistake]]:
    """The catalog as far as it can be read, and all mistakes."""
    # Not Path.resolve: a link to a folder elsewhere keeps the name and the place that the link has.
    return _Scanner(Path(os.path.abspath(path)), Path(os.path.abspath(root)), routes).scan()  # noqa: PTH100


class _Scanner:
    def __init__(self, folder: Path, root: Path, routes: Routes) -> None:
        self.folder = folder
        self.root = root
        self.routes = routes
        self.files: dict[Path, Stamp] = {}
        self.modules: list[Module] = []
        self.mistakes: list[Mistake] = []

    def scan(self) -> tuple[Catalog, Sequence[Mistake]]:
        if not self.folder.exists():
            missing = Mistake(self.shown(self.folder), 0, 0, "there is no such folder, so there are no workflows")
            return Catalog(self.root, {}, (missing,)), ()
        self.files.update(python_files(self.folder, self.unreadable))
        for file in self.files:
            self.read(file)
        workflows = self.by_name()
        triggers = self.triggers(workflows)
        self.check_package()
        warnings = [warning for module in self.modules for warning in module.warnings]
        warnings += _imports_of_other_groups(self.modules)
        return Catalog(self.root, workflows, tuple(warnings), self.files, triggers), self.mistakes

    def shown(self, file: Path) -> str:
        return str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)

    def unreadable(self, error: OSError) -> None:
        file = self.shown(Path(error.filename or self.folder))
        self.mistakes.append(Mistake(file, 0, 0, f"cannot be read: {error.strerror}"))

    def read(self, file: Path) -> None:
        try:
            raw = file.read_bytes()
        except FileNotFoundError:  # gone since it was listed
            return
        except OSError as error:
            self.unreadable(error)
            return
        if b"tako_lite" not in raw:  # whoever decorates a workflow has imported the decorator
            return
        parts = file.relative_to(self.folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        name = ".".join([self.folder.name, *parts])
        namespace = ".".join(file.relative_to(self.folder).parent.parts)
        try:
            source, tree = parse(raw, self.shown(file))
        except Unparsable as error:
            self.mistakes.append(error.mistake)
            return
        module = read_module(tree, source, file, name, namespace, self.routes)
        self.modules.append(module)
        self.mistakes += module.mistakes
        if module.groups:
            self.check_importable(module, file, parts)

    def check_importable(self, module: Module, file: Path, parts: Sequence[str]) -> None:
        for part in parts:
            if not part.isidentifier():
                hint = f"rename {part} to {_as_identifier(part)}"
                message = f"the module {part!r} cannot be imported: its name is not an identifier"
                self.mistakes.append(module.source.mistake_at(1, 1, message, hint))
        for folder in file.parents[: len(file.relative_to(self.folder).parents) - 1]:
            if (twin := folder.with_name(f"{folder.name}.py")) in self.files:
                message = f"{self.shown(twin)} and the folder {self.shown(folder)} have one name; only one can be imported"
                self.mistakes.append(module.source.mistake_at(1, 1, message, "rename one of them"))

    def check_package(self) -> None:
        """Complain about a folder that could not be imported, or whose name would hide a module of Python's."""
        name = self.folder.name
        if not any(module.groups for module in self.modules):
            return
        if not name.isidentifier():
            message = f"the folder {name!r} cannot be imported: its name is not an identifier"
            self.mistakes.append(Mistake(self.shown(self.folder), 0, 0, message, hint=f"rename it to {_as_identifier(name)}"))
        elif name in sys.stdlib_module_names or name == "tako_lite":
            message = f"the folder has the name of the module {name}, and would hide it or be hidden by it"
            self.mistakes.append(Mistake(self.shown(self.folder), 0, 0, message, hint="rename it, to workflows for one"))

    def by_name(self) -> dict[str, WorkflowSpec]:
        workflows: dict[str, WorkflowSpec] = {}
        for module in self.modules:
            for spec, place in zip(module.workflows, module.places, strict=True):
                first = workflows.setdefault(spec.name, spec)
                if first is not spec:
                    self.two_of_one_name(module, place, f'two workflows are named "{spec.name}"', first)
        return workflows

    def triggers(self, workflows: Mapping[str, WorkflowSpec]) -> dict[str, TriggerSpec]:
        """The triggers by their names; each has a name of its own, and starts a workflow that there is."""
        triggers: dict[str, TriggerSpec] = {}
        for module in self.modules:
            for spec, place, starts_place in module.triggers:
                first = triggers.setdefault(spec.name, spec)
                if first is not spec:
                    self.two_of_one_name(module, place, f'two triggers are named "{spec.name}"', first.evaluation)
                elif twin := workflows.get(spec.name):
                    self.two_of_one_name(module, place, f'a workflow is named "{spec.name}" too', twin)
                if (starts := spec.options.starts) and starts not in workflows:
                    hint = did_you_mean(starts, workflows) or "a trigger starts runs of a workflow"
                    self.mistakes.append(module.source.mistake(starts_place, f'no workflow is named "{starts}"', hint))
        return triggers

    def two_of_one_name(self, module: Module, place: Node, message: str, other: WorkflowSpec) -> None:
        where = f"{self.shown(other.file)}:{other.line}"
        self.mistakes.append(module.source.mistake(place, f"{message}; the other is at {where}"))


def _imports_of_other_groups(modules: Sequence[Module]) -> list[Mistake]:
    """A warning for each module that makes a group load workflows of another group, with all that those import."""
    groups = {module.name: module.groups for module in modules if module.groups}
    warnings = []
    for module in modules:
        own = groups.get(module.name, set())
        for imported, place in module.imports:
            others = groups.get(imported, own)
            if own - others:
                loader, owner = ", ".join(sorted(own - others)), ", ".join(sorted(others))
                message = f"workers of {loader} import {imported} too, which is {owner}'s, with everything that it imports"
                warnings.append(module.source.mistake(place, message, "enqueue the workflow by its name instead"))
    return warnings


def _as_identifier(name: str) -> str:
    made = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name)
    return made if made.isidentifier() else f"_{made}"
