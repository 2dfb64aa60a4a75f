"""Durations, rates, sizes and counts as people write them: "5m", "1h30m", "512MB", "3 runs"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tako_lite.errors import BadInput

if TYPE_CHECKING:
    from datetime import timedelta

MAX_DURATION: Final = 36_525 * 86_400.0
"""A hundred years, in seconds: longer ones are refused as slips of the pen."""

MAX_SIZE: Final = 1 << 60

_SECONDS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_DURATION: Final = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in _SECONDS))
_BARE_NUMBER: Final = re.compile(_NUMBER)
_DURATION_HINT: Final = 'write a number with a unit (ms, s, m, h, d, w), such as "30s", "5m" or "1h30m"'

_DECIMAL: Final = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3}
_BINARY: Final = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_BYTES: Final = {unit.upper(): count for unit, count in {**_DECIMAL, **_BINARY, "B": 1}.items()}
_SIZE: Final = re.compile(rf"({_NUMBER}) ?([KMGT]i?B|B)", re.IGNORECASE)
_SIZE_HINT: Final = 'write a number with a unit (KB, MB, GB, KiB, MiB, GiB), such as "512MB"'

MOST_IN_A_RATE: Final = 10_000
"""Each start within its time is counted at each claim."""
BURST: Final = 10
"""The part of a rate that may come at once: a tenth."""
RATE_HINT: Final = f'write a count from 1 to {MOST_IN_A_RATE:,} and a time, such as "10/s", "100/h" or "5/30s"'

_LONGEST_TEXT: Final = 64


def duration(value: float | timedelta | str) -> float:
    """The seconds that a number, a `timedelta` or text with a unit stands for; BadInput for anything else."""
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded_seconds(value)
    from datetime import timedelta  # a caller with a timedelta has imported it already

    if isinstance(value, timedelta):
        return _bounded_seconds(value.total_seconds())
    raise BadInput(f"a duration cannot be of type {type(value).__name__}", hint=_DURATION_HINT)


def parse_duration(text: str) -> float:
    """The seconds in text whose unit is compulsory: `"250ms"`, `"5m"`, `"1h30m"` (large units first, each once)."""
    stripped = text.strip()
    match = _DURATION.fullmatch(stripped) if 0 < len(stripped) <= _LONGEST_TEXT else None
    if match is None:
        bare = _BARE_NUMBER.fullmatch(stripped[:_LONGEST_TEXT])
        hint = f'a duration needs a unit: "{stripped}s" is seconds' if bare else _DURATION_HINT
        raise BadInput(f"{_quoted(text)} is not a duration", hint=hint)
    amounts = zip(match.groups(), _SECONDS.items(), strict=True)
    # Milliseconds are divided, not multiplied by 0.001: 7ms is then exactly 0.007.
    total = sum(float(n) / 1000 if unit == "ms" else float(n) * length for n, (unit, length) in amounts if n)
    return _bounded_seconds(total)


def duration_text(seconds: float) -> str:
    """Text that `parse_duration` reads, to the millisecond: `"5m"`, `"1h30m"`, `"7d"`, `"0s"`."""
    rest = round(abs(seconds) * 1000)
    parts = []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    sign = "-" if seconds < 0 and parts else ""
    return sign + ("".join(parts) or "0s")


class Rate(NamedTuple):
    """At most `most` events within any `seconds`, spaced evenly except for a burst of `burst` events (None: of all)."""

    most: int
    seconds: float
    burst: int | None = None

    @property
    def pause(self) -> float:
        """Milliseconds between two evenly spaced events."""
        return self.seconds * 1000 / self.most

    @property
    def at_once(self) -> int:
        """The number of events that may happen at once."""
        return self.most if self.burst is None else self.burst


def parse_rate(text: str) -> Rate:
    """The rate in text such as `"10/s"`, `"100/h"` or `"5/30s"`."""
    count, slash, period = text.strip().partition("/")
    if not slash or not count.isdecimal() or not 0 < len(count) <= 7 or int(count) == 0:
        raise BadInput(f"{_quoted(text)} is not a rate", hint=RATE_HINT)
    if int(count) > MOST_IN_A_RATE:
        raise BadInput(
            f"{_quoted(text)} has too many events: at most {MOST_IN_A_RATE:,}", hint='use a shorter period, such as "100/s"'
        )
    seconds = parse_duration(f"1{period}" if period in _SECONDS else period)
    if seconds == 0:
        raise BadInput(f"{_quoted(text)} is not a rate: its period is zero", hint=RATE_HINT)
    return Rate(int(count), seconds, max(int(count) // BURST, 1))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 run`, `1,000 runs`. `plural` is for nouns whose plural is not formed with `s`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def was_or_were(number: int) -> str:
    """The verb for a number of things."""
    return "was" if number == 1 else "were"


def parse_size(text: str) -> int:
    """The bytes in text with a unit; KB, MB and GB count in thousands, KiB, MiB and GiB in 1024."""
    stripped = text.strip()
    match = _SIZE.fullmatch(stripped) if len(stripped) <= _LONGEST_TEXT else None
    if match is None:
        hint = f'a size needs a unit: "{stripped}B" is bytes' if stripped.isdecimal() else _SIZE_HINT
        raise BadInput(f"{_quoted(text)} is not a size", hint=hint)
    number, factor = match[1], _BYTES[match[2].upper()]
    size = int(number) * factor if "." not in number else round(float(number) * factor)
    if size > MAX_SIZE:
        raise BadInput(f"{_quoted(text)} is too large for a size", hint=f"the largest size is {MAX_SIZE >> 40}TiB")
    return size


def size_text(size: int) -> str:
    """Bytes as `"512MB"` or `"512MiB"` if one of them is exact, else rounded to a tenth: `"1.2MB"`."""
    for units, base in ((_DECIMAL, 1000), (_BINARY, 1024)):
        for unit, count in units.items():
            if size % count == 0 and 0 < size // count < base:
                return f"{size // count}{unit}"
    for unit, count in _DECIMAL.items():
        if size >= count:
            return f"{size / count:.1f}{unit}"
    return f"{size}B"


def _bounded_seconds(seconds: float) -> float:
    if 0 <= seconds <= MAX_DURATION:  # false for NaN too
        return float(seconds)
    if seconds > MAX_DURATION:
        raise BadInput("the duration is too large", hint="the longest duration is 36525d, a hundred years")
    raise BadInput("a duration cannot be negative" if seconds < 0 else "NaN is not a duration", hint=_DURATION_HINT)


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")
