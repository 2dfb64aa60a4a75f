"""Finds the positions of keys and values in a TOML text, which tomllib does not report.

tomllib has already read the text, so it is valid. This scanner therefore checks nothing. It only skips strings, comments,
arrays and inline tables correctly. It runs only to point to a mistake, or to edit the file.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from typing import Final

KeyPath = tuple[str | int, ...]
"""Keys from the root, and the index of an element of an array: `("defaults", 0, "match")`."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK_OR_COMMA: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_NAME: Final = re.compile(r'[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_SCALAR: Final = re.compile(
    r'"""(?:\\.|"{1,2}(?!")|[^"\\])*"{3,5}'
    r"|'''(?:'{1,2}(?!')|[^'])*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[^,\]}\n#]+",
    re.DOTALL,
)


class Positions:
    """Offsets in a valid TOML text: `keys` and `values` by path. The value of a table has the offset of its key.

    `headers` lists the tables that have a header, in order, each with the offset of its first bracket.
    """

    def __init__(self, text: str) -> None:
        self.keys: dict[KeyPath, int] = {}
        self.values: dict[KeyPath, int] = {}
        self.headers: list[tuple[KeyPath, int]] = []
        self._text = text
        self._at = 0
        self._elements: dict[KeyPath, int] = {}
        with suppress(RecursionError):  # keeps the positions found so far
            self._scan()

    def of_key(self, path: KeyPath) -> int:
        """The offset of the key, or of the nearest table around it."""
        return self._nearest(self.keys, path)

    def of_value(self, path: KeyPath) -> int:
        """The offset of the value, or of the nearest table around it."""
        return self._nearest(self.values, path)

    def _nearest(self, offsets: dict[KeyPath, int], path: KeyPath) -> int:
        for length in range(len(path), 0, -1):
            for found in (offsets, self.values, self.keys):
                if path[:length] in found:
                    return found[path[:length]]
        return 0

    def _scan(self) -> None:
        table: KeyPath = ()
        while self._next(_BLANK):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        start = self._at
        self._at += brackets
        names = self._dotted()
        self._next(_BLANK)
        self._at += brackets
        path: KeyPath = ()
        for name, offset in names[:-1]:
            path = (*path, name)
            self._implied(path, offset)
            if path in self._elements:
                path = (*path, self._elements[path])
        name, offset = names[-1]
        path = (*path, name)
        if brackets == 2:
            self._implied(path, offset)
            self._elements[path] = self._elements.get(path, -1) + 1
            path = (*path, self._elements[path])
        self.keys[path] = self.values[path] = offset
        self.headers.append((path, start))
        return path

    def _pair(self, table: KeyPath) -> None:
        names = self._dotted()
        path = table
        for name, offset in names[:-1]:
            path = (*path, name)
            self._implied(path, offset)
        name, offset = names[-1]
        path = (*path, name)
        self.keys[path] = offset
        self._next(_BLANK)
        self._at += 1  # the equals sign
        self._next(_BLANK)
        self._value(path)

    def _implied(self, path: KeyPath, offset: int) -> None:
        self.keys.setdefault(path, offset)
        self.values.setdefault(path, offset)

    def _dotted(self) -> list[tuple[str, int]]:
        names: list[tuple[str, int]] = []
        while True:
            self._next(_BLANK)
            match = _NAME.match(self._text, self._at)
            if match is None:  # impossible in valid text; skip a character, so that the loop ends
                self._at += 1
                return [*names, ("", self._at - 1)]
            names.append((_unquoted(match[0]), self._at))
            self._at = match.end()
            dot = _DOT.match(self._text, self._at)
            if dot is None:
                return names
            self._at = dot.end()

    def _value(self, path: KeyPath) -> None:
        self.values[path] = self._at
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            match = _SCALAR.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._next(_BLANK_OR_COMMA) not in ("]", ""):
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._next(_BLANK_OR_COMMA) not in ("}", ""):
            self._pair(path)
        self._at += 1

    def _next(self, skipped: re.Pattern[str]) -> str:
        """Skip a pattern. Returns the next character, or an empty text at the end."""
        match = skipped.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]


def _unquoted(name: str) -> str:
    if name[0] not in "\"'":
        return name
    return next(iter(tomllib.loads(f"{name} = 0")))
