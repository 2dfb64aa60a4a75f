"""The checks of `doctor`: each function takes a CheckContext, yields findings, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tako_lite.cli.checks.context import CheckContext
from tako_lite.cli.checks.daemon import daemon, lock
from tako_lite.cli.checks.machine import clock, space
from tako_lite.cli.checks.permissions import permissions
from tako_lite.cli.checks.sessions import orphans
from tako_lite.finding import Finding

Check = Callable[[CheckContext], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (space, permissions, clock, lock, daemon, orphans)

__all__ = ["CHECKS", "CheckContext", "Finding"]
