"""A disk that fills: a file system of a few megabytes in a name space of its own, and a database server that lives in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.postgres import Cluster

PROGRAMS: Final = ("unshare", "nsenter", "setpriv")
MOUNT: Final = 'mount -t tmpfs -o size="$1",uid="$2",gid="$3",mode=700 tmpfs "$4" && echo mounted && exec cat'


class SmallDisk:
    """A mounted disk. `path` is how the server sees it."""

    def __init__(self, path: Path, holder: int) -> None:
        self.path = path
        self._holder = holder
        self._ballast = Path(f"/proc/{holder}/root{path}/ballast")

    @property
    def prefix(self) -> list[str]:
        """What executes a command where the disk is."""
        return ["nsenter", f"--mount=/proc/{self._holder}/ns/mnt", "--"]

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(cluster: Cluster, size: str) -> Iterator[SmallDisk]:
    """A disk for a server, which is restarted to see it. Skips where this machine does not let us mount one."""
    if os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)):
        pytest.skip(f"needs root, and {', '.join(PROGRAMS)}")
    folder = cluster.folder / "small"
    cluster.stop()
    owner = cluster.data.stat()
    folder.mkdir()
    command = ["unshare", "-m", "sh", "-ec", MOUNT, "sh", size, str(owner.st_uid), str(owner.st_gid), str(folder)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        if holder.stdout.readline() != b"mounted\n":
            holder.wait()
            pytest.skip("this machine mounts no file system for us")
        disk = SmallDisk(folder, holder.pid)
        cluster.prefix = disk.prefix
        cluster.start()
        yield disk
        cluster.stop("immediate")
    holder.wait()


def move_to(cluster: Cluster, disk: SmallDisk, name: str) -> None:
    """Move a folder of the server's data to the disk."""
    cluster.stop()
    script = 'mv "$1/$3" "$2/$3" && ln -s "$2/$3" "$1/$3"'
    subprocess.run([*disk.prefix, "sh", "-ec", script, "sh", str(cluster.data), str(disk.path), name], check=True)
    cluster.start()
