"""Whose the project's files are, and who else may read them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tako_lite.cli.checks.finding import Finding, Subject, quoted

SHOWN: Final = 3
FOLDERS: Final = (".", "logs", "workers")
FILES: Final = ("daemon.lock", "write.lock", "tako.sock", "logs/*.jsonl*", "workers/[0-9]*")


def permissions(subject: Subject) -> Iterator[Finding]:
    """Whether folders are 0700 and files 0600, and whether all of them are ours."""
    found = dict(_stats(subject))
    if not found:
        yield Finding("permissions", "ok", f"nothing is stored in {subject.state_dir} yet")
        return
    theirs = [path for path, about in found.items() if about.st_uid != os.geteuid()]
    closed = [path for path, about in found.items() if _ours(about) != _needed(about)]
    open_to_others = [path for path, about in found.items() if about.st_mode & 0o077]
    roots = quoted(*_roots(subject, found))
    if theirs:
        owner, me = _user(found[theirs[0]].st_uid), _user(os.geteuid())
        mend = f"give the command as {owner}, or make them yours: sudo chown -R {me} {roots}"
        yield Finding("permissions", "problem", f"{_named(theirs)} of {owner}, not of {me}", mend)
    mend = f"chmod -R u+rwX,go-rwx {roots}"
    if closed:
        yield Finding("permissions", "problem", f"{_named(closed, found)} closed to the owner as well", mend)
    if open_to_others:
        yield Finding("permissions", "warning", f"{_named(open_to_others, found)} open to other users", mend)
    if not (theirs or closed or open_to_others):
        yield Finding("permissions", "ok", "folders are 0700, files 0600, and all of them yours")


def _stats(subject: Subject) -> Iterator[tuple[Path, os.stat_result]]:
    folders = [subject.state_dir / name for name in FOLDERS]
    files = [path for name in FILES for path in sorted(subject.state_dir.glob(name))]
    for path in (*folders, *files, subject.queue, subject.log, subject.index):
        try:
            yield path, path.stat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # a folder closed to us is a finding of its own
            continue


def _roots(subject: Subject, found: dict[Path, os.stat_result]) -> list[Path]:
    """The state folder, and the files of a queue that is elsewhere."""
    return [path for path in found if path == subject.state_dir or not path.is_relative_to(subject.state_dir)]


def _ours(about: os.stat_result) -> int:
    return about.st_mode & _needed(about)


def _needed(about: os.stat_result) -> int:
    return 0o700 if stat.S_ISDIR(about.st_mode) else 0o600


def _named(paths: Sequence[Path], found: dict[Path, os.stat_result] | None = None) -> str:
    """The first paths, with their modes where those are the matter, how many there are more, and the verb."""
    modes = {path: f" ({stat.S_IMODE(about.st_mode):04o})" for path, about in (found or {}).items()}
    names = ", ".join(f"{path}{modes.get(path, '')}" for path in paths[:SHOWN])
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"{names}{more} {'is' if len(paths) == 1 else 'are'}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
