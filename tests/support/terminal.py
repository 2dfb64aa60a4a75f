"""Programs on a pseudo-terminal."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TAKO_CONFIG")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


def read_to_end(descriptor: int) -> bytes:
    """All that programs write until the last of them has closed its end."""
    read = b""
    try:
        while part := os.read(descriptor, 65536):
            read += part
    except OSError:  # what Linux says at the end of a terminal
        pass
    return read
