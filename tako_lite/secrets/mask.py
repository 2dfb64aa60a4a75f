"""Hides secrets in text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

SHORTEST: Final = 4
"""The shortest value that is hidden, in characters: shorter ones occur everywhere by chance."""
HIDDEN: Final = "***"


class Mask:
    """Replaces values and each of their lines by `***`, also in the forms that `repr` and JSON give them.

    `longest` is the length in bytes of the longest form: that much of an incomplete text may be the beginning of a secret.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        whole = {text for value in values for text in (value, *_lines(value)) if len(text) >= SHORTEST}
        shown = {form for text in whole for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])}
        self._forms = sorted(shown, key=len, reverse=True)  # longest first: a form may be part of another
        self._bytes = [form.encode() for form in self._forms]
        self.longest = max(map(len, self._bytes), default=0)

    def text(self, text: str) -> str:
        """The text without the values."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def raw(self, data: bytes) -> bytes:
        """The same for bytes, which need not be UTF-8."""
        for form in self._bytes:
            data = data.replace(form, HIDDEN.encode())
        return data


NOTHING: Final = Mask()
"""The mask of a worker without secrets."""


def _lines(value: str) -> Iterator[str]:
    """The lines of a value: output is split into lines."""
    return (line.strip() for line in value.splitlines())
