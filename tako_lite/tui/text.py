"""Text from users, times and counts as they stand in tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from tako_lite.wire import printable

SHOWN_ID: Final = 8
"""The last characters of an id: commands take them as well."""
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


def told(error: dict[str, Any] | None) -> str:
    """What an error says, after its reason. One that was raised has its type too: a KeyError alone says no more than `'id'`."""
    if error is None:
        return ""
    reason, type = error.get("reason"), error.get("type")
    raised = type if reason in (None, "failed") and type != "Failed" else None
    return ": ".join(filter(None, (reason, raised, error.get("message"))))


def block(value: str, style: str = "") -> Text:
    """Text of several lines from a user, folded where the terminal ends."""
    text = printable(value)
    if len(text) > LONGEST_VALUE:
        text = f"{text[:LONGEST_VALUE]}… (--json has all of it)"
    return Text(text, style, overflow="fold")


def state(name: str) -> Text:
    """A state in its colour."""
    return cell(name, STATE_STYLES.get(name, ""))


def begun(run: dict[str, Any]) -> int:
    """How many attempts of a run have begun: one that is under way, or parked, is not yet among those that count."""
    attempts: int = run["attempts"]
    return attempts + (run["state"] in ("running", "waiting"))


def as_json(value: Any) -> Text:
    """A payload or result as JSON."""
    return block(json.dumps(value, ensure_ascii=False, indent=2))


def span(seconds: float | None) -> str:
    """A duration to its largest unit: `45s`, `3m`, `2h`, `5d`."""
    if seconds is None:
        return ""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def when(moment: str | None, now: int) -> str:
    """An ISO time as seen from `now` (milliseconds): `3m ago`, `in 2h`."""
    if moment is None:
        return ""
    seconds = datetime.fromisoformat(moment).timestamp() - now / 1000
    return f"in {span(seconds)}" if seconds >= 1 else f"{span(-seconds)} ago"
