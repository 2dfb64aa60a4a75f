"""Reads and dumps models and dataclasses of pydantic by pydantic itself, and refuses its secret types."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from tako_lite.errors import BadInput, NotJson
from tako_lite.typed.reader import MOST_PROBLEMS, Problems, Reader, place

_MASK: Final = "*" * 10
_HINT: Final = "stored values are readable: give the worker the secret by name (docs/secrets.md), and pass only that name"


def is_model(kind: type) -> bool:
    """Whether this is a pydantic model or a pydantic dataclass."""
    pydantic = sys.modules.get("pydantic")
    base = getattr(pydantic, "BaseModel", None)
    if base is None:
        return False
    if issubclass(kind, base):
        return hasattr(kind, "model_validate")
    return dataclasses.is_dataclass(kind) and hasattr(kind, "__pydantic_validator__")


def is_secret(kind: type) -> bool:
    """Whether this is a pydantic type that hides its value: its JSON would be asterisks."""
    types = sys.modules.get("pydantic.types")
    secrets = (getattr(types, name, None) for name in ("SecretStr", "SecretBytes", "Secret"))
    return any(secret is not None and issubclass(kind, secret) for secret in secrets)


def fields_of(kind: Any) -> dict[str, Any]:
    """The fields of a pydantic model or dataclass, by name; empty for anything else."""
    found: dict[str, Any] = getattr(kind, "__pydantic_fields__", None) or getattr(kind, "model_fields", None) or {}
    return found


def refused_secret(kind: type, where: str) -> NotJson:
    """The error for a secret in a value that would be stored."""
    return NotJson(f"{where} is a {kind.__name__}, which would be stored as asterisks", hint=_HINT)


def model_reader(annotation: Any) -> Reader:
    """Has pydantic build its model from JSON, by the model's own configuration."""
    invalid: type[Exception] = sys.modules["pydantic"].ValidationError
    _complete(annotation)

    def read(value: Any, problems: Problems) -> Any:
        try:
            return annotation.__pydantic_validator__.validate_json(json.dumps(value))
        except invalid as error:
            for found in error.errors(include_url=False)[:MOST_PROBLEMS]:  # type: ignore[attr-defined]
                path = "".join(f"[{step}]" if isinstance(step, int) else place(step) for step in found["loc"])
                problems.append((path, found["msg"]))
            return value

    return Reader(annotation.__name__, read)


def _complete(annotation: Any) -> None:
    """Resolve the annotations of a model's fields. Raises BadInput if a name does not exist at run time."""
    if getattr(annotation, "__pydantic_complete__", True):
        return
    try:
        if hasattr(annotation, "model_rebuild"):
            annotation.model_rebuild()
        else:
            sys.modules["pydantic"].dataclasses.rebuild_dataclass(annotation)
    except Exception as error:
        raise BadInput(
            f"the annotations of {annotation.__name__} cannot be resolved: {error}",
            hint="the names in them must be importable at run time, not only for type checkers",
        ) from None


def plain_model(value: Any, where: str) -> Any:
    """A model as JSON that the model can be read from again. Raises NotJson if pydantic cannot serialize it."""
    serializer = type(value).__pydantic_serializer__
    try:
        made = serializer.to_python(value, mode="json", by_alias=False, round_trip=True, warnings=False)
        return _as_read(value, made, where)
    except (NotJson, RecursionError):
        raise
    except Exception as error:  # PydanticSerializationError, or an error of the user's serializer or computed field
        raise NotJson(f"{where} ({type(value).__name__}) cannot be serialized by pydantic: {error}") from None


def _as_read(value: Any, made: Any, where: str) -> Any:
    """Pydantic's JSON of a value, with the names that it reads. Raises NotJson for masked secrets and keys that merged."""
    kind = type(value)
    if is_secret(kind):
        if made == _MASK:
            raise refused_secret(kind, where)
        return made
    if made.__class__ is dict:
        return _object_as_read(value, made, where)
    if hasattr(kind, "__pydantic_root_model__") and kind.__pydantic_root_model__:
        return _as_read(value.root, made, where)
    if made.__class__ is list and hasattr(value, "__len__") and hasattr(value, "__iter__") and len(value) == len(made):
        return [_as_read(inner, item, f"{where}[{index}]") for index, (inner, item) in enumerate(zip(value, made, strict=True))]
    return made


def _object_as_read(value: Any, made: dict[str, Any], where: str) -> Any:
    kind = type(value)
    if getattr(kind, "__pydantic_root_model__", False):
        return _as_read(value.root, made, where)
    if isinstance(value, Mapping):
        if len(made) < len(value):
            raise NotJson(f"two keys of {where} become equal in JSON")
        pairs = zip(made.items(), value.values(), strict=False)
        return {name: _as_read(inner, item, where + place(name)) for (name, item), inner in pairs}
    named = _namer(kind)
    fields = {named(name): _as_read(getattr(value, name, None), item, where + place(name)) for name, item in made.items()}
    return fields | {name: item for name, item in _computed(value, where).items() if name not in fields}


def _computed(value: Any, where: str) -> dict[str, Any]:
    """The computed fields of a model that are ignored when the model is read."""
    kind = type(value)
    decorators: Any = getattr(kind, "__pydantic_decorators__", None)
    names = set(getattr(decorators, "computed_fields", ()))
    if not names or decorators.model_serializers or _config(kind).get("extra", "ignore") != "ignore":
        return {}
    made = kind.__pydantic_serializer__.to_python(value, mode="json", by_alias=False, include=names, warnings=False)
    return {name: _as_read(getattr(value, name), item, where + place(name)) for name, item in made.items()}


def _config(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    return found


def _namer(kind: Any) -> Callable[[str], str]:
    """The name by which a field of a model is read: its own if the model accepts that, else its alias."""
    fields = fields_of(kind)
    config = _config(kind)
    if not fields or config.get("populate_by_name") or config.get("validate_by_name"):
        return lambda name: name

    def named(name: str) -> str:
        alias = getattr(fields.get(name), "validation_alias", None)
        choices = (alias, *getattr(alias, "choices", ()))
        return next((choice for choice in choices if isinstance(choice, str)), name)

    return named
