"""A form from the JSON Schema of a payload, and the payload from a form that was sent.

The names of the fields are paths such as `payload.address.city`. What a form cannot show well (unions, lists of objects, very
deep objects) is a text area with JSON. The worker checks the payload against the real type in any case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from tako_lite.errors import BadInput
from tako_lite.web.actions import Form
from tako_lite.wire import parse_value

Schema = Mapping[str, Any]
Kind = Literal["text", "number", "checkbox", "select", "lines", "fieldset", "json"]

ROOT: Final = "payload"
DEEPEST: Final = 3
"""Levels of nested objects that are fieldsets."""
UNSET: Final = "(not given)"
_FORMATS: Final[Mapping[str, str]] = {"date": "date", "date-time": "datetime-local", "time": "time", "email": "email"}
_SCALARS: Final = frozenset({"string", "integer", "number"})


class Field(NamedTuple):
    """A field of the form, or a group of fields."""

    name: str
    label: str
    kind: Kind
    required: bool
    value: str = ""
    type: str = "text"
    """The type of the input element."""
    options: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: str | None = None
    help: str = ""
    fields: tuple[Field, ...] = ()


def form_fields(schema: Schema, value: Any = None) -> tuple[Field, ...]:
    """The fields for a payload; `value` is what they contain at first. A payload that is no object is one field."""
    if schema.get("type") == "object" and schema.get("properties"):
        return _properties(schema, ROOT, value if isinstance(value, dict) else {}, 1)
    return (_field(ROOT, "payload", schema, value, required=True, depth=1),)


def _properties(schema: Schema, path: str, value: Mapping[str, Any], depth: int) -> tuple[Field, ...]:
    required = schema.get("required", ())
    return tuple(
        _field(f"{path}.{name}", name, inner, value.get(name, inner.get("default")), required=name in required, depth=depth)
        for name, inner in schema["properties"].items()
    )


def _field(path: str, label: str, schema: Schema, value: Any, *, required: bool, depth: int) -> Field:
    plain, nullable = _without_null(schema)
    required = required and not nullable
    help = str(schema.get("description") or plain.get("description") or "")
    if plain.get("enum"):
        options = tuple(json.dumps(option, ensure_ascii=False) for option in plain["enum"])
        chosen = "" if value is None else json.dumps(value, ensure_ascii=False)
        return Field(path, label, "select", required, chosen, options=options, help=help)
    match plain.get("type"):
        case "object" if plain.get("properties") and depth <= DEEPEST:
            inner = _properties(plain, path, value if isinstance(value, dict) else {}, depth + 1)
            return Field(path, label, "fieldset", required, fields=inner, help=help)
        case "boolean" if required or schema.get("default") is not None:
            return Field(path, label, "checkbox", False, "true" if value else "", help=help)
        case "boolean":
            shown = "" if value is None else json.dumps(value)
            return Field(path, label, "select", required, shown, options=("true", "false"), help=help)
        case "integer" | "number":
            low, high = plain.get("minimum"), plain.get("maximum")
            step = "1" if plain["type"] == "integer" else "any"
            shown = "" if value is None else json.dumps(value)
            return Field(path, label, "number", required, shown, "number", (), low, high, step, help)
        case "string":
            type = _FORMATS.get(plain.get("format", ""), "text")
            return Field(path, label, "text", required, "" if value is None else str(value), type, help=help)
        case "array" if plain.get("items", {}).get("type") in _SCALARS:
            lines = "\n".join(map(str, value)) if isinstance(value, list) else ""
            return Field(path, label, "lines", False, lines, help=help or "one a line")
    shown = "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)
    return Field(path, label, "json", required, shown, help=help or "JSON")


def _without_null(schema: Schema) -> tuple[Schema, bool]:
    """The one schema besides null, and whether null is allowed; an empty schema for a real union."""
    if "anyOf" not in schema:
        return schema, False
    others = [inner for inner in schema["anyOf"] if inner.get("type") != "null"]
    nullable = len(others) < len(schema["anyOf"])
    return (others[0] if len(others) == 1 else {}), nullable


def read_payload(schema: Schema | None, form: Form) -> Any:
    """The payload of a form. Raises BadInput, which names every field that is wrong."""
    if schema is None or form.get("mode") == "json":
        return form.json(ROOT)
    mistakes: list[str] = []
    payload = _read(schema, ROOT, form, mistakes)
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return None if payload is _ABSENT else payload


_ABSENT: Final = object()


def _read(schema: Schema, path: str, form: Form, mistakes: list[str], *, required: bool = True) -> Any:
    """The value of a field and of those below it; `_ABSENT` if it was left empty and may be."""
    plain, nullable = _without_null(schema)
    if plain.get("type") == "object" and plain.get("properties") and path.count(".") < DEEPEST + 1:
        return _read_object(plain, path, form, mistakes, required=required and not nullable)
    if plain.get("type") == "boolean" and (required or schema.get("default") is not None) and not nullable:
        return form.get(path) is not None
    if plain.get("type") == "array" and plain.get("items", {}).get("type") in _SCALARS:
        lines = [line for line in (form.get(path) or "").splitlines() if line.strip()]
        if not lines and not required:
            return _ABSENT
        return [_scalar(plain["items"], path, line.strip(), mistakes) for line in lines]
    text = form.get(path)
    if text is None:
        if nullable or not required:
            return None if nullable and required else _ABSENT
        if plain.get("type") == "string":
            return ""
        mistakes.append(f"{_label(path)}: a value is needed")
        return None
    if plain.get("type") in _SCALARS and not plain.get("enum"):
        return _scalar(plain, path, text, mistakes)
    return _json(path, text, mistakes)


def _read_object(schema: Schema, path: str, form: Form, mistakes: list[str], *, required: bool) -> Any:
    found: dict[str, Any] = {}
    names = schema.get("required", ())
    inside: list[str] = []
    for name, inner in schema["properties"].items():
        value = _read(inner, f"{path}.{name}", form, inside, required=name in names)
        if value is not _ABSENT:
            found[name] = value
    if not required and not any(form.get(f"{path}.{name}") for name in schema["properties"]):
        return _ABSENT
    mistakes += inside
    return found


def _scalar(schema: Schema, path: str, text: str, mistakes: list[str]) -> Any:
    if schema["type"] == "string":
        if schema.get("format") == "date-time" and len(text) in (16, 19) and "T" in text:
            return f"{text}Z"  # a browser's field has no time zone
        return text
    value = _json(path, text, mistakes)
    kinds = (int,) if schema["type"] == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        word = "a whole number" if schema["type"] == "integer" else "a number"
        mistakes.append(f"{_label(path)}: must be {word}")
        return None
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and value < low:
        mistakes.append(f"{_label(path)}: must be {low} or more")
    if high is not None and value > high:
        mistakes.append(f"{_label(path)}: must be {high} or less")
    return value


def _json(path: str, text: str, mistakes: list[str]) -> Any:
    try:
        return parse_value(text, _label(path))
    except BadInput as error:
        mistakes.append(error.message)
        return None


def _label(path: str) -> str:
    return path.removeprefix(f"{ROOT}.")
