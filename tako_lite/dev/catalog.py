"""The catalog without the files that have mistakes: their workflows are refused with the mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tako_lite.catalog import Catalog, WorkflowSpec
from tako_lite.errors import CatalogError, Mistake


class BrokenFile(NamedTuple):
    """A workflow file that does not import. `names` and `groups` are those that it defines or defined."""

    file: Path
    mistakes: Sequence[Mistake]
    names: frozenset[str]
    groups: frozenset[str]
    text: str

    def defines(self, workflow: str) -> bool:
        """Whether a workflow is one of this file, as far as can be known of a file that may not even parse."""
        return workflow in self.names or f'"{workflow}"' in self.text or f"'{workflow}'" in self.text


@dataclass(frozen=True, slots=True)
class DevCatalog(Catalog):
    """A catalog that knows which files are broken."""

    broken: tuple[BrokenFile, ...] = ()
    blamed: frozenset[Path] = field(default_factory=frozenset)
    """The files because of which others are broken."""

    @property
    def broken_paths(self) -> frozenset[Path]:
        """The broken files, and those that they import and that are the reason."""
        return self.blamed | {broken.file for broken in self.broken}

    @property
    def groups(self) -> frozenset[str]:
        """The groups that decorators name, also those in broken files: their workers and settings stay."""
        whole = Catalog(self.root, self.workflows, triggers=self.triggers)
        return whole.groups.union(*(broken.groups for broken in self.broken))

    def gone_since(self, old: Catalog) -> set[str]:
        """The workflows of an older catalog that no file defines any more; a broken file still defines its own."""
        gone = Catalog.gone_since(self, old)
        return {name for name in gone if not any(broken.defines(name) for broken in self.broken)}

    def get(self, name: str) -> WorkflowSpec:
        """The workflow of this name. Raises CatalogError if its file is broken, and NotFound if no file defines it."""
        if name not in self.workflows:
            for broken in self.broken:
                if broken.defines(name):
                    raise CatalogError(broken.mistakes, hint="save the file without the mistake, then enqueue again")
        return Catalog.get(self, name)


def without_broken(found: Catalog, mistakes: Mapping[Path, Sequence[Mistake]], before: Catalog, root: Path) -> DevCatalog:
    """The catalog without the workflows and triggers of broken files; `before` knows what these defined."""
    broken = tuple(_broken(file, about, (found, before)) for file, about in mistakes.items())
    blamed = frozenset(root / mistake.file for about in mistakes.values() for mistake in about)
    workflows = {name: spec for name, spec in found.workflows.items() if spec.file not in mistakes}
    triggers = {name: spec for name, spec in found.triggers.items() if spec.evaluation.file not in mistakes}
    triggers = {name: spec for name, spec in triggers.items() if spec.options.starts in workflows}
    return DevCatalog(found.root, workflows, found.warnings, found.files, triggers, broken, blamed)


def _broken(file: Path, mistakes: Sequence[Mistake], catalogs: Sequence[Catalog]) -> BrokenFile:
    specs = [spec for catalog in catalogs for spec in catalog.workflows.values() if spec.file == file]
    specs += [
        trigger.evaluation for catalog in catalogs for trigger in catalog.triggers.values() if trigger.evaluation.file == file
    ]
    known = [old for catalog in catalogs if isinstance(catalog, DevCatalog) for old in catalog.broken if old.file == file]
    names = frozenset(spec.name for spec in specs).union(*(old.names for old in known))
    groups = frozenset(spec.group for spec in specs).union(*(old.groups for old in known))
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return BrokenFile(file, tuple(mistakes), names, groups, text)
