"""Refuses queue files on shared file systems, and those with two names: SQLite needs the locks and files beside a queue."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.errors import StoreError
from tako_lite.linux import ON_LINUX
from tako_lite.paths import nearest

# fmt: off
SHARED: Final = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smbfs", "smb2", "smb3", "ncpfs", "afs", "coda", "9p", "ceph", "lustre",
    "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "davfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs",
    "fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.davfs", "fuse.davfs2", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse",
    "fuse.smbnetfs", "fuse.juicefs", "fuse.curlftpfs", "fuse.mfs", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs",
})
# fmt: on
"""Network file systems, and folders that a virtual machine shares with its host."""
WHY_NOT: Final = "locks and shared memory do not work there as SQLite needs them, and the queue would be damaged"
ELSEWHERE: Final = 'in tako.toml, under [queue]: url = "sqlite:////var/lib/…/queue.db", a path on a local disk'
MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A file system and its mount point."""

    point: Path
    kind: str


def refuse_shared(file: Path) -> None:
    """Raise StoreError for a file that is, or would be created, on a shared file system, and for one with two names.

    Only Linux tells the file system.
    """
    mount = mount_at(nearest(file))
    if mount is not None and mount.kind in SHARED:
        raise StoreError(f"{file} is on {mount.kind}, mounted at {mount.point}: {WHY_NOT}", hint=ELSEWHERE)
    refuse_second_name(file)


def refuse_second_name(file: Path) -> None:
    """Raise StoreError for a file that another folder may hold too: its lock and its log are beside it, in one of them only."""
    mount = mount_at(nearest(file))
    if mount is not None and mount.point == file.resolve():
        raise StoreError(
            f"{file} is a mount point: its log and its lock would be outside of what is mounted",
            hint="mount the folder of the queue, not the file alone",
        )
    with contextlib.suppress(OSError):
        if file.stat().st_nlink > 1:
            raise StoreError(
                f"{file} has a second name (a hard link): two daemons could serve it at once, each with a log of its own",
                hint=f"find the other name (find / -xdev -samefile {file}) and remove it; copy a queue with `tako-lite backup`",
            )


def mount_at(folder: Path) -> Mount | None:
    """The file system that a folder is on, links followed; None if it is unknown."""
    if not ON_LINUX:
        return None
    try:
        table = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return None
    return mount_of(folder.resolve(), table)


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
