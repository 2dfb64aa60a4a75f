"""The file system below the project: of which kind it is, and how much room it has."""

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
LEAST_ROOM: Final = 100_000_000
LITTLE_ROOM: Final = 10_000_000_000
LEAST_SHARE: Final = 0.05


def filesystem(context: CheckContext) -> Iterator[Finding]:
    """Whether the queue is on a disk of this machine, where SQLite's locks hold."""
    if not ON_LINUX:
        yield Finding("filesystem", "info", "not looked at: only Linux tells which file system a folder is on (/proc)")
        return
    folder = nearest(context.queue.parent).resolve()
    mount = mount_at(folder)
    yield judge_mount(folder, mount) if mount else Finding("filesystem", "info", f"{MOUNTS} does not tell what {folder} is on")


def judge_mount(folder: Path, mount: Mount) -> Finding:
    """What the kind of a file system means for a queue in it."""
    where = f"{folder} is on {mount.kind}, mounted at {mount.point}"
    if mount.kind in SHARED:
        return Finding("filesystem", "problem", f"{where}: {WHY_NOT}", ELSEWHERE)
    if mount.kind in MEMORY:
        return Finding("filesystem", "warning", f"{where}: the queue is gone when the machine stops", ELSEWHERE)
    if mount.kind == "overlay":
        why = "a container's own layer, which goes with the container"
        return Finding("filesystem", "info", f"{where}: {why}", f"mount a volume at {quoted(folder)}")
    return Finding("filesystem", "ok", where)


def space(context: CheckContext) -> Iterator[Finding]:
    """How much room the queue and the logs have left."""
    folders = [nearest(context.state_dir)]
    if (elsewhere := nearest(context.queue.parent)).stat().st_dev != folders[0].stat().st_dev:
        folders.append(elsewhere)
    for folder in folders:
        room = os.statvfs(folder)
        yield judge_space(folder, room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)
        if room.f_files and not room.f_favail:
            what = f"no file can be created in {folder}: the file system has no free inode"
            yield Finding("space", "problem", what, f"df -i {quoted(folder)}; delete files that are not needed")


def judge_space(folder: Path, free: int, total: int) -> Finding:
    """What so many bytes of room mean."""
    says = f"{size_text(free)} free of {size_text(total)} at {folder}"
    mend = f"make room: du -xh {quoted(folder)} | sort -h | tail shows what is large; tako-lite prune makes room in the queue"
    if free < LEAST_ROOM:
        return Finding("space", "problem", f"{says}: nothing is accepted or stored once it is full", mend)
    if free < LEAST_SHARE * total and free < LITTLE_ROOM:
        return Finding("space", "warning", f"{says}, less than {LEAST_SHARE:.0%}", mend)
    return Finding("space", "ok", says)
