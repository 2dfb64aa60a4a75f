"""Reads and dumps structs of msgspec by msgspec itself."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

from tako_lite.errors import BadInput, NotJson
from tako_lite.typed.reader import Problems, Reader

_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)


def is_struct(kind: type) -> bool:
    """Whether this is a `msgspec.Struct`."""
    base = getattr(sys.modules.get("msgspec"), "Struct", None)
    return base is not None and issubclass(kind, base)


def struct_reader(annotation: Any) -> Reader:
    """Has msgspec build its struct, strictly; keys of other types are converted from text."""
    msgspec = sys.modules["msgspec"]
    name = getattr(annotation, "__name__", str(annotation))
    try:
        msgspec.json.Decoder(annotation)
    except Exception as error:
        raise BadInput(f"{name} cannot be made from JSON: {error}") from None

    def read(value: Any, problems: Problems) -> Any:
        try:
            return msgspec.convert(value, annotation, strict=True, str_keys=True)
        except msgspec.ValidationError as error:
            match = _MESSAGE.fullmatch(str(error))
            problems.append((match["path"] or "", match["what"]) if match else ("", str(error)))
            return value

    return Reader(name, read)


def plain_struct(value: Any, place: str) -> Any:
    """A struct in the JSON of msgspec. Raises NotJson if msgspec cannot encode it."""
    msgspec = sys.modules["msgspec"]
    try:
        json.loads(msgspec.json.encode(value), object_pairs_hook=_unique)
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError) as error:  # its EncodeError is a ValueError
        raise NotJson(f"{place} cannot be serialized by msgspec: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Refuse keys that become equal as text."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"two keys of an object become {key[:60]!r} in JSON")
        seen.add(key)
