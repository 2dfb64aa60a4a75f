"""Payloads on a command line: JSON, @FILE, or - for stdin."""

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


def read_payload(argument: str) -> Any:
    """The value of `JSON`, `@FILE` or `-`. Raises BadInput if it is not strict JSON or cannot be read."""
    text: str | bytes = argument.removeprefix("\ufeff")
    if argument == "-":
        text = _all_of(stdin(), "stdin")
    elif argument.startswith("@"):
        with open_file(argument[1:]) as stream:
            text = _all_of(stream, argument[1:])
    try:
        return parse_value(text)
    except TooLarge:
        raise TooLarge(
            f"the payload is too long; the limit is {MAX_VALUE:,} bytes", hint="pass a path or a key instead"
        ) from None
    except BadInput as error:
        raise BadInput(error.message, hint=error.hint or _hint(text, error.message)) from None


def _hint(text: str | bytes, message: str) -> str | None:
    """What to type instead of a payload that is not JSON."""
    if " is not JSON" not in message:
        return None
    from tako_lite.cli.almostjson import json_hint  # only needed once something is wrong

    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return json_hint(shown, message) or (_QUOTES_HINT if " at line " in message else None)


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
