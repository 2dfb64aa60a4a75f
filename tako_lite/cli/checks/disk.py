"""The file system below the project: of which kind it is, and how much room it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.cli.checks.finding import Finding, Subject, nearest, quoted
from tako_lite.linux import ON_LINUX
from tako_lite.units import size_text

# fmt: off
SHARED: Final = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smbfs", "smb2", "smb3", "ncpfs", "afs", "coda", "9p", "ceph", "lustre",
    "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "davfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs",
    "fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.davfs", "fuse.davfs2", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse",
    "fuse.smbnetfs", "fuse.juicefs", "fuse.curlftpfs", "fuse.mfs", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs",
})
# fmt: on
"""File systems of the network, and folders that a virtual machine shares with its host."""
MEMORY: Final = frozenset({"tmpfs", "ramfs"})
LEAST_ROOM: Final = 100_000_000
LITTLE_ROOM: Final = 10_000_000_000
LEAST_SHARE: Final = 0.05
MOUNTS: Final = Path("/proc/self/mountinfo")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A file system and the folder that it stands at."""

    point: Path
    kind: str


def filesystem(subject: Subject) -> Iterator[Finding]:
    """Whether the queue is on a disk of this machine, where SQLite's locks hold."""
    if not ON_LINUX:
        yield Finding("filesystem", "info", "not looked at: only Linux tells which file system a folder is on (/proc)")
        return
    folder = nearest(subject.queue.parent).resolve()
    mount = mount_of(folder, MOUNTS.read_text(errors="surrogateescape"))
    yield judge_mount(folder, mount) if mount else Finding("filesystem", "info", f"{MOUNTS} does not tell what {folder} is on")


def judge_mount(folder: Path, mount: Mount) -> Finding:
    """What the kind of a file system means for a queue in it."""
    where = f"{folder} is on {mount.kind}, mounted at {mount.point}"
    elsewhere = 'in tako.toml, under [queue]: url = "sqlite:////var/lib/…/queue.db", a path on a local disk'
    if mount.kind in SHARED:
        why = "locks and shared memory do not work there as SQLite needs them, and the queue would be damaged"
        return Finding("filesystem", "problem", f"{where}: {why}", elsewhere)
    if mount.kind in MEMORY:
        return Finding("filesystem", "warning", f"{where}: the queue is gone when the machine stops", elsewhere)
    if mount.kind == "overlay":
        why = "a container's own layer, which goes with the container"
        return Finding("filesystem", "info", f"{where}: {why}", f"mount a volume at {quoted(folder)}")
    return Finding("filesystem", "ok", where)


def mount_of(folder: Path, mounts: str) -> Mount | None:
    """The file system that a folder is on, by the text of /proc/self/mountinfo; of two at one place the later one counts."""
    found = None
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields.split()[4]))
        deeper = found is None or len(point.parts) >= len(found.point.parts)
        if deeper and folder.is_relative_to(point):
            found = Mount(point, rest.split()[0])
    return found


def space(subject: Subject) -> Iterator[Finding]:
    """How much room the queue and the logs have left."""
    folders = [nearest(subject.state_dir)]
    if (elsewhere := nearest(subject.queue.parent)).stat().st_dev != folders[0].stat().st_dev:
        folders.append(elsewhere)
    for folder in folders:
        room = os.statvfs(folder)
        yield judge_space(folder, room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)


def judge_space(folder: Path, free: int, total: int) -> Finding:
    """What so many bytes of room mean."""
    says = f"{size_text(free)} free of {size_text(total)} at {folder}"
    mend = f"make room: du -xh {quoted(folder)} | sort -h | tail shows what is large; tako-lite prune makes room in the queue"
    if free < LEAST_ROOM:
        return Finding("space", "problem", f"{says}: nothing is accepted or stored once it is full", mend)
    if free < LEAST_SHARE * total and free < LITTLE_ROOM:
        return Finding("space", "warning", f"{says}, less than {LEAST_SHARE:.0%}", mend)
    return Finding("space", "ok", says)
