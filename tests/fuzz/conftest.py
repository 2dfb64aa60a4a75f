"""The fixtures of the tests with real processes."""

from __future__ import annotations

from tests.support.fixtures import live

__all__ = ["live"]
