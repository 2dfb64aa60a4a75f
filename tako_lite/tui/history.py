"""The history of a run: its attempts, and the tries of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.text import STATE_STYLES, error_text, line, took, when
from tako_lite.units import counted

SHOWN: Final = 30
"""The most rows that are shown: the newest."""
HISTORY: Final = (
    Column("attempt"),
    Column("ended"),
    Column("started", rank=1),
    Column("executed", right=True),
    Column("worker", rank=2),
    Column("error", below=True),
)
_STYLES: Final = {"succeeded": "succeeded", "failed": "dead", "timeout": "dead", "crashed": "dead", "cancelled": "cancelled"}


def history_view(history: Sequence[dict[str, Any]], now: int) -> list[RenderableType]:
    """How the attempts of a run and the tries of its steps ended, oldest first."""
    parts: list[RenderableType] = [Text("history", "dim")]
    if len(history) > SHOWN:
        parts.append(Text(f"… {counted(len(history) - SHOWN, 'older attempt')}; --json lists them", "dim"))
    return [*parts, Listing(HISTORY, (_cells(attempt, now) for attempt in history[-SHOWN:]))]


def _cells(attempt: dict[str, Any], now: int) -> list[Cell]:
    name = f"step {attempt['step']}, try {attempt['number']}" if attempt["step"] else str(attempt["number"])
    error = attempt["error"]
    worker = f"{attempt['worker_pid']} on {attempt['server']}" if attempt["worker_pid"] else ""
    return [
        (line(name), ""),
        (attempt["kind"], STATE_STYLES.get(_STYLES.get(attempt["kind"], ""), "")),
        (when(attempt["started_at"], now), ""),
        (took(attempt["executed_ms"] / 1000), ""),
        (line(worker), ""),
        (line(error_text(error)) if error else "", ""),
    ]
