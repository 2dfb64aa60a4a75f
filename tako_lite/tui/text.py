"""How text from users, times and counts are shown in tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from tako_lite.names import printable
from tako_lite.tui.listing import UNBOUNDED
from tako_lite.units import duration_text

SHOWN_ID: Final = 8
"""The number of last characters of an id that tables show: commands accept them as an id."""
LONGEST_VALUE: Final = 4_000

STATE_STYLES: Final = {
    "active": "green",
    "starting": "cyan",
    "zero": "dim",
    "paused": "red",
    "backoff": "yellow",
    "unhealthy": "bold red",
    "pending": "cyan",
    "running": "green",
    "waiting": "blue",
    "succeeded": "green",
    "cancelled": "yellow",
    "dead": "bold red",
    "failed": "red",
}

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60))


def line(value: object) -> str:
    """The first line of text from a user; None is empty."""
    text = "" if value is None else printable(str(value)).replace("\t", " ")
    return text.strip().partition("\n")[0]


def cell(value: object, style: str = "") -> Text:
    """One line of text from a user, cut with an ellipsis where the column ends; None is empty."""
    return Text(line(value), style, no_wrap=True, overflow="ellipsis")


def error_text(error: dict[str, Any] | None) -> str:
    """An error in one line: its child run, if any, its reason, and its message.

    An exception has its type as well: the message of a KeyError alone is only `'id'`.
    """
    if error is None:
        return ""
    reason, type = error.get("reason"), error.get("type")
    raised = type if reason in (None, "failed") and type != "Failed" else None
    if error.get("message", "").startswith(f"{reason} "):  # such as `cancelled on request`
        reason = None
    child = f"child {error['child_id']} is {error.get('state')}" if error.get("child_id") else None
    return ": ".join(filter(None, (child, reason, raised, error.get("message"))))


class Block:
    """Text of several lines from a user: folded on a terminal, and cut where it is very long."""

    def __init__(self, value: str, style: str) -> None:
        self._text = Text(printable(value), style, overflow="fold")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._shown(console)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown(console))

    def _shown(self, console: Console) -> Text:
        if console.width >= UNBOUNDED or len(self._text) <= LONGEST_VALUE:
            return self._text
        return Text(f"{self._text.plain[:LONGEST_VALUE]}… (--json has all of it)", self._text.style, overflow="fold")


def block(value: str, style: str = "") -> Block:
    """Text of several lines from a user, folded at the width of the terminal."""
    return Block(value, style)


def state(name: str) -> Text:
    """A state in its colour."""
    return cell(name, STATE_STYLES.get(name, ""))


def as_json(value: Any) -> Block:
    """A payload or result as JSON."""
    return block(json.dumps(value, ensure_ascii=False, indent=2))


def span(seconds: float | None) -> str:
    """A duration rounded to its largest unit: `45s`, `3m`, `2h`, `5d`."""
    if seconds is None:
        return ""
    for unit, length in _UNITS:
        if seconds >= length - _rounding(length):
            return f"{int(seconds / length + 0.5)}{unit}"
    return f"{max(0, int(seconds + 0.5))}s"


def _rounding(length: int) -> float:
    """How far below one of a unit a value is still rounded up to one: half of the unit below."""
    return {60: 0.5, 3_600: 30, 86_400: 1_800}[length]


def took(seconds: float) -> str:
    """A short duration: `250ms`, `3s`, `1m30s`."""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f}ms"
    return duration_text(int(seconds + 0.5))


def when(moment: str | None, now: int) -> str:
    """An ISO time relative to `now` (milliseconds): `3m ago`, `in 2h`."""
    if moment is None:
        return ""
    seconds = datetime.fromisoformat(moment).timestamp() - now / 1000
    return f"in {span(seconds)}" if seconds >= 0.5 else f"{span(-seconds)} ago"
