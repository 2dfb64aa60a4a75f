"""Reads settings from the command line: `idle_timeout=5m`, `allowed_tenants=acme,globex`, `env.LOG_LEVEL=info`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path as Folder
from typing import Any, Final

from tako_lite.config.reader import ENTRIES, RESERVED_NAMES, setting_readers
from tako_lite.config.settings import SETTINGS
from tako_lite.config.toml_edit import UNSET, Path
from tako_lite.config.values import shown_name
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, NAME_HINT

ARRAYS: Final = {name: kind.element for name, kind in SETTINGS.items() if kind.element}
"""The settings that are arrays of names, with the reader of a name."""
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


def assignment(word: str, root: Folder) -> tuple[Path, Any]:
    """The path of a setting below its group's table, and its value as in tako.toml. `KEY=` unsets it. Raises BadInput."""
    key, equals, text = word.partition("=")
    if not equals:
        raise BadInput(f"{shown_name(word)} is not KEY=VALUE", hint="such as workers=2, or KEY= to remove a setting")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"the value of {shown_name(key)} is not text", hint="write it in UTF-8") from None
    path = setting(key)
    if not text:
        return path, UNSET
    if len(path) == 1 and key in ENTRIES:
        raise BadInput(f"{key} is a table", hint=f"set each entry by itself: {key}.NAME=VALUE")
    return path, _value(path, text, root)


def setting(key: str) -> Path:
    """The path of a setting, or of an entry of `env` or `limits`. Raises BadInput for any other key."""
    table, dot, entry = key.partition(".")
    if dot and table in ENTRIES:
        try:
            ENTRIES[table](entry)
        except BadInput as error:
            raise BadInput(f"{shown_name(key)}: {error.message}", hint=error.hint) from None
        return table, entry
    if key not in SETTINGS:
        hint = did_you_mean(key, SETTINGS) or f"settings: {', '.join(SETTINGS)}"
        raise BadInput(f"there is no setting {shown_name(key)}", hint=hint)
    return (key,)


def group_name(name: str) -> str:
    """Return a valid name for a group. Raises BadInput."""
    if name in RESERVED_NAMES:
        raise BadInput(f"{shown_name(name)} is the name of a setting; a group needs another name")
    if not NAME.fullmatch(name):
        raise BadInput(f"{shown_name(name)} is not a name for a group", hint=NAME_HINT)
    return name


def _value(path: Path, text: str, root: Folder) -> Any:
    """Read the text as the type that the setting accepts. Digits are read as a number first, then as text."""
    readers = setting_readers(root)
    ways: list[Any] = [int(text)] if _WHOLE.fullmatch(text) else []
    ways = [_array(text)] if path[0] in ARRAYS else [*ways, text]
    first: BadInput | None = None
    for value in ways:
        try:
            if path[0] in ARRAYS:
                for entry in value:
                    ARRAYS[path[0]](entry)
            elif len(path) == 2:
                ENTRIES[path[0]](path[1])(value)
            else:
                readers[path[0]](value)
        except BadInput as error:
            first = first or error
        else:
            return value
    assert first is not None  # noqa: S101
    raise BadInput(f"{shown_name('.'.join(path))}: {first.message}", hint=first.hint)


def _array(text: str) -> list[Any]:
    if text.startswith("["):
        try:
            return list(tomllib.loads(f"array = {text}")["array"])
        except ValueError:
            raise BadInput(f"{shown_name(text)} is not an array", hint="write acme,globex") from None
    return [name.strip() for name in text.split(",") if name.strip()]
