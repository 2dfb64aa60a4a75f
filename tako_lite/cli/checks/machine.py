"""Checks of the machine: free space and the clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tako_lite.cli.checks.context import CheckContext
from tako_lite.clock import local
from tako_lite.finding import Finding, quoted
from tako_lite.paths import nearest
from tako_lite.units import size_text

LEAST_FREE: Final = 100_000_000
LITTLE_FREE: Final = 10_000_000_000
LEAST_SHARE: Final = 0.05
EARLIEST_YEAR: Final = 2024


def space(context: CheckContext) -> Iterator[Finding]:
    """How much free space the queue and the logs have."""
    folders = [nearest(context.state_dir)]
    for folder in map(nearest, context.queue.folders()):
        if folder.stat().st_dev != folders[0].stat().st_dev:
            folders.append(folder)
    for folder in folders:
        free = os.statvfs(folder)
        yield judge_space(folder, free.f_bavail * free.f_frsize, free.f_blocks * free.f_frsize)
        if free.f_files and not free.f_favail:
            what = f"no file can be created in {folder}: the file system has no free inode"
            yield Finding("space", "problem", what, f"df -i {quoted(folder)}; delete unneeded files")


def judge_space(folder: Path, free: int, total: int) -> Finding:
    """The finding about the free space of a file system."""
    what = f"{size_text(free)} free of {size_text(total)} at {folder}"
    fix = f"free space: du -xh {quoted(folder)} | sort -h | tail lists the largest folders; tako-lite prune helps too"
    if free < LEAST_FREE:
        return Finding("space", "problem", f"{what}: once it is full, nothing can be enqueued or stored", fix)
    if free < LEAST_SHARE * total and free < LITTLE_FREE:
        return Finding("space", "warning", f"{what}, less than {LEAST_SHARE:.0%}", fix)
    return Finding("space", "ok", what)


def clock(context: CheckContext) -> Iterator[Finding]:
    """Whether the clock of this machine is set."""
    now = context.clock.now()
    if datetime.fromtimestamp(now / 1000, UTC).year < EARLIEST_YEAR:
        yield Finding("clock", "problem", f"the clock is not set: it shows {local(now)}", "timedatectl set-ntp true")
    else:
        yield Finding("clock", "ok", f"the clock shows {local(now)}")
