"""The note that names the project's folder when it may not be the one that the user meant."""

from __future__ import annotations

from tako_lite.cli.output import note
from tako_lite.config.files import DEFAULT_PATH, FILE_NAME, current_folder, locate


def note_project() -> None:
    """Note on stderr which folder is the project, unless a tako.toml or a workflows folder marks it."""
    if locate() is None and not (folder := current_folder()).joinpath(DEFAULT_PATH).is_dir():
        note(f"no {FILE_NAME} here or above, so the project is {folder}; choose another with -c PATH or TAKO_CONFIG")
