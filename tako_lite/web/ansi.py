"""Colours of terminals in log lines: sixteen become classes, and every other control sequence is dropped."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SEQUENCE: Final = re.compile(
    r"\x1b\[([0-9;:]*)m"  # colours and weights
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # any other control sequence
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # operating system commands, such as links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\|$)|\x1b."
)
_COLOURS: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


class Piece(NamedTuple):
    """Text in one style: the names of its classes, separated by spaces."""

    style: str
    text: str


def pieces(line: str) -> list[Piece]:
    """The text of a line by style."""
    found: list[Piece] = []
    colour, bold, at = "", False, 0

    def add(text: str) -> None:
        if text:
            found.append(Piece(" ".join(filter(None, (colour, "bold" if bold else ""))), text))

    for sequence in _SEQUENCE.finditer(line):
        add(line[at : sequence.start()])
        at = sequence.end()
        for code in _codes(sequence[1]):
            if code == 0:
                colour, bold = "", False
            elif code == 1:
                bold = True
            elif code == 22:
                bold = False
            elif code == 39:
                colour = ""
            elif 30 <= code <= 37:
                colour = _COLOURS[code - 30]
            elif 90 <= code <= 97:
                colour = f"bright-{_COLOURS[code - 90]}"
    add(line[at:])
    return found


def _codes(parameters: str | None) -> list[int]:
    """The codes of a sequence. Those of 256 colours and of true colours, which have arguments, are left out."""
    if parameters is None:
        return []
    if not parameters:
        return [0]
    words = re.split("[;:]", parameters)
    if any(word in ("38", "48") for word in words):
        return []
    return [int(word or 0) for word in words[:16] if len(word) <= 3]
