"""Readers of records: dataclasses, TypedDicts, pydantic models and msgspec structs."""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.typed.containers import OBJECT
from tako_lite.typed.reader import MOST_PROBLEMS, Problems, Reader, inside, misfit, place

Compile = Callable[[Any], Reader]

_MSGSPEC_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)


class _Field(NamedTuple):
    name: str
    reader: Reader
    required: bool


def dataclass_reader(kind: Any, compile_annotation: Compile) -> Reader:
    """Builds a dataclass by keyword; a ValueError or TypeError of its `__post_init__` is a problem of the value."""
    hints = _hints(kind)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise BadInput(f"{kind.__name__}.{name}: InitVar cannot be made from JSON")
    fields = [
        _Field(
            field.name,
            _compile_field(kind, field.name, hints[field.name], compile_annotation),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
        if field.init
    ]
    return _record(kind.__name__, fields, kind)


def is_typed_dict(kind: type) -> bool:
    """Whether this is a TypedDict, of `typing` or of `typing_extensions`."""
    return issubclass(kind, dict) and hasattr(kind, "__total__") and hasattr(kind, "__required_keys__")


def typed_dict_reader(kind: Any, compile_annotation: Compile) -> Reader:
    """Checks an object against a TypedDict."""
    fields = []
    for name, hint in _hints(kind, include_extras=True).items():
        # `__required_keys__` does not know about Required and NotRequired in annotations that are strings.
        wrapper = typing.get_origin(hint)
        required = wrapper is typing.Required or (wrapper is not typing.NotRequired and name in kind.__required_keys__)
        fields.append(_Field(name, _compile_field(kind, name, hint, compile_annotation), required))
    return _record(kind.__name__, fields, None)


def is_model(kind: type) -> bool:
    """Whether this is a pydantic model."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and issubclass(kind, base) and hasattr(kind, "model_validate")


def model_reader(annotation: Any) -> Reader:
    """Lets pydantic build its model, by the model's own configuration."""
    invalid: type[Exception] = sys.modules["pydantic"].ValidationError

    def read(value: Any, problems: Problems) -> Any:
        try:
            return annotation.model_validate(value)
        except invalid as error:
            for found in error.errors(include_url=False)[:MOST_PROBLEMS]:  # type: ignore[attr-defined]
                path = "".join(f"[{step}]" if isinstance(step, int) else place(step) for step in found["loc"])
                problems.append((path, found["msg"]))
            return value

    return Reader(annotation.__name__, read)


def is_struct(kind: type) -> bool:
    """Whether this is a `msgspec.Struct`."""
    base = getattr(sys.modules.get("msgspec"), "Struct", None)
    return base is not None and issubclass(kind, base)


def struct_reader(annotation: Any) -> Reader:
    """Lets msgspec build its struct, strictly."""
    msgspec = sys.modules["msgspec"]

    def read(value: Any, problems: Problems) -> Any:
        try:
            return msgspec.convert(value, annotation, strict=True)
        except msgspec.ValidationError as error:
            match = _MSGSPEC_MESSAGE.fullmatch(str(error))
            problems.append((match["path"] or "", match["what"]) if match else ("", str(error)))
            return value

    return Reader(getattr(annotation, "__name__", str(annotation)), read)


def _hints(kind: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=include_extras)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise BadInput(
            f"the annotations of {kind.__name__} cannot be resolved: {error}",
            hint="what they name must be importable at run time, not only for type checkers",
        ) from None


def _compile_field(kind: type, name: str, hint: Any, compile_annotation: Compile) -> Reader:
    try:
        return compile_annotation(hint)
    except BadInput as error:
        inner = error.message if error.message.startswith(("the annotations of ", "the field ")) else ""
        raise BadInput(inner or f"the field {kind.__name__}.{name}: {error.message}", hint=error.hint) from None


def _record(name: str, fields: list[_Field], make: Callable[..., Any] | None) -> Reader:
    known = {field.name for field in fields}

    def read(value: Any, problems: Problems) -> Any:
        if value.__class__ is not dict:
            misfit(problems, OBJECT, value)
            return value
        start = len(problems)
        made = {}
        for field in fields:
            if field.name in value:
                mark = len(problems)
                made[field.name] = field.reader.read(value[field.name], problems)
                if len(problems) > mark:
                    inside(problems, mark, place(field.name))
            elif field.required:
                problems.append((place(field.name), "missing"))
        if len(made) != len(value):
            _note_unknown(value, known, name, problems)
        return made if make is None or len(problems) > start else _build(make, made, problems)

    return Reader(name, read)


def _note_unknown(value: Mapping[str, Any], known: set[str], name: str, problems: Problems) -> None:
    for key in list(value.keys() - known)[:MOST_PROBLEMS] if len(value) > MOST_PROBLEMS else value:
        if key not in known:
            guess = did_you_mean(key, known)
            problems.append((place(key), f"not a field of {name}" + (f"; {guess}" if guess else "")))


def _build(make: Callable[..., Any], fields: dict[str, Any], problems: Problems) -> Any:
    try:
        return make(**fields)
    except (ValueError, TypeError, BadInput) as error:
        problems.append(("", str(error) or type(error).__name__))
        return fields
