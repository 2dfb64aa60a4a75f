"""Payloads as fields, such as `to=ann n:=3 tags[]=new`, in the notation of HTTPie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from tako_lite.errors import BadInput
from tako_lite.wire import MAX_DEPTH

LONGEST_LIST: Final = 10_000
"""Maximum number of elements of a list that an index creates."""
_CHARACTER: Final = r"(?:\\.|[^\\=\[\]{}\"'“”„])"
_FIELD: Final = re.compile(rf"(?!@)({_CHARACTER}+?|(?=\[\d*\]))((?:\[{_CHARACTER}*\])*)(:?)=(.*)", re.DOTALL)
_IN_BRACKETS: Final = re.compile(rf"\[({_CHARACTER}*)\]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_KINDS: Final[dict[type, str]] = {dict: "an object", list: "a list"}
_ABSENT: Final = object()

Read: TypeAlias = Callable[[str], bytes]
Parse: TypeAlias = Callable[[str | bytes, str], Any]
Part: TypeAlias = str | int | None
"""A key of an object, an index of a list, or None for a new last element."""


def is_field(argument: str) -> bool:
    """Whether an argument is `key=value` or `key:=value`. JSON, `@FILE` and `-` are none."""
    return _FIELD.fullmatch(argument) is not None


def read_fields(fields: Iterable[str], read: Read, parse: Parse) -> Any:
    """The value that fields make together. `read` returns the content of the file of `key=@FILE`, `parse` reads JSON.

    Raises BadInput if a field is given twice, or contradicts another one.
    """
    value: Any = _ABSENT
    for field in fields:
        found = _FIELD.fullmatch(field)
        if found is None:
            raise BadInput(f"{field!r} is not a field", hint="write key=text, key:=JSON, key=@FILE or key:=@FILE")
        key, brackets, colon, text = found.groups()
        name = key + brackets
        new = _parsed(text, name, read, parse) if colon else _text(text, read)
        value = _placed(value, _path(key, brackets, name), new, name)
    return value


def _path(key: str, brackets: str, name: str) -> list[Part]:
    parts: list[Part] = [] if not key and brackets else [_unescaped(key)]
    for text in _IN_BRACKETS.findall(brackets):
        is_index = text.isascii() and text.isdecimal()
        parts.append(None if text == "" else int(text[:9]) if is_index else _unescaped(text))
    if len(parts) > MAX_DEPTH:
        raise BadInput(f"{name[:40]}… is nested more than {MAX_DEPTH} levels deep")
    return parts


def _parsed(text: str, name: str, read: Read, parse: Parse) -> Any:
    if not text:
        raise BadInput(f"{name} has no value", hint=f"write {name}:=null, or {name}= for empty text")
    content = read(text[1:]) if text.startswith("@") else text
    try:
        return parse(content, name)
    except BadInput as error:
        raise BadInput(error.message, hint=error.hint or f"write text with = alone: {name}=…") from None


def _text(text: str, read: Read) -> str:
    if not text.startswith("@"):
        return text[1:] if text.startswith("\\@") else text
    try:
        return read(text[1:]).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{text[1:]} is not UTF-8: {error.reason} at byte {error.start}") from None


def _placed(old: Any, path: list[Part], value: Any, name: str) -> Any:
    """The old value with a new one at the path; objects and lists on the way are created."""
    if not path:
        if old is not _ABSENT:
            raise BadInput(f"{name} is given twice", hint=f"the elements of a list are {name}[]=…")
        return value
    part, *rest = path
    if isinstance(part, str):
        members = _container(old, dict, name)
        members[part] = _placed(members.get(part, _ABSENT), rest, value, name)
        return members
    elements = _container(old, list, name)
    index = len(elements) if part is None else part
    if index >= LONGEST_LIST:
        raise BadInput(f"{name}: an index is below {LONGEST_LIST:,}", hint="write a longer list as JSON: key:=@FILE")
    elements += [None] * (index + 1 - len(elements))
    before = _ABSENT if elements[index] is None else elements[index]
    elements[index] = _placed(before, rest, value, name)
    return elements


def _container(old: Any, kind: type[Any], name: str) -> Any:
    if old is _ABSENT:
        return kind()
    if not isinstance(old, kind):
        raise BadInput(f"{name} makes {_KINDS[kind]} of what another field makes {_KINDS.get(type(old), 'a value')}")
    return old


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)
