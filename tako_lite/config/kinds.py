"""The kinds of group settings: what each accepts in tako.toml, and how tables print its value.

`GroupSettings` names the kind of each setting once. The reader of tako.toml, `KEY=VALUE` on a command line and the tables of
`config` and `groups` all follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tako_lite.config import values
from tako_lite.config.values import Reader
from tako_lite.units import duration_text, size_text


class Kind(NamedTuple):
    """A kind of setting."""

    reader: Callable[[Path], Reader] | None
    """Makes the reader for a value from the project's folder; None if the reader of tako.toml needs other tables as well."""
    text: Callable[[Any], str] = str
    """Prints a value."""
    element: Reader | None = None
    """Of an array: what each of its elements accepts on a command line."""
    entry: Callable[[str], Reader] | None = None
    """Of a table: makes the reader for an entry from its name."""


def plain(reader: Reader) -> Kind:
    """A setting whose values are read and printed as they are."""
    return Kind(lambda root: reader)


def whole(low: int, high: int) -> Kind:
    """A whole number between the two."""
    return plain(values.whole(low, high))


def duration(low: float = 0.0) -> Kind:
    """A duration of at least `low` seconds."""
    return Kind(lambda root: values.span(low), duration_text)


def size(low: int) -> Kind:
    """A size of at least `low` bytes."""
    return Kind(lambda root: values.size(low), size_text)


def array(element: Reader, reader: Reader | None = None) -> Kind:
    """An array of names; `reader` reads it as a whole."""
    return Kind(None if reader is None else lambda root: reader, " ".join, element=element)


def table(entry: Callable[[str], Reader]) -> Kind:
    """A table of entries with names of the user's choice."""
    return Kind(None, _pairs, entry=entry)


def secrets() -> Kind:
    """An array of names from `[secrets]`; printed with the source of each."""
    return Kind(None, _pairs, element=values.name)


def _pairs(value: dict[str, Any]) -> str:
    return " ".join(f"{key}={item}" for key, item in value.items())
