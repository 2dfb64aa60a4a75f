"""Which folder a command takes for the project, said where that may be a mistake."""

from __future__ import annotations

from tako_lite.cli.output import note
from tako_lite.config.files import DEFAULT_PATH, FILE_NAME, current_folder, locate


def note_project() -> None:
    """Say on stderr which folder is the project, where neither a tako.toml nor workflow files say so."""
    if locate() is None and not (folder := current_folder()).joinpath(DEFAULT_PATH).is_dir():
        note(f"no {FILE_NAME} here or above, so {folder} is the project; -c PATH or TAKO_CONFIG names another")
