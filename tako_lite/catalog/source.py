"""The text of one file, and mistakes that point into it."""

from __future__ import annotations

import ast
import threading
import warnings
from dataclasses import dataclass
from typing import Protocol

from tako_lite.errors import Mistake

_LONGEST_LINE = 200
_ONE_AT_A_TIME = threading.Lock()
"""Python 3.11 counts the depth of trees for all threads together, and fails where two make one at once; see gh-106905."""


class Node(Protocol):
    """A place in a file, as `ast` has it: lines count from 1, columns are bytes from 0."""

    @property
    def lineno(self) -> int: ...
    @property
    def col_offset(self) -> int: ...


class Unparsable(Exception):
    """The file is not Python; `mistake` says why. It never leaves this package."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it is shown to people (`shown`), and its lines."""

    shown: str
    lines: list[str]

    def mistake(self, node: Node, message: str, hint: str | None = None) -> Mistake:
        """A mistake at a node of the file's tree."""
        line = self._line(node.lineno)
        column = len(line.encode()[: node.col_offset].decode(errors="ignore")) + 1
        return self.mistake_at(node.lineno, column, message, hint)

    def mistake_at(self, line: int, column: int, message: str, hint: str | None = None) -> Mistake:
        """A mistake at a line and column, both from 1."""
        text = self._line(line).rstrip().replace("\t", " ")
        return Mistake(self.shown, line, column, message, text if len(text) <= _LONGEST_LINE else "", hint)

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


def parse(raw: bytes, shown: str) -> tuple[Source, ast.Module]:
    """The text and the tree of a file. Raises Unparsable."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unparsable(Mistake(shown, line, 1, "the file is not UTF-8", hint="save it as UTF-8")) from None
    # Lines end where Python ends them; str.splitlines knows more separators.
    source = Source(shown, text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes are told by Python when a worker imports the file
            tree = ast.parse(text)
            compile(tree, shown, "exec", dont_inherit=True)  # a parser lets some pass, such as `return` outside of a function
            return source, tree
    except SyntaxError as error:
        mistake = source.mistake_at(error.lineno or 1, max(error.offset or 1, 1), f"not valid Python: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        mistake = Mistake(shown, 1, 1, f"not valid Python: {error or 'it is nested too deeply'}")
    raise Unparsable(mistake)
