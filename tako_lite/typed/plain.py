"""Converts typed values back to plain JSON."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from tako_lite.errors import NotJson
from tako_lite.typed.models import is_model, is_secret, plain_model, refused_secret
from tako_lite.typed.periods import period_text
from tako_lite.typed.reader import literal, place
from tako_lite.typed.structs import is_struct, plain_struct
from tako_lite.typed.values import text_form


def plain(value: Any, where: str = "payload") -> Any:
    """A value as JSON: the reverse of `convert`. Values of unknown types are left for the encoder to judge.

    Raises NotJson for values that would change: secrets that are stored as asterisks, keys that become equal.
    """
    try:
        return _plain(value, where)
    except RecursionError:
        raise NotJson(f"{where} contains itself, or is nested too deeply") from None


def _plain(value: Any, where: str) -> Any:
    if value is None or value.__class__ in (str, int, float, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if isinstance(value, Mapping):
        return _object(value, where)
    if isinstance(value, list | tuple):
        return _list(value, where)
    if isinstance(value, set | frozenset):
        return _ordered(_list(value, where))
    kind = type(value)
    if is_model(kind):
        return plain_model(value, where)
    if is_struct(kind):
        return plain_struct(value, where)
    if dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(kind) if field.init]
        return {name: _plain(getattr(value, name), f"{where}.{name}") for name in fields}
    if is_secret(kind):
        raise refused_secret(kind, where)
    return value if text_form(kind) is None else _text(value, where)


def _list(items: Iterable[Any], where: str) -> list[Any]:
    return [_plain(item, f"{where}[{index}]") for index, item in enumerate(items)]


def _ordered(items: list[Any]) -> list[Any]:
    """A set's elements, sorted if they can be."""
    with contextlib.suppress(TypeError):
        items.sort()
    return items


def _object(value: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, item in value.items():
        name = key if key.__class__ is str else _key(key, where)
        if name in made:
            raise NotJson(f"two keys of {where} become {literal(name)} in JSON")
        made[name] = _plain(item, where + place(name))
    return made


def _key(key: Any, where: str) -> Any:
    """A key as JSON has it; numbers are left for the encoder."""
    if isinstance(key, Enum):
        return _key(key.value, where)
    return key if text_form(type(key)) is None else _text(key, f"a key of {where}")


def _text(value: Any, where: str) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if hasattr(value, "total_seconds"):
        return period_text(value)
    if hasattr(value, "is_finite") and not value.is_finite():
        raise NotJson(f"{where} is {value}, which JSON cannot represent")
    return str(value)
