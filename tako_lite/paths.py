"""Paths on disk."""

from __future__ import annotations

import os
from pathlib import Path


def nearest(path: Path) -> Path:
    """The path itself, or where that is not made yet the folder that it would be made in."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def sync(path: Path) -> None:
    """Have a file or folder, with the names in it, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
