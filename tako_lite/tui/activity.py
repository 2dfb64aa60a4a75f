"""The list of what people changed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.text import line, when

ACTIVITY: Final = (
    Column("when"),
    Column("who"),
    Column("by", rank=2),
    Column("action"),
    Column("target"),
    Column("detail", below=True),
)

HIDDEN: Final = ("done", "stopped", "counts", "runs")
"""Keys of details that other keys imply; `--json` has them."""


def activity_table(found: Sequence[dict[str, Any]], now: int) -> RenderableType:
    """A list of entries, one a line, with their details below."""
    return Listing(ACTIVITY, (_cells(entry, now) for entry in found)) if found else Text("no activity", "dim")


def _cells(entry: dict[str, Any], now: int) -> list[Cell]:
    about = {key: value for key, value in entry["detail"].items() if value not in (None, {}, []) and key not in HIDDEN}
    detail = ", ".join(f"{key}: {_text(value)}" for key, value in about.items())
    words = (entry["actor"], entry["source"], entry["action"], entry["target"], detail)
    return [(when(entry["at"], now), ""), *((line(word), "") for word in words)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
