"""Payloads on a command line: JSON, @FILE, - for stdin, or fields such as `key=value`."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

from tako_lite.errors import BadInput, TooLarge
from tako_lite.wire import MAX_VALUE, parse_value

_OTHER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark is its prefix
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_QUOTES_HINT: Final = "a payload is JSON: text needs quotes inside the quotes of the shell: '\"text\"'"

_FIELD_HINT: Final = "a payload is JSON in single quotes, or fields: key=text, key:=JSON, key[name]=text, key[]=text"


def read_payload(*arguments: str) -> Any:
    """The value of `JSON`, `@FILE`, `-`, or of fields. Raises BadInput if it is not strict JSON or cannot be read."""
    if any("=" in argument for argument in arguments) or len(arguments) > 1:
        from tako_lite.cli.fields import is_field, read_fields  # most payloads are JSON

        if all(is_field(argument) for argument in arguments):
            return read_fields(arguments, _content, _parsed)
        if len(arguments) > 1:
            raise _mixed(next(argument for argument in arguments if not is_field(argument)))
    argument = arguments[0].removeprefix("\ufeff")
    is_name = argument == "-" or argument.startswith("@")
    return _parsed(_content(argument.removeprefix("@")) if is_name else argument, "payload")


def _parsed(text: str | bytes, what: str) -> Any:
    try:
        return parse_value(text, what)
    except TooLarge:
        raise TooLarge(
            f"the {what} is too long; the limit is {MAX_VALUE:,} bytes", hint="pass a path or a key instead"
        ) from None
    except BadInput as error:
        raise BadInput(error.message, hint=error.hint or _hint(text, error.message, is_payload=what == "payload")) from None


def _mixed(argument: str) -> BadInput:
    """The error for several arguments of which one is no field."""
    hint = "write the fields as key=text or key:=JSON, or the payload as one argument of JSON in single quotes"
    return BadInput(f"{argument!r} is not a field such as key=value", hint=_colon_hint(argument) or hint)


def _colon_hint(argument: str) -> str | None:
    """What to type instead of `key: value`, which YAML has, and what a shell leaves of JSON without quotes."""
    key, colon, value = argument.partition(":")
    value = value.strip()
    if not (key.isidentifier() and colon):
        return None
    return f"write {key}={value} for text or {key}:={value} for JSON; JSON as a whole stands in single quotes"


def _content(name: str) -> bytes:
    """The content of a file, or of stdin for `-`, but at most one byte more than a payload may have."""
    if name == "-":
        return _all_of(stdin(), "stdin")
    with open_file(name) as stream:
        return _all_of(stream, name)


def _hint(text: str | bytes, message: str, *, is_payload: bool) -> str | None:
    """What to type instead of a payload that is not JSON."""
    if " is not JSON" not in message:
        return None
    from tako_lite.cli.almostjson import json_hint  # only needed once something is wrong

    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if (hint := json_hint(shown, message)) or not is_payload or " at line " not in message:
        return hint
    return _FIELD_HINT if "=" in shown else _colon_hint(shown) or _QUOTES_HINT


def stdin() -> BinaryIO:
    """The byte stream of stdin. Raises BadInput if it is closed."""
    if sys.stdin is None:
        raise BadInput("stdin is closed")
    return sys.stdin.buffer


def open_file(name: str) -> BinaryIO:
    """Open a file of payloads. Raises BadInput if it cannot be opened."""
    try:
        return Path(name).open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"cannot read {name!r}: {reason}") from None


def without_mark(start: bytes, name: str) -> bytes:
    """Remove the UTF-8 byte order mark from the start of a file. Raises BadInput for the mark of another encoding."""
    for mark, encoding in _OTHER_MARKS:
        if start.startswith(mark):
            raise BadInput(f"{name} begins with the byte order mark of {encoding}", hint="save it as UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


def _all_of(stream: BinaryIO, name: str) -> bytes:
    """All bytes, but at most one more than a payload may have, to limit the memory used."""
    return without_mark(stream.read(MAX_VALUE + len(codecs.BOM_UTF8) + 1), name)
