"""The text of one file, and mistakes that point into it."""

from __future__ import annotations

import ast
import io
import threading
import tokenize
import warnings
from dataclasses import dataclass
from typing import Protocol

from tako_lite.catalog.interpreters import OWN_VERSION, Fault
from tako_lite.errors import Mistake

_LONGEST_LINE = 200
_ONE_AT_A_TIME = threading.Lock()
"""Python 3.11 counts the depth of trees for all threads together, and fails if two threads parse at once; see gh-106905."""


class Node(Protocol):
    """A place in a file, in the form of `ast`: lines count from 1, columns are bytes from 0."""

    @property
    def lineno(self) -> int: ...
    @property
    def col_offset(self) -> int: ...


class Unreadable(Exception):
    """The file cannot be read as text; `mistake` tells why. This exception never leaves the package."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file as messages name it (`shown`), its text, and its lines; two files are never equal."""

    shown: str
    text: str
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


def read_source(raw: bytes, shown: str) -> Source:
    """The text of a file in the encoding that its first lines declare, by default UTF-8. Raises Unreadable."""
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(raw).readline)[0]
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        is_utf8 = encoding.startswith("utf-8")
        hint = "save it as UTF-8" if is_utf8 else f"save it as {encoding}, which its first lines declare"
        raise Unreadable(Mistake(shown, line, 1, f"the file is not {'UTF-8' if is_utf8 else encoding}", hint=hint)) from None
    except SyntaxError as error:
        raise Unreadable(_unknown_encoding(raw, shown, error)) from None
    text = text.removeprefix("\ufeff")
    # Split lines as Python does; str.splitlines knows more separators.
    return Source(shown, text, text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _unknown_encoding(raw: bytes, shown: str, error: SyntaxError) -> Mistake:
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        return Mistake(shown, line, 1, "the file is not UTF-8", hint="save it as UTF-8")
    return Mistake(shown, 1, 1, f"not valid Python: {error.msg}", hint="declare the right encoding, or none for UTF-8")


def parse(source: Source) -> ast.Module | Fault:
    """The tree of a source as our own interpreter parses it, or a fault."""
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about invalid escapes when a worker imports the file
            tree = ast.parse(source.text)
            # The parser accepts some errors, such as `return` outside of a function.
            compile(tree, source.shown, "exec", dont_inherit=True)
            return tree
    except SyntaxError as error:
        return Fault(OWN_VERSION, error.lineno or 1, max(error.offset or 1, 1), error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return Fault(OWN_VERSION, 1, 1, str(error) or "it is nested too deeply")
