"""The checks of `doctor`: each function takes a CheckContext, yields findings, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tako_lite.cli.checks.daemon import daemon, lock
from tako_lite.cli.checks.disk import filesystem, space
from tako_lite.cli.checks.finding import CheckContext, Finding
from tako_lite.cli.checks.permissions import permissions
from tako_lite.cli.checks.queue import clock, queue, sqlite, wal
from tako_lite.cli.checks.sessions import orphans

Check = Callable[[CheckContext], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (sqlite, filesystem, space, permissions, queue, wal, clock, lock, daemon, orphans)

__all__ = ["CHECKS", "CheckContext", "Finding"]
