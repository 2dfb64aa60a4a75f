"""The mistakes and warnings of tako.toml and the workflow files, for `check` and `doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tako_lite.cli.options import chosen_config
from tako_lite.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog
    from tako_lite.config import Config, Examined


class Remarks(NamedTuple):
    """The mistakes and warnings of one kind of file."""

    mistakes: Sequence[Mistake] = ()
    warnings: Sequence[Mistake] = ()


class ProjectFiles(NamedTuple):
    """The settings and the catalog, each None if it has mistakes, and the remarks about both."""

    settings: Config | None
    catalog: Catalog | None
    of_config: Remarks
    of_catalog: Remarks


def read_files(server: str | None) -> ProjectFiles:
    """Read the files of the chosen project; mistakes are returned, not raised."""
    from tako_lite.config import examine

    try:
        return compare(examine(chosen_config(), server=server), {})
    except ConfigError as error:
        return unreadable(error)


def unreadable(error: ConfigError) -> ProjectFiles:
    """A project whose tako.toml cannot be read."""
    return ProjectFiles(None, None, Remarks(mistakes=error.mistakes), Remarks())


def compare(examined: Examined, unsaved: Mapping[Path, bytes]) -> ProjectFiles:
    """Read the workflow files, with the text of `unsaved` ones in place of that on the disk, and compare with tako.toml."""
    from tako_lite import project_lint
    from tako_lite.catalog import survey

    settings, wrong = examined
    pythons = project_lint.pythons(settings, all_files=True)
    catalog, mistakes = survey(settings.workflows_path, settings.root, settings.routes, pythons, unsaved)
    misrouted = project_lint.mistakes(settings, catalog, whole=not (wrong or mistakes))
    sound = not (wrong or mistakes)
    # With a mistake in tako.toml its tables are not fully known, so warnings that compare them with the files may be wrong.
    found = settings.warnings if wrong else project_lint.warnings(settings, catalog, whole=sound)
    warnings = tuple(warning for warning in found if warning not in catalog.warnings)
    return ProjectFiles(
        None if wrong else settings,
        catalog if sound else None,
        Remarks((*wrong, *misrouted), warnings),
        Remarks(mistakes, catalog.warnings),
    )
