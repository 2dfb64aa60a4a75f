"""Other contents for a file of the user's: by a new file that takes its name where that is possible, else in place.

In place is what a mount point, a hard link and a folder that we may not write leave. Room is made first, and a write that fails
is taken back.
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
from tako_lite.store.sqlite.file import sync

_NO_RENAME: Final = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV})
"""What a rename, a new file or a new owner is refused with on a mount point, or in a folder of another user."""
_NO_ROOM_CALL: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What a file system says that does not reserve room."""


def rewrite(file: Path, data: bytes, is_unchanged: Callable[[], bool]) -> None:
    """Put data into a file that exists, whose mode and owner stay; the file behind a link is written, not the link.

    Raises TakoError where that is impossible or the file has changed meanwhile; it holds what it held then.
    """
    name, file = shown(file), file.resolve()
    if not os.access(file, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise TakoError(f"{name} is not writable: it is as it was", hint=_remedy(file))
    try:
        if file.stat().st_nlink > 1 or not _replace(file, data, is_unchanged, name):
            _refuse_changed(is_unchanged, name)
            _write_in_place(file, data, name)
    except OSError as error:
        raise TakoError(f"{name} cannot be written: {error.strerror}; it is as it was", hint=_remedy(file)) from error


def _remedy(file: Path) -> str:
    """What may make a file writable."""
    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return "it is on a file system, or a mount, that is read-only: edit it where it comes from"
    if not os.statvfs(file).f_bavail:
        return "the file system is full: make room"
    return f"ls -l {file} shows who may write it; chmod u+w makes it writable for its owner"


def _refuse_changed(is_unchanged: Callable[[], bool], name: str) -> None:
    if not is_unchanged():
        raise TakoError(f"{name} was changed by somebody else just now", hint="try again")


def _replace(file: Path, data: bytes, is_unchanged: Callable[[], bool], name: str) -> bool:
    """Give the file's name to a new one at once; False where the folder, or the file, does not allow that."""
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
    with suppress(OSError):  # the file has its name: a folder that we may not read cannot be synced, and takes nothing back
        sync(file.parent)
    return True


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A new file in the same folder, gone again where it was not put in the other's place."""
    descriptor, name = tempfile.mkstemp(prefix=".tako-", suffix=".toml", dir=file.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write_in_place(file: Path, data: bytes, name: str) -> None:
    """Write over what the file holds. OSError where there is no room, before anything is written."""
    before = file.read_bytes()
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            _make_room(descriptor, len(data))
            _overwrite(descriptor, data)
        except OSError as error:
            _take_back(descriptor, before, error, name)
            raise
    finally:
        os.close(descriptor)


def _make_room(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NO_ROOM_CALL:
            raise


def _overwrite(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], written)
    os.ftruncate(descriptor, len(data))
    os.fsync(descriptor)


def _take_back(descriptor: int, before: bytes, cause: OSError, name: str) -> None:
    """Write again what the file held. TakoError where that fails too."""
    try:
        _overwrite(descriptor, before)
    except OSError:
        message = (
            f"{name} could be written only in part ({cause.strerror}), and not be put back: look at it before anything else"
        )
        raise TakoError(message) from cause
