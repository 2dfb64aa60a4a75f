"""The fixtures of the tests with real processes."""

from __future__ import annotations

from tests.support.disk_shim import library, shim
from tests.support.fixtures import live, project

__all__ = ["library", "live", "project", "shim"]
