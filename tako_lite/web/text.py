"""Times, numbers and text as pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tako_lite.names import printable
from tako_lite.units import counted as counted
from tako_lite.units import size_text

SHOWN_ID: Final = 8
"""The number of last characters of an id that pages show."""
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_ISO: Final = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)")
_INVISIBLE: Final = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
"""Characters that reorder text or take no space, with which a text can look like another one."""


def plain(value: object) -> str:
    """Text from a user, with control and invisible characters as visible escapes."""
    text = printable("" if value is None else str(value))
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def one_line(value: object, most: int = 200) -> str:
    """The first line of a text from a user, shortened."""
    line = plain(value).strip().partition("\n")[0].replace("\t", " ")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON for people."""
    return plain(json.dumps(value, ensure_ascii=False, indent=indent))


def short_id(id: str) -> str:
    """The end of an id, which commands accept as the id."""
    return id[-SHOWN_ID:]


def with_times(sentence: str) -> list[tuple[str, str | None]]:
    """The parts of a sentence of the daemon, each with its moment if it is an ISO time."""
    words = _ISO.split(sentence)
    return [(word, word if position % 2 else None) for position, word in enumerate(words) if word]


def number(value: float | None) -> str:
    """A number with separators; nothing is a dash."""
    return "–" if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """A size in bytes for people."""
    return "–" if value is None else size_text(value)


def clock(moment: str, now: int) -> str:
    """An ISO time in the time zone of this machine: the time alone if it is of today, else with its date."""
    when, today = datetime.fromisoformat(moment).astimezone(), datetime.fromtimestamp(now / 1000).astimezone()
    if when.date() == today.date():
        return f"{when:%H:%M:%S}"
    return f"{when:%-d %b %H:%M}" if when.year == today.year else f"{when:%-d %b %Y %H:%M}"


def milliseconds(moment: str) -> int:
    """An ISO time in milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).astimezone(UTC).timestamp() * 1000)


def span(seconds: float | None) -> str:
    """A duration in its two largest units: `250 ms`, `3.2 s`, `1 m 04 s`, `3 d 2 h`; nothing is a dash."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    for length, unit, smaller, below in _UNITS:
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {unit} {rest:02d} {below}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def took(begin: str | None, end: str | None) -> str:
    """The time between two ISO times; nothing is a dash."""
    return span((milliseconds(end) - milliseconds(begin)) / 1000) if begin and end else "–"


def age(moment: str, now: int) -> str:
    """An ISO time relative to now: `12 s ago`, `in 3 h`."""
    seconds = (milliseconds(moment) - now) / 1000
    unit = next(((length, unit) for length, unit, _, _ in _UNITS if abs(seconds) >= length), (1, "s"))
    amount = f"{int(abs(seconds) / unit[0] + 0.5)} {unit[1]}"
    return f"in {amount}" if seconds >= 0.5 else f"{amount} ago"


def about(run: Mapping[str, Any]) -> tuple[str, Any]:
    """What a line of the list says of a run: what kind of fact it is, and the fact."""
    if run["state"] == "dead" and run["error"]:
        return "error", run["error"]
    if run["state"] == "running" and run["progress"] is not None:
        return "progress", run
    if run["state"] == "succeeded":
        return "value", run["result"]
    return "value", run["payload"]


_HAS: Final = {
    "key": "unique key",
    "waits": "wait",
    "steps": "step",
    "retries": "retry",
    "children": "child",
    "crashes": "crash",
}
_WORDS: Final = {
    "states": "state",
    "unique_key": "unique key",
    "again_of": "again of",
    "fingerprint": "error",
    "text": "text",
    "ended_since": "ended since",
    "ended_until": "ended before",
    "since": "created since",
    "until": "created before",
    "due_before": "due before",
    "due_after": "due after",
    "min_duration": "duration of at least",
}


def filter_words(chosen: Mapping[str, Any]) -> str:
    """A filter of runs in words: `state dead or cancelled, workflow send-mail`."""
    return ", ".join(part for name, value in chosen.items() for part in _filter_parts(name, value))


def _filter_parts(name: str, value: Any) -> list[str]:
    if name == "has":
        return [f"any {_HAS.get(word, word)}" for word in value]
    if name == "without":
        return [f"not {part}" for other, each in value.items() for one in each for part in _filter_parts(other, [one])]
    return [f"{_WORDS.get(name, name)} {_filter_value(name, value)}"]


def _filter_value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(_filter_value(name, one) for one in value)
    if name == "min_duration":
        return span(value / 1000)
    if name.endswith(("since", "until", "before", "after")) and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000).astimezone().strftime("%-d %b %Y %H:%M:%S")
    return str(value)
