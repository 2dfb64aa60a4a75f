"""Reads the file that `env_file` names: a variable a line, as in the .env of other tools. Mistakes never show a value.

NAME=value, NAME='literal', NAME="with \\n escapes"; `export` may precede the name, and `#` begins a comment. Quoted values may
have several lines. Variables in values are not expanded: a `${NAME}` that another tool would expand is a mistake.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tako_lite.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from tako_lite.config.settings import Config

MAX_SIZE: Final = 1 << 20
_NOTHING: Final = re.compile(r"[ \t]*(#[^\n]*)?(\n|\Z)")
_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<equals>[ \t]*=[ \t]*)?")
_LITERAL: Final = re.compile(r"'([^']*)'")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN: Final = re.compile(r"(?:(?![ \t]#)[^\n])*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}
_REFERENCE: Final = re.compile(r"(?<!\\)\$\{")


def read_env_file(path: Path) -> dict[str, str]:
    """The variables in a file. Raises ConfigError if it cannot be read or has a mistake."""
    return dict(_variables(path, _text(path)))


def env_file_mistakes(config: Config) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """The mistakes in the files that groups name as `env_file`, and a warning for each that is not there.

    The daemon may run on another machine, so a missing file is no mistake.
    """
    mistakes: list[Mistake] = []
    missing: list[Mistake] = []
    for path in dict.fromkeys(Path(group.env_file) for group in config.groups.values() if group.env_file):
        try:
            read_env_file(path)
        except ConfigError as error:
            (mistakes if path.is_file() else missing).extend(error.mistakes)
    return tuple(mistakes), tuple(missing)


def _variables(path: Path, text: str) -> Iterator[tuple[str, str]]:
    first: dict[str, int] = {}
    at = 0
    while at < len(text):
        if blank := _NOTHING.match(text, at):
            at = max(blank.end(), at + 1)
            continue
        named = _NAME.match(text, at)
        if named is None:
            start = at + len(text[at:]) - len(text[at:].lstrip(" \t"))
            raise _mistake(path, text, start, "a line is NAME=VALUE", "names have letters, digits and underscores")
        name = named["name"]
        if named["equals"] is None:
            raise _mistake(path, text, named.end("name"), f"`=` must follow {name}", f"write {name}=VALUE")
        if name in first:
            raise _mistake(path, text, named.start("name"), f"{name} is set in line {first[name]} already")
        first[name] = text.count("\n", 0, at) + 1
        value, at = _value(path, text, named.end(), name)
        yield name, value


def _value(path: Path, text: str, at: int, name: str) -> tuple[str, int]:
    """The value that begins at an offset, and the offset of the next line."""
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        plain = _PLAIN.match(text, at)
        assert plain is not None  # noqa: S101 -- it matches the empty text
        _refuse_reference(path, text, plain, name)
        value, end = plain[0].strip(" \t"), plain.end()
    else:
        quoted = (_LITERAL if quote == "'" else _QUOTED).match(text, at)
        if quoted is None:
            raise _mistake(path, text, at, f"the value of {name} has no closing quote {quote}")
        if quote == '"':
            _refuse_reference(path, text, quoted, name)
        value = quoted[1] if quote == "'" else _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), quoted[1])
        end = quoted.end()
    rest = _NOTHING.match(text, end)
    if rest is None:
        raise _mistake(path, text, end, f"only a comment may follow the value of {name}", "quote the whole value")
    if "\0" in value:
        raise _mistake(path, text, at, f"the value of {name} contains a NUL character")
    return value, rest.end()


def _refuse_reference(path: Path, text: str, value: re.Match[str], name: str) -> None:
    if found := _REFERENCE.search(text, value.start(), value.end()):
        hint = "write the value itself, or put it into single quotes to mean these characters"
        raise _mistake(path, text, found.start(), f"variables in the value of {name} are not expanded", hint)


def _text(path: Path) -> str:
    """The content of a file. A pipe or a device is refused without waiting. Raises ConfigError."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([Mistake(str(path), 0, 0, "is not a file")])
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError([Mistake(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_SIZE:
        raise ConfigError([Mistake(str(path), 0, 0, "is larger than 1 MiB")])
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Mistake(str(path), line, 1, "this line is not UTF-8")]) from None


def _mistake(path: Path, text: str, at: int, message: str, hint: str | None = None) -> ConfigError:
    """A mistake with its place, but without the line: it may contain a secret."""
    start = text.rfind("\n", 0, at) + 1
    return ConfigError([Mistake(str(path), text.count("\n", 0, at) + 1, at - start + 1, message, hint=hint)])
