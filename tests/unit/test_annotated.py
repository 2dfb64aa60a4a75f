"""What the source of a handler shows of its payload, compared with what the handle itself accepts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tako_lite.catalog.annotated import payload_annotation
from tako_lite.errors import BadInput
from tako_lite.typed import converter

SOURCE = """
import dataclasses
import datetime as dt
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Optional, TypedDict, Union
from uuid import UUID

from typing_extensions import NotRequired, Required

from tako_lite import Step, workflow


@dataclass
class Address:
    street: str
    zip: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    email: str
    copies: int = 1
    at: dt.datetime | None = None
    kind: Literal["a", "b"] = "a"
    to: "Address | None" = None
    tags: list[str] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    extra: Any = None
    id: Optional[UUID] = None
    either: Union[int, str] = 1


@dataclass
class Longer(Address):
    town: str = field(kw_only=True)


class Base(TypedDict):
    name: str


class Options(Base, total=False):
    n: int
    must: Required[bool]


class Partly(TypedDict):
    n: NotRequired[int]


@dataclass
class Tree:
    name: str
    children: list["Tree"] = field(default_factory=list)


@dataclass
class WithClassVar:
    limit: ClassVar[int] = 3
    name: str = ""


str_ = str


@workflow("mail")
async def mail(payload: Mail, step: Step) -> None: ...

@workflow("address")
async def address(payload: Address | None) -> None: ...

@workflow("longer")
async def longer(payload: Longer) -> None: ...

@workflow("options")
async def options(payload: Options) -> None: ...

@workflow("partly")
async def partly(payload: "Partly") -> None: ...

@workflow("tree")
async def tree(payload: Tree) -> None: ...

@workflow("many")
async def many(payload: list[Mail]) -> None: ...

@workflow("number")
async def number(payload: int) -> None: ...

@workflow("share")
async def share(payload: float) -> None: ...

@workflow("flag")
def flag(payload: bool) -> None: ...

@workflow("text")
def text(payload: str | None) -> None: ...

@workflow("anything")
async def anything(payload: Any) -> None: ...

@workflow("plain")
async def plain(payload, step: Step) -> None: ...

@workflow("nothing")
async def nothing() -> None: ...
"""

SAME = [
    ("mail", {"email": "a"}),
    ("mail", {"email": 3}),
    ("mail", {"emial": "a"}),
    ("mail", None),
    ("mail", "text"),
    ("mail", {"email": "a", "copies": True}),
    ("mail", {"email": "a", "copies": 2.0}),
    ("mail", {"email": "a", "at": "2030-01-01T00:00:00Z"}),
    ("mail", {"email": "a", "at": "soon"}),
    ("mail", {"email": "a", "kind": "c"}),
    ("mail", {"email": "a", "to": {"street": "s", "zap": 1}}),
    ("mail", {"email": "a", "to": None}),
    ("mail", {"email": "a", "tags": ["b", 1]}),
    ("mail", {"email": "a", "prices": {"x": "1"}}),
    ("mail", {"email": "a", "prices": {"x": 1}}),
    ("mail", {"email": "a", "extra": [{}]}),
    ("mail", {"email": "a", "id": "nope"}),
    ("mail", {"email": "a", "either": None}),
    ("address", None),
    ("address", {"zip": "1"}),
    ("longer", {"street": "s", "town": "t"}),
    ("longer", {"street": "s"}),
    ("options", {"name": "a", "must": True}),
    ("options", {"name": "a", "n": "1"}),
    ("options", {"must": True}),
    ("partly", {}),
    ("partly", {"n": None}),
    ("tree", {"name": 1}),
    ("many", [{"email": "a"}, {"email": 1}]),
    ("number", "3"),
    ("number", 3),
    ("share", 1),
    ("share", "1"),
    ("flag", 0),
    ("text", 1),
    ("text", None),
    ("anything", {"a": [None]}),
    ("plain", {"a": 1}),
    ("nothing", {"a": 1}),
]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    file = tmp_path_factory.mktemp("source") / "handlers_of_test_annotated.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, file.stem, made)
        spec.loader.exec_module(made)
        yield made


def of_source(source: str, workflow: str, payload: Any) -> str | None:
    """The message about a payload by the source alone."""
    return message(lambda: converter(payload_annotation(source.encode(), workflow))(payload))


def message(check: Any) -> str | None:
    try:
        check()
    except BadInput as error:
        return error.message
    return None


@pytest.mark.parametrize(("workflow", "payload"), SAME)
def test_a_payload_is_judged_as_by_the_handle(module: ModuleType, workflow: str, payload: Any) -> None:
    handle = getattr(module, workflow)
    assert of_source(SOURCE, workflow, payload) == message(lambda: handle.payload_text(payload))


HEAD = """
import pydantic
from dataclasses import InitVar, KW_ONLY, dataclass, field
from enum import Enum
from elsewhere import Imported, decorate
from pydantic.dataclasses import dataclass as model
from tako_lite import workflow
"""


@pytest.mark.parametrize(
    ("classes", "annotation"),
    [
        ("", "Imported"),
        ("", "Imported | int"),
        ("class Payload(pydantic.BaseModel):\n    n: int", "Payload"),
        ("@model\nclass Payload:\n    n: int", "Payload"),
        ("@dataclass\nclass Payload(Imported):\n    n: int", "Payload"),
        ("@decorate\n@dataclass\nclass Payload:\n    n: int", "Payload"),
        ("@dataclass\nclass Payload:\n    n: InitVar[int]", "Payload"),
        ("@dataclass\nclass Payload:\n    n: int = field(init=False)", "Payload"),
        ("@dataclass\nclass Payload:\n    n: int = decorate()", "Payload"),
        ("@dataclass\nclass Payload:\n    n: int\nPayload = decorate(Payload)", "Payload"),
        ("@dataclass\nclass Payload:\n    n: int\nclass Payload: ...", "Payload"),
        ("class Payload(Enum):\n    A = 1", "Payload"),
        ("int = decorate", "int"),
        ("from elsewhere import str", "str"),
        ("", "'not an ( expression'"),
        ("", "Imported[int]"),
        ("", "decorate(int)"),
    ],
)
def test_what_the_file_does_not_show_accepts_every_payload(classes: str, annotation: str) -> None:
    source = f"{HEAD}{classes}\n@workflow('it')\nasync def it(payload: {annotation}): ...\n"
    assert [of_source(source, "it", payload) for payload in (None, 1, "text", {"other": []})] == [None] * 4


def test_a_handler_below_another_decorator_is_not_judged() -> None:
    source = f"{HEAD}@workflow('it')\n@decorate\nasync def it(payload: int): ...\n"
    assert of_source(source, "it", "text") is None
