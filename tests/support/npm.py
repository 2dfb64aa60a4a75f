"""Programs from npm, which `make test-editors` installs."""

from __future__ import annotations

import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv/npm/node_modules/.bin"


def npm_program(name: str) -> str:
    """The path of a program."""
    found = FOLDER / name
    path = str(found) if found.exists() else shutil.which(name)
    assert path is not None, f"{name} is not installed: make test-editors"
    return path
