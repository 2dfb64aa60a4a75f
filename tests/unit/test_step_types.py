"""Which type the return annotation of a function gives to the stored value of its step."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, TypeVar

import pytest

from tako_lite.errors import StepError
from tako_lite.typed import read_by
from tako_lite.typed.functions import result_reader
from tako_lite.values import read_stored, returned_as
from tako_lite.workflow import workflow

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

T = TypeVar("T")


@dataclass
class Receipt:
    number: int


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    YES = "yes"


class Plain(TypedDict):
    number: int
    parts: list[str]


class Dated(TypedDict):
    at: datetime


class Custom:
    pass


def returning(annotation: Any) -> Callable[[], Any]:
    """A function with this return annotation."""

    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    return function


def read(function: Any, value: Any) -> Any:
    reader = result_reader(function)
    assert reader is not None
    return read_by(reader, value, "value")


@pytest.mark.parametrize(
    ("annotation", "value", "made"),
    [
        (Receipt, {"number": 1}, Receipt(1)),
        ("Receipt", {"number": 1}, Receipt(1)),
        ("Receipt | None", None, None),
        ("list[Receipt]", [{"number": 1}], [Receipt(1)]),
        (list["Receipt"], [{"number": 1}], [Receipt(1)]),
        (Mapping[str, Colour], {"a": "red"}, {"a": Colour.RED}),
        (Word, "yes", Word.YES),
        (tuple[int, Path], [1, "a"], (1, Path("a"))),
        (set, [1], {1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Dated, {"at": "2030-01-01T00:00:00"}, {"at": datetime(2030, 1, 1)}),
        (Awaitable[Receipt], {"number": 1}, Receipt(1)),
    ],
)
def test_an_annotation_that_says_more_than_json_is_used(annotation: Any, value: Any, made: Any) -> None:
    assert read(returning(annotation), value) == made


@pytest.mark.parametrize(
    "annotation",
    [
        None, "None", str, "int", float, bool, dict, "dict[str, Any]", list[int], dict[str, list[float]], "int | None",
        Literal["a", 1], Plain, list[Plain], tuple, "tuple", Any, object, Custom, "Custom", Custom | None, T, NoReturn,
        Iterator[int], Callable[[], int], bytes, "Missing", "list[Missing]", "not python", 5, [int], Receipt | Custom,
    ],
)  # fmt: skip
def test_an_annotation_that_means_json_or_nothing_leaves_the_value_alone(annotation: Any) -> None:
    assert result_reader(returning(annotation)) is None


def test_the_annotation_is_found_whatever_kind_of_callable_it_is() -> None:
    def plain(of: Missing = None) -> Receipt: ...  # type: ignore[empty-body]

    async def coroutine() -> Receipt: ...  # type: ignore[empty-body]

    @functools.wraps(plain)
    def wrapped(*args: Any) -> Any: ...

    @functools.cache
    def cached() -> Receipt: ...  # type: ignore[empty-body]

    class Shop:
        def method(self) -> Receipt: ...  # type: ignore[empty-body]

        @classmethod
        def made(cls) -> Receipt: ...  # type: ignore[empty-body]

        @staticmethod
        def still() -> Receipt: ...  # type: ignore[empty-body]

        def __call__(self) -> Receipt: ...  # type: ignore[empty-body]

    handle = workflow("receipt")(plain)
    for function in (
        plain, coroutine, wrapped, cached, Shop().method, Shop.made, Shop.still, Shop(), handle, Receipt,
        functools.partial(plain, 1), functools.partial(functools.partial(Shop().method)),
    ):  # fmt: skip
        assert read(function, {"number": 1}) == Receipt(1), function


def test_a_class_that_only_the_enclosing_function_knows_is_found_where_its_function_uses_it() -> None:
    @dataclass
    class Local:
        number: int

    def uses() -> Local:
        return Local(1)

    assert read(uses, {"number": 1}) == Local(1)


@pytest.mark.parametrize("function", [len, print, asyncio.sleep, datetime.now, str, dict, tuple, Custom, lambda: 1, "text", 5])
def test_what_has_no_annotation_of_use_leaves_the_value_alone(function: Any) -> None:
    assert result_reader(function) is None


def test_a_function_is_looked_at_once() -> None:

    def function() -> Receipt: ...  # type: ignore[empty-body]

    assert result_reader(function) is result_reader(function)


def test_returns_is_checked_at_once_and_the_error_names_its_step() -> None:
    assert read_stored(returned_as(Receipt | None, "pay"), {"number": 1}, "pay") == Receipt(1)
    with pytest.raises(StepError, match="step 'pay': returns: Custom cannot be made from JSON"):
        returned_as(Custom, "pay")


def test_a_value_that_does_not_fit_names_its_step() -> None:
    with pytest.raises(StepError, match=r"step 'pay': the stored value does not fit Receipt: its value\.number: missing"):
        read_stored(returned_as(Receipt, "pay"), {}, "pay")
