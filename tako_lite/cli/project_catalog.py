"""The catalog for commands that also work while the workflow files have mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tako_lite.cli.output import warn
from tako_lite.errors import CatalogError

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog
    from tako_lite.config import Config


def catalog_of(config: Config) -> Catalog | None:
    """The catalog of the workflow files; if they have mistakes, None and a warning on stderr."""
    from tako_lite.catalog import scan
    from tako_lite.project_lint import pythons

    try:
        return scan(config.workflows_path, config.root, config.routes, pythons(config))
    except CatalogError:
        warn("the workflow files have mistakes, so some groups may be missing here; `tako-lite check` lists the mistakes")
        return None
