"""The fields of payload types, as far as they can be read off the file that annotates a handler with them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from tako_lite.hints import did_you_mean

Function = ast.FunctionDef | ast.AsyncFunctionDef

_RECORDS: Final = frozenset({"TypedDict", "BaseModel", "Struct"})
_RENAMING: Final = frozenset({"alias", "validation_alias", "name"})
"""What gives fields of pydantic and msgspec other names in JSON: such a type is not judged."""
_HARMLESS: Final = frozenset({"total", "frozen", "kw_only", "omit_defaults", "forbid_unknown_fields"})


Records = Mapping[str, Mapping[str, str | None]]
"""Every record of a file by its name: its fields, each with the name of its own record or None."""


class Lack(NamedTuple):
    """What a payload cannot have, and what may have been meant."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class PayloadType:
    """A record that a handler takes, by its name among those of its file."""

    name: str
    records: Records

    def lacks(self, field: str) -> Lack | None:
        """Why a payload cannot have a dotted field; None where it may."""
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
    """The record that the first parameter of a handler is annotated with, if the file defines it."""
    parameters = node.args.posonlyargs + node.args.args
    name = _named(parameters[0].annotation) if parameters else None
    return None if name is None or name not in records else PayloadType(name, records)


def records_of(tree: ast.Module) -> dict[str, dict[str, str | None]]:
    """The dataclasses, TypedDicts, structs and models at the top level of a file whose fields are all to be seen there."""
    found: dict[str, dict[str, str | None]] = {}
    taken: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            fields = None if node.name in taken else _fields(node, found)
            found.pop(node.name, None)  # of two classes of one name nothing is said
            taken.add(node.name)
            if fields is not None:
                found[node.name] = fields
    return found


def strict_records(tree: ast.Module, records: Records) -> set[str]:
    """Those that are made of an object and of nothing else: a validator of a model may read another value too."""
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
    """Whether JSON may have other fields than those that are written here."""
    if any(keyword.arg not in _HARMLESS for keyword in node.keywords):
        return True
    for statement in node.body:
        if isinstance(statement, ast.Assign):  # model_config, or a field that is no annotation
            return True
        value = statement.value if isinstance(statement, ast.AnnAssign) else None
        if isinstance(value, ast.Call) and any(keyword.arg is None or keyword.arg in _RENAMING for keyword in value.keywords):
            return True
    return any(isinstance(statement, ast.ClassDef) for statement in node.body)  # pydantic's `class Config`


def _named(annotation: ast.expr | None) -> str | None:
    """The one class that an annotation names, None aside."""
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
    if isinstance(node, ast.Subscript):  # Generic[T] and its like are not followed
        return None
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
