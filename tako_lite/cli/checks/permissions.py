"""Checks of the owner and the permissions of the project's files."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tako_lite.cli.checks.context import CheckContext
from tako_lite.finding import Finding, quoted
from tako_lite.lock import is_in_the_way
from tako_lite.paths import nearest

SHOWN: Final = 3
FOLDERS: Final = (".", "logs", "workers")
FILES: Final = ("daemon.lock", "tako.sock", "logs/*.jsonl*", "workers/[0-9]*")


def permissions(context: CheckContext) -> Iterator[Finding]:
    """Whether folders are 0700 and files 0600, whether this user owns all of them, and whether it may write them."""
    found = dict(_stats(context))
    closed_to_us = [path for path in _written(context, found) if not _may_write(path)]
    if not found:
        if closed_to_us:
            yield _unwritable(closed_to_us)
        else:
            yield Finding("permissions", "ok", f"nothing is stored in {context.state_dir} yet")
        return
    theirs = [path for path, about in found.items() if about.st_uid != os.geteuid()]
    closed = [path for path, about in found.items() if _ours(about) != _needed(about)]
    open_to_others = [path for path, about in found.items() if about.st_mode & 0o077]
    roots = quoted(*_roots(context, found))
    if theirs:
        owner, me = _user(found[theirs[0]].st_uid), _user(os.geteuid())
        fix = f"run the command as {owner}, or take ownership: sudo chown -R {me} {roots}"
        yield Finding("permissions", "problem", f"{_named(theirs)} owned by {owner}, not by {me}", fix)
    fix = f"chmod -R u+rwX,go-rwx {roots}"
    if closed:
        yield Finding("permissions", "problem", f"{_named(closed, found)} closed to their owner as well", fix)
    if open_to_others:
        yield Finding("permissions", "warning", f"{_named(open_to_others, found)} open to other users", fix)
    if rest := [path for path in closed_to_us if path not in theirs and path not in closed]:
        yield _unwritable(rest)
    if not (theirs or closed or open_to_others or closed_to_us):
        yield Finding("permissions", "ok", "folders are 0700, files 0600, and you own all of them")


def _written(context: CheckContext, found: dict[Path, os.stat_result]) -> Iterator[Path]:
    """The paths that `serve` and `enqueue` write; for a path that does not exist yet, the folder in which it is created."""
    yield from found
    if not context.state_dir.exists():
        yield nearest(context.state_dir)
    yield from map(nearest, context.queue.folders())  # files are created there


def _may_write(path: Path) -> bool:
    """Whether this user may write a file, or create files in a folder; never true on a read-only file system."""
    needed = os.W_OK | (os.X_OK if path.is_dir() else os.R_OK)
    return os.access(path, needed, effective_ids=os.access in os.supports_effective_ids)


def _unwritable(paths: Sequence[Path]) -> Finding:
    names = list(dict.fromkeys(paths))
    me, first = _user(os.geteuid()), names[0]
    if os.statvfs(first).f_flag & os.ST_RDONLY:
        what = f"{_named(names)} on a read-only file system, where serve and enqueue cannot store anything"
        return Finding(
            "permissions", "problem", what, f"mount {quoted(first)} writable, or move the project to a writable disk"
        )
    what = f"{_named(names)} not writable for {me}, so serve and enqueue cannot store anything there"
    owner = _user(first.stat().st_uid)
    fix = f"run the command as {owner}" if owner != me else f"chmod u+w {quoted(*names[:SHOWN])}"
    return Finding("permissions", "problem", what, fix)


def _stats(context: CheckContext) -> Iterator[tuple[Path, os.stat_result]]:
    folders = [context.state_dir / name for name in FOLDERS]
    files = [path for name in FILES for path in sorted(context.state_dir.glob(name))]
    locks = (context.queue.serving_lock().path, context.queue.write_lock().path)
    of_queue = [*context.queue.files(), *(path for path in locks if not is_in_the_way(path))]
    for path in (*folders, *files, *of_queue):
        try:
            yield path, path.stat()
        except (
            FileNotFoundError,
            NotADirectoryError,
            PermissionError,
        ):  # `permissions` reports an unreadable folder separately
            continue


def _roots(context: CheckContext, found: dict[Path, os.stat_result]) -> list[Path]:
    """The state folder, and the files of a queue outside it."""
    return [path for path in found if path == context.state_dir or not path.is_relative_to(context.state_dir)]


def _ours(about: os.stat_result) -> int:
    return about.st_mode & _needed(about)


def _needed(about: os.stat_result) -> int:
    return 0o700 if stat.S_ISDIR(about.st_mode) else 0o600


def _named(paths: Sequence[Path], found: dict[Path, os.stat_result] | None = None) -> str:
    """The first paths, with their modes if `found` is given, the number of the others, and the verb."""
    modes = {path: f" ({stat.S_IMODE(about.st_mode):04o})" for path, about in (found or {}).items()}
    names = ", ".join(f"{path}{modes.get(path, '')}" for path in paths[:SHOWN])
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"{names}{more} {'is' if len(paths) == 1 else 'are'}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
