"""Finds the tako.toml of a project: the given one, or the nearest one in the current folder and its parents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tako_lite.errors import ConfigError, Mistake, NoProject
from tako_lite.stamps import file_stamp

FILE_NAME: Final = "tako.toml"
DEFAULT_PATH: Final = "workflows"
"""The folder of the workflow files, unless tako.toml names another."""
STATE_DIR: Final = ".tako"
"""The folder of the queue, the socket and the logs, beside tako.toml."""
SOCKET_NAME: Final = "tako.sock"


def find_file(start: Path | None = None) -> Path | None:
    """The tako.toml of `TAKO_CONFIG`, else the nearest one in the current folder and its parents, else None.

    With `start`, the search starts there and ignores the environment.
    """
    if start is None and (named := os.environ.get("TAKO_CONFIG")):
        return _existing(named, " (from TAKO_CONFIG)")
    folder = start or current_folder()
    folder = absolute(folder)
    return next((parent / FILE_NAME for parent in (folder, *folder.parents) if _is_file(parent / FILE_NAME)), None)


def locate(config: str | Path | None = None) -> Path | None:
    """The tako.toml at a path, which may be its folder. Without a path, the one that `find_file` finds.

    Returns None if the current folder is a project without that file: it contains `workflows` or `.tako`. Raises NoProject if
    it contains neither, and ConfigError if the path, or that in `TAKO_CONFIG`, does not exist.
    """
    if config is not None:
        return _existing(config, "")
    if (file := find_file()) is None and not _is_project(folder := current_folder()):
        raise no_project(folder)
    return file


def no_project(folder: Path) -> NoProject:
    """The error for a folder that is not in a project."""
    what = f"{folder} is not a project: no {FILE_NAME} here or above, no {DEFAULT_PATH}/ and no {STATE_DIR}/"
    return NoProject(what, hint="change to the project's folder, or name it: -c PATH, TAKO_CONFIG, or Client(PATH) in Python")


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (DEFAULT_PATH, STATE_DIR))


def stamp(file: Path) -> list[int] | None:
    """The stamp of a file, as in the daemon's hello. None if there is no file."""
    found = file_stamp(file)
    return None if found is None else [*found]


def absolute(path: Path) -> Path:
    """The absolute path, without `..`.

    Links are not resolved: if `current` is a link to the newest release, the project remains in `current`.
    """
    return Path(os.path.normpath(path if path.is_absolute() else current_folder() / path))


def current_folder() -> Path:
    """The current folder. Raises ConfigError if it was deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError([Mistake(".", 0, 0, "the current folder no longer exists")]) from error


def _existing(config: str | Path, origin: str) -> Path:
    if "\0" in str(config):
        raise ConfigError([Mistake(FILE_NAME, 0, 0, f"a path must not contain a NUL character{origin}")])
    path = absolute(Path(config))
    file = path / FILE_NAME if path.is_dir() else path
    if not _is_file(file):
        from tako_lite.config.document import shown  # imports tomllib, which a client does not need otherwise

        hint = "give the path of a tako.toml or of the folder that it is in"
        raise ConfigError([Mistake(shown(file), 0, 0, f"the file does not exist{origin}", hint=hint)])
    return file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that this user may not read
        return False
