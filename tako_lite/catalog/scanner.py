"""Scans a folder of workflow files into a catalog, and reports all mistakes at once."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tako_lite.catalog.files import python_files
from tako_lite.catalog.interpreters import Fault, Pythons
from tako_lite.catalog.module import Module, package_of, read_module
from tako_lite.catalog.names import Exports, Names, statements
from tako_lite.catalog.source import Node, Source, Unreadable, parse, read_source
from tako_lite.catalog.specs import Catalog, TriggerSpec, WorkflowSpec
from tako_lite.catalog.versions import Versions
from tako_lite.errors import CatalogError, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.routing import Routes
from tako_lite.stamps import FileStamp

NO_ROUTES: Final = Routes()
OWN_PYTHON: Final = Pythons()
NOTHING_UNSAVED: Final[Mapping[Path, bytes]] = {}
_UNSAVED: Final = FileStamp(0, 0, 0)


def scan(path: Path, root: Path, routes: Routes = NO_ROUTES, pythons: Pythons = OWN_PYTHON) -> Catalog:
    """The catalog of the workflow files under `path`, read without importing them, with the routing of tako.toml.

    `root` is the folder that file names in messages are relative to. If `path` does not exist, the catalog is empty, with a
    warning. Raises CatalogError with all mistakes.
    """
    catalog, mistakes = survey(path, root, routes, pythons)
    if mistakes:
        raise CatalogError(mistakes)
    return catalog


def survey(
    path: Path,
    root: Path,
    routes: Routes = NO_ROUTES,
    pythons: Pythons = OWN_PYTHON,
    unsaved: Mapping[Path, bytes] = NOTHING_UNSAVED,
) -> tuple[Catalog, Sequence[Mistake]]:
    """As much of the catalog as can be read, and all mistakes; the text of `unsaved` files stands for that on the disk."""
    # Not Path.resolve: a file reached through a link keeps the name and the place of the link.
    folder, top = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100
    return _Scanner(folder, top, routes, Versions(pythons), unsaved).scan()


@dataclass(slots=True)
class _File:
    """A readable file: its place, its module's name and the parts of that name, and its tree once it is parsed."""

    path: Path
    source: Source
    name: str
    parts: Sequence[str]
    tree: ast.Module | None = None
    nodes: list[ast.stmt] = field(default_factory=list)

    def take(self, tree: ast.Module) -> None:
        """The workflows and triggers of the file."""
        self.tree, self.nodes = tree, statements(tree)

    def names(self, exports: Exports) -> Names:
        """The meanings of the file's names."""
        return Names(self.nodes, package_of(self.path, self.name), exports)

    @property
    def mentions_us(self) -> bool:
        """Whether the file may import anything from tako_lite itself."""
        return "tako_lite" in self.source.text


class _Scanner:
    def __init__(self, folder: Path, root: Path, routes: Routes, versions: Versions, unsaved: Mapping[Path, bytes]) -> None:
        self.unsaved = unsaved
        self.folder = folder
        self.root = root
        self.routes = routes
        self.versions = versions
        self.files: dict[Path, FileStamp] = {}
        self.modules: list[Module] = []
        self.mistakes: list[Mistake] = []

    def scan(self) -> tuple[Catalog, Sequence[Mistake]]:
        if not self.folder.exists() and not self.unsaved:
            missing = Mistake(self.shown(self.folder), 0, 0, "the folder does not exist, so there are no workflows")
            return Catalog(self.root, {}, (missing,)), ()
        if self.folder.exists():
            self.files.update(python_files(self.folder, self.unreadable))
        for file in self.unsaved:  # last, so that a name which another file has too is a mistake of this one
            self.files.pop(file, None)
            self.files[file] = _UNSAVED
        self.read(self.parsed())
        workflows = self.by_name()
        triggers = self.triggers(workflows)
        self.check_hooks(workflows)
        self.check_package()
        warnings = [warning for module in self.modules for warning in module.warnings]
        warnings += [*_imports_of_other_groups(self.modules), *self.versions.warnings]
        self.mistakes.sort(key=lambda mistake: mistake.file)
        return Catalog(self.root, workflows, tuple(warnings), self.files, triggers), self.mistakes

    def parsed(self) -> list[_File]:
        """Every file with its tree; a file that no interpreter can parse is a mistake."""
        files = [found for path in self.files if (found := self.opened(path))]
        broken: list[tuple[_File, Fault]] = []
        for file in files:
            tree = parse(file.source)
            if isinstance(tree, ast.Module):
                file.take(tree)
            else:
                broken.append((file, tree))
        answers = self.versions.read([(file.source, fault) for file, fault in broken])
        for (file, _), answer in zip(broken, answers, strict=True):
            if isinstance(answer, ast.Module):
                file.take(answer)
            else:
                self.mistakes.append(answer)
        return [file for file in files if file.tree is not None]

    def opened(self, path: Path) -> _File | None:
        parts = path.relative_to(self.folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        try:
            source = read_source(self.unsaved[path] if path in self.unsaved else path.read_bytes(), self.shown(path))
        except FileNotFoundError:  # deleted since it was listed
            return None
        except OSError as error:
            self.unreadable(error)
            return None
        except Unreadable as error:
            self.mistakes.append(error.mistake)
            return None
        return _File(path, source, ".".join([self.folder.name, *parts]), parts)

    def read(self, files: Sequence[_File]) -> None:
        """Collect what the files define. The group of each workflow and trigger must be able to parse its file."""
        exports = _exports(files, self.root)
        for file in files:
            assert file.tree is not None  # noqa: S101
            if not (file.mentions_us or file.name in exports or file.names(exports).leads_to(exports)):
                continue
            namespace = ".".join(file.path.relative_to(self.folder).parent.parts)
            module = read_module(file.tree, file.source, file.path, file.name, namespace, self.routes, exports)
            self.modules.append(module)
            self.mistakes += module.mistakes
            if module.groups:
                self.check_importable(module, file.path, file.parts)
        self.mistakes += self.versions.unfit([(module.source, module.groups) for module in self.modules])

    def shown(self, file: Path) -> str:
        return str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)

    def unreadable(self, error: OSError) -> None:
        file = self.shown(Path(error.filename or self.folder))
        self.mistakes.append(Mistake(file, 0, 0, f"cannot be read: {error.strerror}"))

    def check_importable(self, module: Module, file: Path, parts: Sequence[str]) -> None:
        for part in parts:
            if not part.isidentifier():
                hint = f"rename {part} to {_as_identifier(part)}"
                message = f"the module {part!r} cannot be imported: its name is not an identifier"
                self.mistakes.append(module.source.mistake_at(1, 1, message, hint))
        for folder in file.parents[: len(file.relative_to(self.folder).parents) - 1]:
            if (twin := folder.with_name(f"{folder.name}.py")) in self.files:
                message = f"{self.shown(twin)} and folder {self.shown(folder)} have the same name; only one can be imported"
                self.mistakes.append(module.source.mistake_at(1, 1, message, "rename one of them"))

    def check_package(self) -> None:
        """Report a folder that could not be imported, or whose name would hide a module of Python's."""
        name = self.folder.name
        if not any(module.groups for module in self.modules):
            return
        if not name.isidentifier():
            message = f"the folder {name!r} cannot be imported: its name is not an identifier"
            self.mistakes.append(Mistake(self.shown(self.folder), 0, 0, message, hint=f"rename it to {_as_identifier(name)}"))
        elif name in sys.stdlib_module_names or name == "tako_lite":
            message = f"the folder has the same name as the Python module {name}; one would hide the other"
            self.mistakes.append(Mistake(self.shown(self.folder), 0, 0, message, hint="rename it, for example to workflows"))

    def by_name(self) -> dict[str, WorkflowSpec]:
        workflows: dict[str, WorkflowSpec] = {}
        for module in self.modules:
            for spec, place in zip(module.workflows, module.places, strict=True):
                first = workflows.setdefault(spec.name, spec)
                if first is not spec:
                    self.two_of_one_name(module, place, f'two workflows are named "{spec.name}"', first)
        return workflows

    def triggers(self, workflows: Mapping[str, WorkflowSpec]) -> dict[str, TriggerSpec]:
        """The triggers by name; names are unique, and each trigger starts an existing workflow."""
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

    def check_hooks(self, workflows: Mapping[str, WorkflowSpec]) -> None:
        """Report each workflow whose death a hook waits for and that does not exist."""
        for module in self.modules:
            for patterns, place in module.hooks:
                for name in patterns:
                    if "*" not in name and name not in workflows:
                        hint = did_you_mean(name, workflows) or 'on_dead="*" is for all workflows'
                        self.mistakes.append(module.source.mistake(place, f'on_dead: no workflow is named "{name}"', hint))

    def two_of_one_name(self, module: Module, place: Node, message: str, other: WorkflowSpec) -> None:
        where = f"{self.shown(other.file)}:{other.line}"
        self.mistakes.append(module.source.mistake(place, f"{message}; the other is at {where}"))


def _exports(files: Sequence[_File], root: Path) -> dict[str, dict[str, str]]:
    """The names from tako-lite that other modules may import from these, also through several modules."""
    found = dict(_exports_outside(files, root))
    size = -1
    while size != (size := sum(map(len, found.values()))):
        for file in files:
            if (file.mentions_us or found) and (names := file.names(found).ours()):
                found[file.name] = names
    return found


def _exports_outside(files: Sequence[_File], root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The same for modules beside the workflow folder that its files import from."""
    own = {file.name for file in files}
    imported = {node.module for file in files for node in file.nodes if isinstance(node, ast.ImportFrom) and not node.level}
    for module in sorted(filter(None, imported - own)):
        top, *_ = module.split(".")
        path = root.joinpath(*module.split(".")).with_suffix(".py")
        if top in sys.stdlib_module_names or top == "tako_lite" or not path.is_file():
            continue
        with suppress(OSError, Unreadable):
            source = read_source(path.read_bytes(), str(path))
            if "tako_lite" in source.text and isinstance(tree := parse(source), ast.Module):
                yield module, Names(statements(tree)).ours()


def _imports_of_other_groups(modules: Sequence[Module]) -> list[Mistake]:
    """A warning for each module that makes a group also load workflows of another group, with everything they import."""
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
