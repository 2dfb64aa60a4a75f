"""Edits the text of tako.toml one table at a time: everything outside the edit stays as it was written.

tomlkit edits the inside of a table. It counts the comments above a table as part of the one before, so whole tables are added
and removed here, line by line. The result of an edit is compared with the intended one before it is returned.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from tako_lite.config.positions import Positions
from tako_lite.errors import BadInput

Path = tuple[str, ...]
"""The keys from the root of the file to a table or a value."""
UNSET: Final = object()
"""The value of a key that is to go."""


class Section(NamedTuple):
    """A table with a header: offsets of the remarks directly above it, of its header, and of the end of what belongs to it."""

    path: tuple[str | int, ...]
    lead: int
    start: int
    end: int


def with_table(text: str, table: Path) -> str:
    """The text with a table, where it has none: behind the last one of its kind."""
    if _is_written(text, table):
        return text
    ways = (partial(_with_section, text, table), partial(_put, text, table, {}))
    return _first_that_is(tomllib.loads(text), ways)


def with_setting(text: str, table: Path, key: Path, value: Any) -> str:
    """The text with a key of a table that is in it set to a value, or taken out."""
    path = (*table, *key)
    expected = tomllib.loads(text)
    inner = expected
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    if value is UNSET:
        inner.pop(key[-1], None)
    else:
        inner[key[-1]] = value
    around = [section for section in _sections(text) if section.path == path[: len(section.path)]]
    nearest_first = sorted(around, key=lambda section: len(section.path), reverse=True)
    ways = [partial(_put_in, text, section, path, value) for section in nearest_first]
    return _first_that_is(expected, [*ways, partial(_put, text, path, value)])


def without_table(text: str, table: Path) -> str:
    """The text without a table and those below it, nor the remarks directly above their headers."""
    expected = tomllib.loads(text)
    inner = expected
    for name in table[:-1]:
        inner = inner.get(name, {})
    inner.pop(table[-1], None)

    def cut() -> str:
        rest = text
        while gone := [section for section in _sections(rest) if section.path[: len(table)] == table]:
            rest = _without_section(rest, gone[-1])
        return _put(rest, table, UNSET) if _is_written(rest, table) else rest

    return _first_that_is(expected, [cut, partial(_put, text, table, UNSET)])


def _first_that_is(expected: dict[str, Any], ways: Iterable[Callable[[], str]]) -> str:
    """The first text that holds what it should."""
    for way in ways:
        try:
            edited = way()
            if _pruned(tomllib.loads(edited)) == _pruned(expected):
                return edited
        except (TOMLKitError, ValueError, TypeError, AttributeError, KeyError):  # another way of writing it may do
            continue
    raise BadInput("tako-lite cannot edit this form of tako.toml", hint="edit it by hand, then run tako-lite reload")


def _put(text: str, path: Path, value: Any) -> str:
    """The text with a key set or taken out by tomlkit."""
    document: Any = tomlkit.parse(text)
    inner = document
    for name in path[:-1]:
        if name not in inner:
            inner[name] = tomlkit.inline_table()
        inner = inner[name]
    if value is not UNSET:
        inner[path[-1]] = tomlkit.inline_table() if value == {} else value
    elif path[-1] in inner:
        del inner[path[-1]]
    edited = tomlkit.dumps(document)
    return edited if edited.endswith("\n") else f"{edited}\n"


def _put_in(text: str, section: Section, path: Path, value: Any) -> str:
    core = _put(text[section.start : section.end], path, value)
    return text[: section.start] + core + text[section.end :]


def _with_section(text: str, table: Path) -> str:
    sections = _sections(text)
    below = [section.lead for section in sections if section.path[: len(table)] == table]
    alike = [section.end for section in sections if section.path[0] == table[0]]
    at = min(below, default=max(alike, default=len(text)))
    before, after = text[:at], text[at:]
    if before and not before.endswith("\n"):
        before += "\n"
    gap = "\n" if before and not before.endswith("\n\n") else ""
    tail = "\n" if after and not after.startswith("\n") else ""
    return f"{before}{gap}[{tomlkit.key(list(table)).as_string()}]\n{tail}{after}"


def _without_section(text: str, section: Section) -> str:
    at = section.lead or section.start  # remarks at the top are about the file
    before, after = text[:at], text[section.end :]
    if not before or before.endswith("\n\n"):
        after = after.lstrip("\n")
    return before.rstrip("\n") + "\n" if before and not after else before + after


def _sections(text: str) -> list[Section]:
    headers = Positions(text).headers
    leads = [_lead(text, _line(text, start)) for _, start in headers]
    ends = [*leads[1:], len(text)]
    return [
        Section(path, lead, _line(text, start), _end(text, start, end))
        for (path, start), lead, end in zip(headers, leads, ends, strict=False)
    ]


def _line(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def _lead(text: str, start: int) -> int:
    """Where the remarks begin that stand directly above a line."""
    while start > 0:
        above = _line(text, start - 1)
        line = text[above : start - 1].strip()
        if not line.startswith("#") or '"""' in line or "'''" in line:
            break
        start = above
    return start


def _end(text: str, start: int, limit: int) -> int:
    """Where a table ends: behind its last key, and the remarks that follow that one without a blank line."""
    body = text[start:limit].rstrip()
    while "\n\n" in body and _is_remarks((parts := body.rsplit("\n\n", 1))[1]):
        body = parts[0].rstrip()
    end = start + len(body)
    return end + 1 if text[end : end + 1] == "\n" else end


def _is_remarks(text: str) -> bool:
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.split("\n"))


def _is_written(text: str, table: Path) -> bool:
    value: Any = tomllib.loads(text)
    for name in table:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def _pruned(value: Any) -> Any:
    """Tables without those that hold nothing."""
    if not isinstance(value, dict):
        return value
    inner = {key: _pruned(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item != {}}
