"""The fields of payload types, as far as the file that annotates a handler with them shows them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from tako_lite.hints import did_you_mean

Function = ast.FunctionDef | ast.AsyncFunctionDef

_RECORDS: Final = frozenset({"TypedDict", "BaseModel", "Struct"})
_RENAMING: Final = frozenset({"alias", "validation_alias", "name"})
"""Options and functions by which pydantic and msgspec rename fields in JSON: types that use them are not checked."""
_HARMLESS: Final = frozenset({"total", "frozen", "kw_only", "omit_defaults", "forbid_unknown_fields"})


Records = Mapping[str, Mapping[str, str | None]]
"""The records of a file by name: their fields, each with the name of its own record or None."""


class Lack(NamedTuple):
    """The field that a payload lacks, in words, and a guess at the field that was meant."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class PayloadType:
    """The record type of a handler's payload, by its name among those of the file."""

    name: str
    records: Records

    def lacks(self, field: str) -> Lack | None:
        """Why a payload lacks a dotted field; None if it may have it."""
        record: str | None = self.name
        for part in field.split("."):
            if record is None or record not in self.records:
                return None
            fields = self.records[record]
            if part not in fields:
                known = did_you_mean(part, fields) or f"it has {', '.join(fields) or 'none'}"
                return Lack(f"{record} has no field `{part}`", known)
            record = fields[part]
        return None


def payload_type(node: Function, records: Records) -> PayloadType | None:
    """The record that annotates the first parameter of a handler, if the file defines it."""
    parameters = node.args.posonlyargs + node.args.args
    name = _named(parameters[0].annotation) if parameters else None
    return None if name is None or name not in records else PayloadType(name, records)


def annotation_of(node: Function) -> str | None:
    """The annotation of the payload of a handler, as text."""
    parameters = node.args.posonlyargs + node.args.args
    annotation = parameters[0].annotation if parameters else None
    return None if annotation is None else ast.unparse(annotation)


def records_of(tree: ast.Module) -> dict[str, dict[str, str | None]]:
    """The dataclasses, TypedDicts, structs and models at the top level of a file whose fields can all be read there."""
    found: dict[str, dict[str, str | None]] = {}
    taken: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            fields = None if node.name in taken else _fields(node, found)
            found.pop(node.name, None)  # two classes share the name: neither is checked
            taken.add(node.name)
            if fields is not None:
                found[node.name] = fields
    return found


def strict_records(tree: ast.Module, records: Records) -> set[str]:
    """The records that can only be read from an object: a validator of a model may accept other values."""
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and node.name in records
        and not any(isinstance(statement, Function) and statement.decorator_list for statement in node.body)
    }


def _fields(node: ast.ClassDef, above: Records) -> dict[str, str | None] | None:
    bases = [_last_name(base) for base in node.bases]
    decorators = [_last_name(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
    is_record = any(base in _RECORDS or base in above for base in bases) or "dataclass" in decorators
    foreign = [base for base in bases if base not in _RECORDS and base not in above]
    if not is_record or foreign or set(decorators) - {"dataclass"} or _renames(node):
        return None
    fields: dict[str, str | None] = {}
    for base in reversed(bases):
        fields.update(above.get(base or "", {}))
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields[statement.target.id] = _named(statement.annotation)
    return fields


def _renames(node: ast.ClassDef) -> bool:
    """Whether JSON may have other fields than those in the class body."""
    if any(keyword.arg not in _HARMLESS for keyword in node.keywords):
        return True
    for statement in node.body:
        if isinstance(statement, ast.Assign):  # model_config, or a field without an annotation
            return True
        value = statement.value if isinstance(statement, ast.AnnAssign) else None
        if isinstance(value, ast.Call) and any(keyword.arg is None or keyword.arg in _RENAMING for keyword in value.keywords):
            return True
    return any(isinstance(statement, ast.ClassDef) for statement in node.body)  # pydantic's `class Config`


def _named(annotation: ast.expr | None) -> str | None:
    """The one class that an annotation names besides None."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return _named(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return None
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [side for side in (annotation.left, annotation.right) if not _is_none(side)]
        return _named(sides[0]) if len(sides) == 1 else None
    return annotation.id if isinstance(annotation, ast.Name) else None


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Subscript):  # Generic[T] and the like are not followed
        return None
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
