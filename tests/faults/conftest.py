"""The fixtures of the tests with real processes."""

from __future__ import annotations

from tests.faults.shim import library, shim
from tests.integration.conftest import live, project

__all__ = ["library", "live", "project", "shim"]
