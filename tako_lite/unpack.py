"""Where the package `tako_lite` lies as plain files, also when it runs from the single file.

Workers may run on another interpreter, with nothing but this package to import. An interpreter could import it from
the zip as well, but our dependencies would come with it. So the package alone is unpacked, once for each build:
`~/.cache/tako-lite/<version>-<hash>/tako_lite`.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tako_lite.errors import TakoError

_PACKAGE = "tako_lite"
# Taken at import: a relative path means something else after a change of folder.
_SOURCE = Path(__file__).absolute().parent


@functools.cache
def package_dir() -> Path:
    """The folder that holds the package: its own one when installed, else one in the cache, unpacked when needed.

    With no cache that can be written, it is a private folder that goes when this process ends. Raises `TakoError` when
    there is no room for that either.
    """
    if _SOURCE.is_dir():
        return _SOURCE.parent
    archive = next(parent for parent in _SOURCE.parents if parent.is_file())
    try:
        return _unpack(archive, _cache_root())
    except (OSError, RuntimeError):  # RuntimeError: nobody knows where this user's home is
        pass
    try:
        return _unpack(archive, _passing_root())
    except OSError as error:
        raise TakoError(
            f"cannot unpack {archive} for its workers: {error}",
            hint="set XDG_CACHE_HOME to a folder that can be written",
        ) from error


def _cache_root() -> Path:
    """Our folder in the user's cache. Raises `OSError` when it cannot be made, or is not ours alone to write."""
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
    """A private folder that is removed when the process that made it ends, and not when a fork of it does."""
    root = Path(tempfile.mkdtemp(prefix="tako-lite-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(root, ignore_errors=True)

    atexit.register(remove)
    return root


def _unpack(archive: Path, root: Path) -> Path:
    """The folder under `root` that has the archive's package, whole; made when it is not there or damaged."""
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
                # What lacks files was cut short: by a cleaner, or by a power cut.
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)
    return target


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Lets one process at a time unpack to `root`; the system releases it when that process dies."""
    with (root / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _whole(folder: Path, members: list[zipfile.ZipInfo]) -> bool:
    """Whether every file of the package is there in its full length."""
    files = [member for member in members if not member.is_dir()]
    try:
        return all((folder / member.filename).stat().st_size == member.file_size for member in files)
    except OSError:
        return False


def _version(file: zipfile.ZipFile) -> str:
    """The version in the name of our `dist-info` folder."""
    names = (name.partition(".dist-info/")[0] for name in file.namelist() if name.endswith(".dist-info/METADATA"))
    return next((name.removeprefix(f"{_PACKAGE}-") for name in names if name.startswith(f"{_PACKAGE}-")), "unknown")
