"""Hides values in text that people read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

SHORTEST: Final = 4
"""Characters of a value that is hidden; shorter ones stand everywhere by chance."""
HIDDEN: Final = "***"


class Mask:
    """Puts `***` in the place of values, of each of their lines, and of both as `repr` and JSON write them.

    `longest` is how many bytes of a text that is not complete may be the beginning of one.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        whole = {text for value in values for text in (value, *_lines(value)) if len(text) >= SHORTEST}
        shown = {form for text in whole for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])}
        self._forms = sorted(shown, key=len, reverse=True)  # so that one which is part of another leaves no rest of it
        self._bytes = [form.encode() for form in self._forms]
        self.longest = max(map(len, self._bytes), default=0)

    def text(self, text: str) -> str:
        """The text without the values."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def raw(self, data: bytes) -> bytes:
        """The same of bytes, which need not be UTF-8."""
        for form in self._bytes:
            data = data.replace(form, HIDDEN.encode())
        return data


NOTHING: Final = Mask()
"""The mask of a worker without secrets."""


def _lines(value: str) -> Iterator[str]:
    """The lines of a longer value: output is taken apart into lines."""
    return (line.strip() for line in value.splitlines())
