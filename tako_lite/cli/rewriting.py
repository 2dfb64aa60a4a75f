"""Replacing the contents of a file of the user: with a new file that is renamed over it if possible, else in place.

Mount points, hard links and folders without write permission require writing in place. Disk space is reserved first, and a
failed write is undone.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tako_lite.config.document import shown
from tako_lite.errors import TakoError
from tako_lite.paths import sync

_NO_RENAME: Final = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV})
"""Errors of a rename, a new file or a chown on a mount point or in a folder of another user."""
_CANNOT_RESERVE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""Errors of file systems that cannot reserve space."""


def rewrite(file: Path, data: bytes, is_unchanged: Callable[[], bool]) -> None:
    """Replace the data of an existing file, keeping its mode and owner. A link is followed, not replaced.

    Raises TakoError, with the file unchanged, if it cannot be written or has changed since it was read.
    """
    name, file = shown(file), file.resolve()
    if not os.access(file, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise TakoError(f"{name} is not writable and was not changed", hint=_remedy(file))
    try:
        if file.stat().st_nlink > 1 or not _replace(file, data, is_unchanged, name):
            _refuse_changed(is_unchanged, name)
            _write_in_place(file, data, name)
    except OSError as error:
        raise TakoError(f"{name} cannot be written: {error.strerror}; it was not changed", hint=_remedy(file)) from error


def _remedy(file: Path) -> str:
    """A hint about what would make a file writable."""
    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return "its file system or mount is read-only: edit the file where it comes from"
    if not os.statvfs(file).f_bavail:
        return "the file system is full: free some space"
    return f"ls -l {file} shows who may write it; chmod u+w makes it writable for its owner"


def _refuse_changed(is_unchanged: Callable[[], bool], name: str) -> None:
    if not is_unchanged():
        raise TakoError(f"{name} was changed by another program at the same time", hint="try again")


def _replace(file: Path, data: bytes, is_unchanged: Callable[[], bool], name: str) -> bool:
    """Rename a new file over it atomically. False if the folder or the file does not allow that."""
    try:
        with _beside(file) as draft:
            draft.write_bytes(data)
            found = file.stat()
            draft.chmod(found.st_mode & 0o7777)
            if (found.st_uid, found.st_gid) != (draft.stat().st_uid, draft.stat().st_gid):
                os.chown(draft, found.st_uid, found.st_gid)
            sync(draft)
            _refuse_changed(is_unchanged, name)
            draft.replace(file)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        return False
    with suppress(OSError):  # already renamed: a folder without read permission cannot be synced, which does not undo that
        sync(file.parent)
    return True


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A new file in the same folder, removed at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=".tako-", suffix=".toml", dir=file.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write_in_place(file: Path, data: bytes, name: str) -> None:
    """Overwrite the contents. Raises OSError before it writes if there is no space."""
    before = file.read_bytes()
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            _reserve_space(descriptor, len(data))
            _overwrite(descriptor, data)
        except OSError as error:
            _restore(descriptor, before, error, name)
            raise
    finally:
        os.close(descriptor)


def _reserve_space(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def _overwrite(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], written)
    os.ftruncate(descriptor, len(data))
    os.fsync(descriptor)


def _restore(descriptor: int, before: bytes, cause: OSError, name: str) -> None:
    """Restore the contents. Raises TakoError if that fails too."""
    try:
        _overwrite(descriptor, before)
    except OSError:
        message = f"{name} was written only in part ({cause.strerror}) and could not be restored: check it before anything else"
        raise TakoError(message) from cause
