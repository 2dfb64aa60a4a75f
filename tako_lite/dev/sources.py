"""Reads the files of a project while some of them may be broken, and imports each group's modules on trial."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tako_lite.catalog import Catalog, survey
from tako_lite.config import Config, GroupSettings
from tako_lite.daemon.spawner import Spawner
from tako_lite.dev.catalog import DevCatalog, without_broken
from tako_lite.dev.trial import Imported, try_import
from tako_lite.errors import CatalogError, ConfigError, Mistake
from tako_lite.project_lint import mistakes as mistakes_between
from tako_lite.project_lint import pythons
from tako_lite.stamps import FileStamp, file_stamp

_PLACE: Final = re.compile(r"(?P<file>[^:\n]+\.py):(?P<line>\d+)(?: \([^)]*\))?: (?P<what>.*)", re.DOTALL)

Broken = Mapping[Path, Sequence[Mistake]]


def read_catalog(config: Config, before: Catalog) -> DevCatalog:
    """The catalog of the files that can be read. Raises ConfigError, and CatalogError for mistakes of no single file."""
    found, mistakes = survey(config.workflows_path, config.root, config.routes, pythons(config, all_files=True))
    by_file: dict[Path, list[Mistake]] = {}
    for mistake in mistakes:
        by_file.setdefault(config.root / mistake.file, []).append(mistake)
    if elsewhere := [mistake for file, about in by_file.items() if file.suffix != ".py" for mistake in about]:
        raise CatalogError(elsewhere)
    if wrong := mistakes_between(config, found, whole=not mistakes):
        raise ConfigError(wrong)
    return without_broken(found, by_file, before, config.root)


@dataclass(slots=True)
class _Tried:
    """What the last trial of a group was made with, and what it found."""

    settings: GroupSettings
    modules: list[str]
    broken: dict[Path, list[Mistake]]
    files: dict[str, FileStamp] = field(default_factory=dict)

    def holds(self, settings: GroupSettings, modules: list[str]) -> bool:
        """Whether the same trial would find the same: nothing has changed since, and nothing was wrong."""
        is_same = not self.broken and self.settings == settings and self.modules == modules
        return is_same and all(file_stamp(file) == stamp for file, stamp in self.files.items())


class TrialImports:
    """Imports the modules of each group in a worker that takes no runs, whenever something of it has changed."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._tried: dict[str, _Tried] = {}
        self.renewed: set[str] = set()
        """The groups whose modules were imported by the last check."""

    @property
    def files(self) -> dict[Path, FileStamp]:
        """The project's files that workers import, as they were at the trial."""
        return {Path(file): stamp for tried in self._tried.values() for file, stamp in tried.files.items()}

    async def check(self, config: Config, catalog: DevCatalog, before: Catalog) -> DevCatalog:
        """The catalog without the files that do not import."""
        self.renewed.clear()
        groups = {spec.group for spec in catalog.workflows.values()} | {spec.group for spec in catalog.triggers.values()}
        found = await asyncio.gather(*(self._try(config, catalog, group) for group in sorted(groups)))
        for gone in self._tried.keys() - groups:
            del self._tried[gone]
        broken: dict[Path, Sequence[Mistake]] = {file.file: file.mistakes for file in catalog.broken}
        for each in found:
            broken.update(each)
        return without_broken(catalog, broken, before, config.root)

    async def _try(self, config: Config, catalog: DevCatalog, group: str) -> Broken:
        settings, modules = config.group(group), catalog.modules(group)
        known = self._tried.get(group)
        if known is not None and known.holds(settings, modules):
            return known.broken
        self.renewed.add(group)
        files = {spec.module: spec.file for spec in catalog.group(group)}
        files |= {spec.evaluation.module: spec.evaluation.file for spec in catalog.triggers.values() if spec.group == group}
        tried = _Tried(settings, modules, {})
        whole = await try_import(self._spawner, settings, modules)
        if whole.error is None:
            tried.files = whole.files
        else:
            alone = modules if len(modules) > 1 else []
            single = [await try_import(self._spawner, settings, [module]) for module in alone] or [whole]
            self._blame(tried, config.root, [files[module] for module in modules], single, whole)
        self._tried[group] = tried
        return tried.broken

    @staticmethod
    def _blame(tried: _Tried, root: Path, files: Sequence[Path], single: Sequence[Imported], whole: Imported) -> None:
        """Note which files do not import; if each one does alone, all of them are broken together."""
        for file, imported in zip(files, single, strict=True):
            tried.files |= imported.files
            error = imported.error or (whole.error if all(each.error is None for each in single) else None)
            if error is not None:
                tried.broken[file] = [_mistake(error, file, root)]


def _mistake(error: str, file: Path, root: Path) -> Mistake:
    """The error of an import as a mistake with its line; without a place, it is one of the whole file."""
    own = str(file.relative_to(root) if file.is_relative_to(root) else file)
    place = _PLACE.fullmatch(error)
    if place is None:
        return Mistake(own, 0, 0, error)
    line = int(place["line"])
    try:
        source = (root / place["file"]).read_text(encoding="utf-8", errors="replace").split("\n")[line - 1].expandtabs()
    except (OSError, IndexError):
        source = ""
    shown = "".join(character if character.isprintable() else " " for character in source).rstrip()
    column = len(shown) - len(shown.lstrip()) + 1
    hint = None if place["file"] == own else f"{own} imports it"
    return Mistake(place["file"], line, column, place["what"], shown, hint)
