"""Finds the package `tako_lite` as plain files, and unpacks it when it runs from the single file.

Workers may run on another interpreter, and import nothing but this package. An interpreter could import it from the zip, but
with it come the dependencies of tako-lite. So the package alone is unpacked, once for each build:
`~/.cache/tako-lite/<version>-<hash>/tako_lite`.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.errors import TakoError

if TYPE_CHECKING:
    import zipfile

_PACKAGE = "tako_lite"
# Taken at import: a relative path means something else after a change of folder.
_SOURCE = Path(__file__).absolute().parent


@functools.cache
def package_dir() -> Path:
    """The folder that holds the package: where it is installed, or else a folder in the cache, unpacked when needed.

    If the cache cannot be written, it is a private folder that is removed when this process ends. Raises `TakoError` if
    that cannot be written either.
    """
    if _SOURCE.is_dir():
        return _SOURCE.parent
    archive = next(parent for parent in _SOURCE.parents if parent.is_file())
    try:
        return _unpack(archive, _cache_root())
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        pass
    try:
        return _unpack(archive, _passing_root())
    except OSError as error:
        raise TakoError(
            f"cannot unpack {archive} for its workers: {error}",
            hint="set XDG_CACHE_HOME to a folder that can be written",
        ) from error


def program() -> tuple[list[str], Path]:
    """The words that begin a command line of tako-lite, run as this process runs it, and the folder to run them in."""
    if _SOURCE.is_dir():
        return [sys.executable, "-m", _PACKAGE], _SOURCE.parent
    archive = next(parent for parent in _SOURCE.parents if parent.is_file())
    return [sys.executable, str(archive)], archive.parent


def _cache_root() -> Path:
    """The folder of tako-lite in the user's cache. Raises `OSError` if it cannot be made, or if others may write to it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if not home.is_absolute():
        raise NotADirectoryError(f"{home} is not an absolute path")
    root = home / "tako-lite"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{root} is open to others")
    return root


def _passing_root() -> Path:
    """A private folder that is removed at the end of this process, but not at the end of a fork."""
    import shutil  # here and below: an installed package is never unpacked
    import tempfile

    root = Path(tempfile.mkdtemp(prefix="tako-lite-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(root, ignore_errors=True)

    atexit.register(remove)
    return root


def _unpack(archive: Path, root: Path) -> Path:
    """The folder under `root` with the package of the archive; unpacked if it is missing or damaged."""
    import hashlib
    import shutil
    import zipfile

    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    with zipfile.ZipFile(archive) as file:
        members = [member for member in file.infolist() if member.filename.startswith(f"{_PACKAGE}/")]
        target = root / f"{_version(file)}-{digest}"
        if _whole(target, members):
            return target
        with _lock(root):
            if not _whole(target, members):
                draft = root / ".unpacking"
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(mode=0o700)
                file.extractall(draft, members)
                # Files may be missing because of a cleaner or a power cut.
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)
    return target


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Let one process at a time unpack to `root`; the kernel releases the lock when that process dies."""
    with (root / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _whole(folder: Path, members: list[zipfile.ZipInfo]) -> bool:
    """Whether every file of the package is there with its full size."""
    files = [member for member in members if not member.is_dir()]
    try:
        return all((folder / member.filename).stat().st_size == member.file_size for member in files)
    except OSError:
        return False


def _version(file: zipfile.ZipFile) -> str:
    """The version in the name of our `dist-info` folder."""
    names = (name.partition(".dist-info/")[0] for name in file.namelist() if name.endswith(".dist-info/METADATA"))
    return next((name.removeprefix(f"{_PACKAGE}-") for name in names if name.startswith(f"{_PACKAGE}-")), "unknown")
