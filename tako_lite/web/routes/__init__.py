"""The pages, one module for each part of the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from tako_lite.web.page import Page

MODULES: Final = (
    "overview",
    "runs",
    "run",
    "groups",
    "workflows",
    "schedules",
    "errors",
    "signals",
    "activity",
    "bulk",
    "system",
)
"""The modules of this package, in the order in which their paths are matched."""


def pages() -> Iterator[Page]:
    """Every page."""
    for name in MODULES:
        yield from import_module(f"tako_lite.web.routes.{name}").PAGES
