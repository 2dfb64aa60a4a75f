"""The text and the tables of tako.toml, and mistakes that point to a place in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tako_lite.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from tako_lite.config.positions import KeyPath, Positions

MAX_FILE_SIZE: Final = 1 << 20
_WHERE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_SECOND_TIME: Final = {
    "Cannot overwrite a value": "this key is set twice",
    "Cannot declare": "this table is defined twice",
    "Cannot mutate immutable namespace": "this table is defined twice",
}


class Document:
    """A tako.toml that is valid TOML; `name` is the file name that mistakes show."""

    def __init__(self, name: str, text: str) -> None:
        """Parse the text. Raises ConfigError if it is not TOML."""
        self.name = name
        self.text = text
        self._positions: Positions | None = None
        try:
            self.tables: dict[str, Any] = tomllib.loads(text)
        except RecursionError:
            raise ConfigError([Mistake(name, 1, 1, "arrays or tables are nested too deeply")]) from None
        except ValueError as error:
            raise ConfigError([_syntax_mistake(name, text, str(error))]) from None

    def mistake(self, path: KeyPath, message: str, hint: str | None = None, *, at_key: bool = False) -> Mistake:
        """A mistake that points to the value at a path, or to its key."""
        from tako_lite.config.positions import Positions  # only needed for a mistake

        if self._positions is None:
            self._positions = Positions(self.text)
        found = self._positions.of_key(path) if at_key else self._positions.of_value(path)
        line, column = line_and_column(self.text, found)
        return Mistake(self.name, line, column, message, _source_line(self.text, line), hint)


def read_document(file: Path) -> Document:
    """Read the document in a file. Raises ConfigError if it cannot be read, is not UTF-8 or is not TOML."""
    name = shown(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError([Mistake(name, 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError([Mistake(name, 0, 0, "the file is larger than 1 MiB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        line, column = line_and_column(before, len(before))
        raise ConfigError([Mistake(name, line, column, "this byte is not UTF-8")]) from None
    return Document(name, text.replace("\r\n", "\n"))


def shown(file: Path) -> str:
    """The path as messages show it: relative if the file is below the current folder."""
    try:
        return str(file.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and column of an offset, counted from 1."""
    start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - start + 1


def _syntax_mistake(name: str, text: str, error: str) -> Mistake:
    where = _WHERE.search(error)
    message = error[: where.start()] if where else "a number has too many digits"  # the only error without a position
    if where and where[1]:
        line, column = int(where[1]), int(where[2])
    else:
        line, column = line_and_column(text, len(text.rstrip("\n")) if where else 0)
    source = _source_line(text, line)
    for start, plain in _SECOND_TIME.items():
        if message.startswith(start):  # tomllib points after the value, but the key is the duplicate
            message, column = plain, len(source) - len(source.lstrip()) + 1
    return Mistake(name, line, column, message[:1].lower() + message[1:], source)


def _source_line(text: str, line: int) -> str:
    """The line. Control characters, which would displace the caret, become blanks."""
    lines = text.split("\n")
    source = lines[line - 1] if line <= len(lines) else ""
    return "".join(character if character.isprintable() else " " for character in source)
