"""Named SQL: `.sql` files cut into blocks at their `-- name:` lines."""

from __future__ import annotations

import re
from importlib.resources import files
from types import SimpleNamespace

_BLOCK = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(package: str, name: str) -> SimpleNamespace:
    """The statements of `<package>/queries/<name>.sql`, an attribute each."""
    text = (files(package) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _BLOCK.split(text)
    statements = (part.strip().removesuffix(";") for part in parts[1::2])
    return SimpleNamespace(**dict(zip(parts[::2], statements, strict=True)))
