"""From typed values back to plain JSON."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tako_lite.errors import NotJson
from tako_lite.typed.records import is_model, is_struct
from tako_lite.typed.values import text_form


def plain(value: Any) -> Any:
    """A payload as JSON has it: the reverse of `convert`. What it does not know is left for the encoder to judge."""
    try:
        return _plain(value)
    except RecursionError:
        raise NotJson("the payload contains itself, or is nested too deeply") from None


def _plain(value: Any) -> Any:
    if value is None or value.__class__ in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    kind = type(value)
    if is_model(kind):
        return value.model_dump(mode="json")
    if is_struct(kind):
        return sys.modules["msgspec"].to_builtins(value)
    if dataclasses.is_dataclass(kind):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(kind) if field.init}
    if text_form(kind) is None:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
