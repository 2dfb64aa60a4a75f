"""The JSON Schema of a payload, from the source of its handler."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tako_lite.catalog.payload_schema import payload_schema

HEAD = """
from dataclasses import dataclass, field
from enum import Enum
from typing import *
from pydantic import BaseModel, Field

"""


def schema(tmp_path: Path, annotation: str | None, classes: str = "") -> Any:
    file = tmp_path / "a.py"
    parameter = "payload" if annotation is None else f"payload: {annotation}"
    file.write_text(f"{HEAD}{dedent(classes)}\nasync def handler({parameter}, step): ...\n")
    (line,) = (node.lineno for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.AsyncFunctionDef))
    return payload_schema(file, "handler", line)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (None, None),
        ("object", None),
        ("Any", None),
        ("int", {"type": "integer"}),
        ("'str'", {"type": "string"}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("tuple[str, ...]", {"type": "array", "items": {"type": "string"}}),
        ("tuple[str, int]", {"type": "array"}),
        ("dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("Literal['a', 2]", {"enum": ["a", 2]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("int | Unknown", None),
        ("Annotated[int, Field(ge=1, lt=9)]", {"type": "integer", "minimum": 1, "exclusiveMaximum": 9}),
        ("datetime.datetime", {"type": "string", "format": "date-time"}),
    ],
)
def test_types_become_schemas(tmp_path: Path, annotation: str | None, expected: Any) -> None:
    assert schema(tmp_path, annotation) == expected


def test_a_dataclass_becomes_an_object_with_its_defaults_and_nested_types(tmp_path: Path) -> None:
    classes = '''
    class Colour(Enum):
        RED = "red"
        BLUE = "blue"

    @dataclass
    class Size:
        width: int
        height: int = 10

    @dataclass(frozen=True)
    class Job(Size):
        """What to draw.

        More about it.
        """
        colour: Colour = Colour.RED
        tags: list[str] = field(default_factory=list)
        inner: Size | None = None
        kind: ClassVar[str] = "x"
    '''
    found = schema(tmp_path, "Job", classes)
    assert (found["title"], found["description"], found["required"]) == ("Job", "What to draw.", ["width"])
    assert list(found["properties"]) == ["width", "height", "colour", "tags", "inner"]
    assert found["properties"]["height"] == {"type": "integer", "default": 10}
    assert found["properties"]["colour"] == {"enum": ["red", "blue"]}
    assert found["properties"]["inner"]["anyOf"][0]["title"] == "Size"


def test_models_and_typed_dicts_have_their_limits_and_optional_fields(tmp_path: Path) -> None:
    classes = """
    class Model(BaseModel):
        size: int = Field(ge=1, le=5)
        name: str = Field("x", max_length=3, description="a name")
        when: str = Field(default=...)

    class Shape(TypedDict, total=False):
        a: Required[int]
        b: str
    """
    model = schema(tmp_path, "Model", classes)
    assert model["required"] == ["size", "when"]
    assert model["properties"]["size"] == {"type": "integer", "minimum": 1, "maximum": 5}
    assert model["properties"]["name"] == {"type": "string", "maxLength": 3, "description": "a name", "default": "x"}
    assert schema(tmp_path, "Shape", classes)["required"] == ["a"]


def test_a_class_that_contains_itself_ends_somewhere(tmp_path: Path) -> None:
    classes = """
    @dataclass
    class Node:
        child: "Node | None" = None
    """
    assert schema(tmp_path, "Node", classes)["type"] == "object"
