"""The JSON Schema of a handler's payload, from its annotation and the classes of its file; nothing is imported.

What the file does not show (a class of another module, a type that is computed) becomes an empty schema, which accepts
anything: the worker checks the payload against the real type in any case.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

Schema = dict[str, Any]
Function = ast.FunctionDef | ast.AsyncFunctionDef

DEEPEST: Final = 6
_PLAIN: Final[Mapping[str, Schema]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "UUID": {"type": "string", "format": "uuid"},
    "Decimal": {"type": "string", "format": "decimal"},
    "Path": {"type": "string"},
    "EmailStr": {"type": "string", "format": "email"},
    "dict": {"type": "object"},
    "list": {"type": "array"},
    "set": {"type": "array"},
    "tuple": {"type": "array"},
}
_ARRAYS: Final = frozenset({"list", "List", "Sequence", "Iterable", "set", "Set", "frozenset", "tuple", "Tuple", "Collection"})
_OBJECTS: Final = frozenset({"dict", "Dict", "Mapping", "MutableMapping"})
_WRAPPERS: Final = frozenset({"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"})
_BOUNDS: Final[Mapping[str, str]] = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "description": "description",
    "title": "title",
}
"""Options of pydantic's `Field` and msgspec's `Meta`, with their names in JSON Schema."""
_RECORDS: Final = frozenset({"TypedDict", "BaseModel", "Struct", "NamedTuple"})
_ENUMS: Final = frozenset({"Enum", "StrEnum", "IntEnum"})


def payload_schema(file: Path, function: str, line: int) -> Schema | None:
    """The schema of the payload of the handler that is defined at a line; None if its payload has no annotation.

    Raises OSError and SyntaxError if the file cannot be read.
    """
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, Function) and node.name == function and node.lineno == line:
            parameters = node.args.posonlyargs + node.args.args
            annotation = parameters[0].annotation if parameters else None
            return None if annotation is None else _Schemas(tree).of(annotation) or None
    return None


class _Schemas:
    """The schemas of the types that a file names."""

    def __init__(self, tree: ast.Module) -> None:
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self._aliases = dict(_aliases(tree))
        self._depth = 0

    def of(self, node: ast.expr | None) -> Schema:
        """The schema of an annotation."""
        if self._depth >= DEEPEST:
            return {}
        self._depth += 1
        try:
            return self._of(node)
        finally:
            self._depth -= 1

    def _of(self, node: ast.expr | None) -> Schema:
        match node:
            case ast.Constant(value=None):
                return {"type": "null"}
            case ast.Constant(value=str(text)):
                try:
                    return self.of(ast.parse(text, mode="eval").body)
                except SyntaxError:
                    return {}
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _either(self.of(left), self.of(right))
            case ast.Subscript(value=outer, slice=inner):
                return self._generic(_last_name(outer) or "", inner)
            case ast.Name() | ast.Attribute():
                return self._named(_last_name(node) or "")
        return {}

    def _named(self, name: str) -> Schema:
        if name in self._classes:
            return self._class(self._classes[name])
        if name in self._aliases:
            return self.of(self._aliases[name])
        return dict(_PLAIN.get(name, {}))

    def _generic(self, outer: str, inner: ast.expr) -> Schema:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Literal":
            return {"enum": [part.value for part in parts if isinstance(part, ast.Constant)]}
        if outer == "Optional":
            return _either(self.of(inner), {"type": "null"})
        if outer == "Union":
            return _either(*map(self.of, parts))
        if outer == "Annotated":
            return self.of(parts[0]) | _bounds(*parts[1:])
        if outer in _WRAPPERS:
            return self.of(inner)
        if outer in _OBJECTS:
            values = self.of(parts[1]) if len(parts) == 2 else {}
            return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
        if outer in _ARRAYS:
            same = len(parts) == 1 or (len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...)
            items = self.of(parts[0]) if same else {}
            return {"type": "array", "items": items} if items else {"type": "array"}
        return {}

    def _class(self, node: ast.ClassDef) -> Schema:
        bases = {_last_name(base) for base in node.bases}
        if bases & _ENUMS:
            values = [statement.value for statement in node.body if isinstance(statement, ast.Assign)]
            members = [value.value for value in values if isinstance(value, ast.Constant)]
            return {"enum": members} if members and len(members) == len(values) else {}
        decorators = {_last_name(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list}
        own = [base for base in bases if base is not None and base in self._classes]
        if not (bases & _RECORDS or "dataclass" in decorators or own):
            return {}
        return self._record(node, bases, own)

    def _record(self, node: ast.ClassDef, bases: set[str | None], own: list[str]) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for base in own:
            above = self.of(ast.Name(base))
            properties |= above.get("properties", {})
            required += above.get("required", [])
        total = not any(keyword.arg == "total" and _literal(keyword.value) is False for keyword in node.keywords)
        for statement in node.body:
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            name, annotation = statement.target.id, statement.annotation
            wrapper = _last_name(annotation.value) if isinstance(annotation, ast.Subscript) else None
            if wrapper == "ClassVar" or name.startswith("_"):
                continue
            properties[name] = self.of(annotation) | _default(statement.value)
            may_lack = statement.value is not None and not _is_required(statement.value)
            if not may_lack and wrapper != "NotRequired" and (total or wrapper == "Required"):
                required.append(name)
        shape: Schema = {"type": "object", "title": node.name, "properties": properties, "additionalProperties": False}
        if required:
            shape["required"] = list(dict.fromkeys(required))
        if text := ast.get_docstring(node):
            shape["description"] = text.partition("\n\n")[0]
        return shape


def _aliases(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """`Name = annotation` and `type Name = annotation` at the top level."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, node.value))
        elif type(node).__name__ == "TypeAlias":  # Python 3.12
            found.append((node.name.id, node.value))  # type: ignore[attr-defined]
    return found


def _either(*schemas: Schema) -> Schema:
    """A schema that accepts what one of the others accepts."""
    found: list[Schema] = []
    for schema in schemas:
        found += schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
    return {} if any(not schema for schema in found) else {"anyOf": found}


def _bounds(*metadata: ast.expr) -> Schema:
    """The limits in calls such as `Field(ge=1)` and `Meta(max_length=5)`."""
    found: Schema = {}
    for call in metadata:
        for keyword in call.keywords if isinstance(call, ast.Call) else ():
            value = _literal(keyword.value)
            if keyword.arg is not None and keyword.arg in _BOUNDS and isinstance(value, str | int | float):
                found[_BOUNDS[keyword.arg]] = value
    return found


def _default(node: ast.expr | None) -> Schema:
    """The default that an assignment in a class body gives a field, and the limits beside it."""
    if isinstance(node, ast.Call):
        given = next((keyword.value for keyword in node.keywords if keyword.arg == "default"), None)
        first = node.args[0] if node.args and _last_name(node.func) == "Field" else None
        return _bounds(node) | _default_of(given or first)
    return _default_of(node)


def _default_of(node: ast.expr | None) -> Schema:
    value = _literal(node) if node is not None else _NOTHING
    return {} if value is _NOTHING or value is ... else {"default": value}


def _is_required(node: ast.expr) -> bool:
    """Whether a call of `Field` or `field` leaves a field required, because it gives no default."""
    if not isinstance(node, ast.Call) or _last_name(node.func) not in ("Field", "field"):
        return False
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if "default_factory" in given:
        return False
    default = given.get("default", node.args[0] if node.args else ast.Constant(...))
    return _literal(default) is ...


_NOTHING: Final = object()


def _literal(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING
    return list(value) if isinstance(value, tuple | set) else value


def _last_name(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
