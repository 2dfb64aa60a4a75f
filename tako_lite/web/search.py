"""Which runs the list shows: parameters of the address, and words of the search box.

`workflow:render state:dead since:2h broken` is a filter for a workflow, a state and a time, and a text. A word without a colon
is a text that the payload, the error or the unique key contains. `-workflow:render` leaves the runs of a workflow out. The
parameters of the address have the same names.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple

from tako_lite.clock import EARLIEST_MS, iso, milliseconds
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.states import HAS, RUN_STATES
from tako_lite.store.base import RunFilter
from tako_lite.units import parse_duration

DUE: Final = ("due", "scheduled")
"""Pending runs by whether their time has come: states of the list, not of the queue."""
STATES: Final = (*DUE, *(state for state in RUN_STATES if state != "pending"))

_SAME: Final = ("workflow", "group", "tenant", "parent", "reason", "error", "step", "since", "until")
_FIELDS: Final[Mapping[str, str]] = {
    **dict(zip(_SAME, _SAME, strict=True)),
    "key": "unique_key",
    "again": "again_of",
    "fp": "fingerprint",
    "ended": "ended_since",
    "longer": "min_duration",
}
"""The words that set one field of `RunFilter`, with these fields."""
_WORD_OF: Final = {name: word for word, name in _FIELDS.items()}
_PLAIN: Final = re.compile(r"[^\s\"'\\]+")
_ESCAPED: Final = re.compile(r"[\"\\]")
_SPECIAL: Final = re.compile(r"[\"'\\]")
WORDS: Final = ("state", *_FIELDS, "has")
"""The words of the search box."""


class Word(NamedTuple):
    """A word of the search box: `workflow:render`, `-tenant:acme`, or with the name `text` the free text."""

    name: str
    value: str
    is_opposite: bool = False

    def __str__(self) -> str:
        if self.name == "text":
            plain = not _SPECIAL.search(self.value) and " ".join(self.value.split()) == self.value
            return self.value if plain else _quoted(self.value)
        sign = "-" if self.is_opposite else ""
        return f"{sign}{self.name}:{_quoted(self.value)}"


class Search(NamedTuple):
    """What a visitor searches for."""

    chosen: RunFilter
    words: tuple[Word, ...]

    @property
    def state(self) -> str | None:
        """The state that the list is about; None for all."""
        return next((word.value for word in self.words if word.name == "state" and not word.is_opposite), None)

    @property
    def others(self) -> tuple[Word, ...]:
        """All words but the state, which has tabs of its own."""
        return tuple(word for word in self.words if word.name != "state" or word.is_opposite)

    @property
    def is_narrow(self) -> bool:
        """Whether very many runs may have to be read until enough match."""
        return bool(self.others)

    @property
    def text(self) -> str:
        """The other words as they are typed."""
        return " ".join(map(str, self.others))


def read_search(query: Mapping[str, str], now: int) -> Search:
    """The search of an address. Raises BadInput, which names the word that is wrong."""
    found = [Word(name, query[name]) for name in WORDS if query.get(name)]
    free: list[str] = [query.get("text", "")]
    for part in _split(query.get("q", "")):
        sign, name, value = _parts(part)
        if name in WORDS:
            found.append(Word(name, value, bool(sign)))
        else:
            if name.isalpha() and (hint := did_you_mean(name, WORDS)):
                raise BadInput(f"there is no word {name!r} for a search", hint=hint)
            free.append(part)
    if text := " ".join(filter(None, free)):
        found.append(Word("text", text))
    words = _last_of_each(found)
    return Search(_filter(words, now, query.get("before") or None), words)


def _parts(part: str) -> tuple[str, str, str]:
    """The minus, the name and the value of a part; without a value it has no name either."""
    sign = "-" if part.startswith("-") else ""
    name, colon, value = part.removeprefix(sign).partition(":")
    return (sign, name, value) if colon and value else ("", "", "")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark without its partner
        return text.split()


def _quoted(value: str) -> str:
    """A value that `_split` reads as one part."""
    if not value or _PLAIN.fullmatch(value):
        return value
    return '"' + _ESCAPED.sub(r"\\\g<0>", value) + '"'


def _last_of_each(words: Sequence[Word]) -> tuple[Word, ...]:
    """The words without those that a later one of the same name replaces; opposites and `has` may be repeated."""
    kept = {
        (word.name, word.value if word.is_opposite or word.name == "has" else None, word.is_opposite): word for word in words
    }
    return tuple(kept.values())


def _filter(words: Sequence[Word], now: int, before: str | None) -> RunFilter:
    fields: dict[str, Any] = {"before": before}
    without: list[tuple[str, str | int]] = []
    has: list[str] = []
    for word in words:
        conditions = _conditions(word, now)
        if word.is_opposite:
            without += conditions.items()
        elif word.name == "has":
            has.append(word.value)
        else:
            fields |= conditions
    if "state" in fields:
        fields["states"] = (fields.pop("state"),)
    return RunFilter(**fields, has=tuple(has), without=tuple(without))


def _conditions(word: Word, now: int) -> dict[str, Any]:
    """What a word asks for, by the names of conditions. Raises BadInput."""
    if word.name == "state":
        return _state(word.value, now)
    if word.name == "has":
        return {"has": _known(word.value, HAS, "word for `has`")}
    name = _FIELDS.get(word.name, word.name)
    return {name: _READERS[name](word.value, now) if name in _READERS else word.value}


def _state(state: str, now: int) -> dict[str, Any]:
    if state == "due":
        return {"due_before": now + 1}
    if state == "scheduled":
        return {"due_after": now}
    return {"state": state if state in RUN_STATES else _known(state, STATES, "state")}


def _known(value: str, known: Sequence[str], what: str) -> str:
    if value not in known:
        raise BadInput(f"there is no {what} {value[:60]!r}", hint=did_you_mean(value, known) or f"one of: {', '.join(known)}")
    return value


def _moment(value: str, now: int) -> int:
    try:
        return max(EARLIEST_MS, now - round(parse_duration(value) * 1000))
    except BadInput:
        return milliseconds(value)


_READERS: Final[Mapping[str, Callable[[str, int], object]]] = {
    "since": _moment,
    "until": _moment,
    "ended_since": _moment,
    "min_duration": lambda value, _: round(parse_duration(value) * 1000),
}


def in_all_states(chosen: RunFilter) -> RunFilter:
    """The same search in all states."""
    return replace(chosen, states=(), due_before=None, due_after=None)


def as_document(chosen: RunFilter) -> dict[str, Any]:
    """A search as the filter of a command, which is about every page of the list."""
    fields = {
        name: value for name, value in asdict(chosen).items() if value not in (None, ()) and name not in ("before", "after")
    }
    if chosen.without:
        fields["without"] = {}
        for name, value in chosen.without:
            fields["without"].setdefault(name, []).append(value)
    return fields


def words_of(document: Mapping[str, Any]) -> tuple[Word, ...]:
    """The words of the search box for the filter of a command; a condition for which there is no word is left out."""
    found: list[Word] = []
    for name, value in document.items():
        if name == "without":
            found += [
                word._replace(is_opposite=True) for other, each in value.items() for one in each for word in _word(other, one)
            ]
        elif name == "states":
            found += _word("state", value[0]) if len(value) == 1 else []
        elif name == "has":
            found += [Word("has", word) for word in value]
        else:
            found += _word(name, value)
    return tuple(found)


def _word(name: str, value: str | int) -> list[Word]:
    match name:
        case "due_before":
            return [Word("state", "due")]
        case "due_after":
            return [Word("state", "scheduled")]
        case "state" | "has" | "text":
            return [Word(name, str(value))]
    word = _WORD_OF.get(name)
    if word is None:
        return []
    return [Word(word, _written(name, value) if isinstance(value, int) else value)]


def _written(name: str, value: int) -> str:
    return f"{value}ms" if name == "min_duration" else iso(value) or ""
