"""Checks of the file system: its type and its free space."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tako_lite.cli.checks.finding import CheckContext, Finding, quoted
from tako_lite.linux import ON_LINUX
from tako_lite.store.sqlite.filesystem import ELSEWHERE, MOUNTS, SHARED, WHY_NOT, Mount, mount_at, nearest
from tako_lite.units import size_text

MEMORY: Final = frozenset({"tmpfs", "ramfs"})
LEAST_FREE: Final = 100_000_000
LITTLE_FREE: Final = 10_000_000_000
LEAST_SHARE: Final = 0.05


def filesystem(context: CheckContext) -> Iterator[Finding]:
    """Whether the queue is on a local disk, where SQLite's locks work."""
    if not ON_LINUX:
        yield Finding("filesystem", "info", "not checked: only Linux reports the file system of a folder (/proc)")
        return
    folder = nearest(context.queue.parent).resolve()
    mount = mount_at(folder)
    yield (
        judge_mount(folder, mount)
        if mount
        else Finding("filesystem", "info", f"{MOUNTS} does not list the file system of {folder}")
    )


def judge_mount(folder: Path, mount: Mount) -> Finding:
    """The finding about the type of the queue's file system."""
    where = f"{folder} is on {mount.kind}, mounted at {mount.point}"
    if mount.kind in SHARED:
        return Finding("filesystem", "problem", f"{where}: {WHY_NOT}", ELSEWHERE)
    if mount.kind in MEMORY:
        return Finding("filesystem", "warning", f"{where}: the queue is lost when the machine stops", ELSEWHERE)
    if mount.kind == "overlay":
        why = "the container's own layer, which is deleted with the container"
        return Finding("filesystem", "info", f"{where}: {why}", f"mount a volume at {quoted(folder)}")
    return Finding("filesystem", "ok", where)


def space(context: CheckContext) -> Iterator[Finding]:
    """How much free space the queue and the logs have."""
    folders = [nearest(context.state_dir)]
    if (elsewhere := nearest(context.queue.parent)).stat().st_dev != folders[0].stat().st_dev:
        folders.append(elsewhere)
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
