"""Checks whether a payload arrives at its handler unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tako_lite.typed.models import fields_of, is_model
from tako_lite.typed.reader import place
from tako_lite.typed.structs import is_struct


def changed(sent: Any, read: Any, where: str) -> str | None:
    """What would change between the sent payload and the payload that the handler reads, or None.

    That is a record that a union reads as another type, a date that becomes midnight, and bytes that are encoded in one way
    and decoded in another. Plain JSON sent for a record is meant to become one, and is not reported.
    """
    kind = type(read)
    names = _fields(kind)
    if names is not None:
        if isinstance(sent, Mapping) or _fields(type(sent)) is None:
            return None
        if not isinstance(sent, kind):
            return f"{where} is a {type(sent).__name__}, which the handler would read as a {kind.__name__}"
        pairs = [(where + place(name), getattr(sent, name, None), getattr(read, name, None)) for name in names]
    elif isinstance(sent, list | tuple) and isinstance(read, list | tuple):
        pairs = [(f"{where}[{index}]", *both) for index, both in enumerate(zip(sent, read, strict=False))]
    elif isinstance(sent, Mapping) and isinstance(read, Mapping):
        pairs = [
            (where + place(key), *both)
            for key, both in zip(sent, zip(sent.values(), read.values(), strict=False), strict=False)
        ]
    elif isinstance(sent, bytes) and sent != read:
        return f"{where} is bytes, which the handler would read as others"
    elif hasattr(read, "hour") and hasattr(sent, "isoformat") and not hasattr(sent, "hour"):
        return f"{where} is a {type(sent).__name__}, which the handler would read as a {kind.__name__}"
    else:
        return None
    return next((found for inner, before, after in pairs if (found := changed(before, after, inner))), None)


def _fields(kind: Any) -> list[str] | None:
    """The names of the fields of a record, None for anything else."""
    if is_model(kind):
        return list(fields_of(kind))
    if is_struct(kind):
        return list(kind.__struct_fields__)
    return [field.name for field in dataclasses.fields(kind) if field.init] if dataclasses.is_dataclass(kind) else None
