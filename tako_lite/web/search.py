"""Which runs the list shows: parameters of the address, and words of the search box.

`workflow:render state:dead since:2h broken` is a filter for a workflow, a state and a time, and a text. A word without a colon
is a text that the payload, the error or the unique key contains. The parameters of the address have the same names.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tako_lite.clock import EARLIEST_MS, milliseconds
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.states import RUN_STATES
from tako_lite.store.base import RunFilter
from tako_lite.units import parse_duration

DUE: Final = ("due", "scheduled")
"""Pending runs by whether their time has come: states of the list, not of the queue."""
STATES: Final = (*DUE, *(state for state in RUN_STATES if state != "pending"))

_SAME: Final = ("state", "workflow", "group", "tenant", "parent", "reason", "since", "until")
_WORDS: Final[Mapping[str, str]] = {
    **dict(zip(_SAME, _SAME, strict=True)),
    "key": "unique_key",
    "again": "again_of",
    "fp": "fingerprint",
    "ended": "ended_since",
    "longer": "min_duration",
}
"""The words of the search box, with the fields of `RunFilter` that they set."""


class Search(NamedTuple):
    """What a visitor searches for."""

    chosen: RunFilter
    words: Mapping[str, str]
    """The filters by their words, as they stand in addresses; `text` is the free text."""

    @property
    def is_narrow(self) -> bool:
        """Whether very many runs may have to be read until enough match."""
        return bool(self.words.keys() - {"state"})


def read_search(query: Mapping[str, str], now: int) -> Search:
    """The search of an address. Raises BadInput, which names the word that is wrong."""
    words = {word: query[word] for word in _WORDS if query.get(word)}
    free: list[str] = []
    for part in _split(query.get("q", "")):
        word, colon, value = part.partition(":")
        if colon and value and word in _WORDS:
            words[word] = value
        else:
            if colon and value and (hint := did_you_mean(word, _WORDS)) and word.isalpha():
                raise BadInput(f"there is no word {word!r} for a search", hint=hint)
            free.append(part)
    text = " ".join(filter(None, (query.get("text", ""), *free)))
    if text:
        words["text"] = text
    return Search(_filter(words, now, query.get("before") or None), words)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark without its partner
        return text.split()


def _filter(words: Mapping[str, str], now: int, before: str | None) -> RunFilter:
    fields: dict[str, Any] = {"before": before}
    for word, value in words.items():
        if word not in ("state", "text"):
            name = _WORDS[word]
            fields[name] = _READERS[name](value, now) if name in _READERS else value
    if "text" in words:
        fields["text"] = words["text"]
    chosen = RunFilter(**fields)
    return _in_state(chosen, words["state"], now) if "state" in words else chosen


def _in_state(chosen: RunFilter, state: str, now: int) -> RunFilter:
    if state == "due":
        return replace(chosen, due_before=now + 1)
    if state == "scheduled":
        return replace(chosen, due_after=now)
    if state not in RUN_STATES:
        hint = did_you_mean(state, STATES) or f"states: {', '.join(STATES)}"
        raise BadInput(f"there is no state {state[:60]!r}", hint=hint)
    return replace(chosen, states=(state,))


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
