"""Strict conversion from JSON to annotated types, and back."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako_lite.errors import BadInput, NotJson
from tako_lite.typed import convert, converter, plain

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass
class Size:
    width: int
    height: int = 100


@dataclass(frozen=True, kw_only=True)
class Job:
    key: str
    size: Size
    tags: list[str] = field(default_factory=list)
    made_by: str = field(default="us", init=False)


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError("number must be positive")


class Base(TypedDict):
    number: int


class Order(Base, total=False):
    note: str
    customer: Required[str]


class Person(TypedDict):
    name: str
    age: NotRequired[int]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


class Model(pydantic.BaseModel):
    size: int
    inner: Optional[Model] = None  # noqa: UP045
    items: list[int] = []


class Struct(msgspec.Struct):
    size: int
    when: dt.datetime | None = None
    inner: Struct | None = None


UserId = NewType("UserId", int)


def refusal(value: Any, annotation: Any) -> str:
    with pytest.raises(BadInput) as caught:
        convert(value, annotation)
    return caught.value.message


@pytest.mark.parametrize(
    ("annotation", "value", "made"),
    [
        (str, "a", "a"),
        (int, 3, 3),
        (float, 1.5, 1.5),
        (float, 3, 3.0),
        (bool, True, True),
        (None, None, None),
        (Any, {"a": [1]}, {"a": [1]}),
        (object, [1], [1]),
        (dict, {"a": 1}, {"a": 1}),
        (Mapping, {"a": 1}, {"a": 1}),
        (dict[str, Any], {"a": 1}, {"a": 1}),
        (dict[str, Size], {"a": {"width": 1}}, {"a": Size(1)}),
        (Mapping[Colour, int], {"red": 1}, {Colour.RED: 1}),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1, 2], [1, 2]),
        (Sequence[int], [1, 2], [1, 2]),
        (Iterable[Size], [{"width": 1}], [Size(1)]),
        (tuple, [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 2, 1], {1, 2}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (int | None, None, None),
        (Optional[int], 3, 3),  # noqa: UP045
        (Union[int, str], "a", "a"),  # noqa: UP007
        (Literal["a", 1, None], 1, 1),
        (Colour, "green", Colour.GREEN),
        (Literal[Colour.RED], "red", Colour.RED),
        (Level, 1, Level.HIGH),
        (dt.datetime, "2024-02-29T12:00:00Z", dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
        (dt.date, "2024-02-29", dt.date(2024, 2, 29)),
        (dt.time, "12:30", dt.time(12, 30)),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID(int=0x12345678123456781234567812345678)),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 3, Decimal(3)),
        (Path, "a/b", Path("a/b")),
        (PurePosixPath, "a/b", PurePosixPath("a/b")),
        (UserId, 3, 3),
        (Annotated[int, "metres"], 3, 3),
        (Annotated[int, ["unhashable"]], 3, 3),
        (list[Annotated[int, []]], [3], [3]),
    ],
)
def test_a_value_that_fits_becomes_what_the_annotation_says(annotation: Any, value: Any, made: Any) -> None:
    converted = convert(value, annotation)
    assert converted == made
    assert type(converted) is type(made)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "12", 'expected int, got str "12"'),
        (int, True, "expected int, got bool true"),
        (int, 1.0, "expected int, got float 1.0"),
        (float, True, "expected float, got bool true"),
        (float, "1", "expected float, got str"),
        (bool, 1, "expected bool, got int 1"),
        (str, None, "expected str, got null"),
        (None, 0, "expected null, got int 0"),
        (dict, [], "expected an object, got list"),
        (dict[str, int], {"a": "b"}, 'payload.a: expected int, got str "b"'),
        (dict[str, int], {"a b": "b"}, 'payload["a b"]: expected int'),
        (dict[Colour, int], {"blue": 1}, 'payload.blue: expected "red" or "green"'),
        (list, {}, "expected list, got an object"),
        (list[int], [1, "a"], "payload[1]: expected int"),
        (list[list[int]], [[1], [2, None]], "payload[1][1]: expected int, got null"),
        (tuple[int, str], [1], "expected a list of 2, got 1"),
        (tuple[int, str], ["a", 1], "payload[0]: expected int"),
        (set[Any], [[1]], "unhashable"),
        (int | str, 1.5, "expected int or str, got float 1.5"),
        (Size | None, {"width": "a"}, 'payload.width: expected int, got str "a"'),
        (Size | None, 3, "expected Size or null, got int 3"),
        (Literal[1], True, "expected 1, got bool true"),
        (Literal["a"], ["a"], 'expected "a", got list'),
        (Level, True, "expected 0 or 1, got bool true"),
        (Colour, "blue", 'expected "red" or "green", got str "blue"'),
        (dt.datetime, "yesterday", "expected an ISO-8601 date and time"),
        (dt.datetime, 3, "expected an ISO-8601 date and time, got int 3"),
        (dt.date, "2024-02-30", "expected an ISO-8601 date"),
        (UUID, "12", "expected a UUID"),
        (Decimal, 1.5, "expected a decimal number as text, got float 1.5"),
        (Decimal, "NaN", "expected a decimal number"),
        (Decimal, "1.1.1", "expected a decimal number"),
        (Path, 3, "expected a path"),
        (Size, [], "expected an object, got list"),
        (Person, {"name": "a", "age": "b"}, "payload.age: expected int"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(annotation: Any, value: Any, message: str) -> None:
    assert message in refusal(value, annotation)


def test_the_message_names_the_nested_field() -> None:
    assert refusal({"key": "a", "size": {"width": "12"}}, Job) == 'payload.size.width: expected int, got str "12"'


def test_the_caller_says_what_the_value_is_called() -> None:
    with pytest.raises(BadInput, match=r"^command\.width: missing$"):
        convert({}, Size, "command")


def test_nested_dataclasses_are_built_with_their_defaults() -> None:
    assert convert({"key": "a", "size": {"width": 1}}, Job) == Job(key="a", size=Size(1, 100), tags=[])


def test_a_dataclass_may_contain_itself() -> None:
    tree = convert({"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}, Tree)
    assert tree == Tree("a", [Tree("b", [Tree("c")])])
    assert refusal({"name": "a", "children": [{"name": "b", "children": [{}]}]}, Tree) == (
        "payload.children[0].children[0].name: missing"
    )


def test_all_problems_of_a_value_are_reported_at_once() -> None:
    assert refusal({"size": {"width": "a", "height": None}, "tags": [1]}, Job) == (
        "payload.key: missing; "
        'payload.size.width: expected int, got str "a"; '
        "payload.size.height: expected int, got null; "
        "payload.tags[0]: expected str, got int 1"
    )


def test_unknown_keys_are_refused_with_a_guess() -> None:
    assert refusal({"width": 1, "heigth": 2}, Size) == "payload.heigth: not a field of Size; did you mean `height`?"
    assert refusal({"width": 1, "?": 2}, Size) == 'payload["?"]: not a field of Size'


def test_fields_that_are_not_arguments_cannot_be_given() -> None:
    assert "payload.made_by: not a field of Job" in refusal({"key": "a", "size": {"width": 1}, "made_by": "x"}, Job)


def test_an_objection_of_the_dataclass_itself_is_a_refusal() -> None:
    assert refusal([{"number": 0}], list[Positive]) == "payload[0]: number must be positive"


def test_typed_dicts_know_their_required_keys_through_inheritance_and_wrappers() -> None:
    assert convert({"number": 1, "customer": "a"}, Order) == {"number": 1, "customer": "a"}
    assert refusal({"note": "a"}, Order) == "payload.number: missing; payload.customer: missing"
    assert convert({"name": "a"}, Person) == {"name": "a"}
    assert refusal({"name": "a", "nmae": 1}, Person) == "payload.nmae: not a field of Person; did you mean `name`?"


def test_the_first_member_of_a_union_that_fits_is_taken_whatever_was_asked_before() -> None:
    assert convert("a", Path | str) == Path("a")
    assert convert("a", str | Path) == "a"


def test_a_member_of_a_union_of_records_is_found_by_its_fields() -> None:
    assert convert({"name": "a"}, Size | Tree) == Tree("a")
    assert refusal({"nothing": 1}, Size | Tree) == "payload: expected Size or Tree, got an object"


def test_long_values_and_long_lists_of_problems_are_cut_short() -> None:
    message = refusal(["x" * 10_000] * 10_000, list[int])
    assert len(message) < 4000
    assert refusal({f"key{n}" * 100: 1 for n in range(10_000)}, Size).count(";") < 60


def test_an_integer_of_thousands_of_digits_is_refused_politely() -> None:
    assert refusal(10**5000, float) == "payload: the number is too large for a float"
    assert refusal(10**5000, str).startswith("payload: expected str, got int")


@dataclass
class Unresolved:
    other: Missing  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Nested:
    inner: Unresolved


@dataclass
class WithInitVar:
    number: InitVar[int]


@dataclass
class Box(Generic[T]):
    content: T
    spare: list[T] = field(default_factory=list)


@dataclass
class BoxOfBoxes(Box[Box[T]], Generic[T]):
    label: T | None = None


@dataclass
class SizeBox(Box[Size]):
    number: int = 0


class Pair(NamedTuple, Generic[T]):
    first: T
    second: T


class Page(TypedDict, Generic[T]):
    items: list[T]


class SizePage(Page[Size]):
    number: int


class Rights(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    LOW = 1
    HIGH = 8


class Planet(Enum):
    EARTH = (5.97, 6.37)
    MARS = (0.64, 3.39)


class Chosen(Enum):
    THING = object()


class Plain:
    pass


@dataclass
class Holder:
    plain: Plain


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Plain, "payload: Plain cannot be made from JSON"),
        (bytes, "payload: bytes cannot be made from JSON"),
        (complex | None, "complex cannot be made from JSON"),
        (Holder, "payload: the field Holder.plain: Plain cannot be made from JSON"),
        (list[Holder], "the field Holder.plain"),
        (dict[tuple[int, int], str], "the keys of a JSON object are text, which does not convert to tuple"),
        (Box[Plain], "the field Box.content: Plain cannot be made from JSON"),
        (Chosen, "Chosen has the value"),
        ("Job", 'the annotation "Job" is not resolved'),
        ([int], "cannot be made from JSON"),
        (Unresolved, "the annotations of Unresolved cannot be resolved: name 'Missing' is not defined"),
        (Nested, "the annotations of Unresolved cannot be resolved"),
        (WithInitVar, "InitVar"),
    ],
)
def test_an_annotation_without_a_meaning_in_json_is_refused_before_any_value(annotation: Any, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        converter(annotation)
    assert message in caught.value.message


def test_pydantic_models_are_built_by_pydantic() -> None:
    assert convert({"size": 1, "inner": {"size": 2}}, Model) == Model(size=1, inner=Model(size=2))
    assert convert([{"size": 1}], list[Model]) == [Model(size=1)]


def test_what_pydantic_refuses_names_every_field() -> None:
    message = refusal({"inner": {"size": "x"}, "items": [1, "y"]}, Model)
    assert "payload.size: Field required" in message
    assert "payload.inner.size: Input should be a valid integer" in message
    assert "payload.items[1]: " in message


def test_msgspec_structs_are_built_by_msgspec() -> None:
    made = convert({"size": 1, "when": "2024-01-01T00:00:00Z"}, Struct)
    assert made == Struct(1, dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


def test_what_msgspec_refuses_names_the_field() -> None:
    assert refusal({"size": 1, "inner": {"size": "x"}}, Struct) == "payload.inner.size: Expected `int`, got `str`"
    assert refusal([{}], list[Struct]) == "payload[0]: Object missing required field `size`"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Box[int], Box(1, [2])),
        (Box[dt.date], Box(dt.date(2024, 2, 29))),
        (Box, Box("anything")),
        (T, "anything"),
        (Box[Annotated[int, []]], Box(1)),
        (list[Box[Box[Size]]], [Box(Box(Size(1)))]),
        (BoxOfBoxes[dt.date], BoxOfBoxes(Box(dt.date(2024, 2, 29)), label=dt.date(2024, 3, 1))),
        (SizeBox, SizeBox(Size(1), [Size(2)])),
        (Pair[UUID], Pair(UUID(int=1), UUID(int=2))),
        (Page[Size], {"items": [Size(1)]}),
        (SizePage, {"items": [Size(1)], "number": 1}),
    ],
)
def test_generic_records_are_read_with_their_arguments(annotation: Any, value: Any) -> None:
    assert convert(plain(value), annotation) == value


def test_the_argument_of_a_generic_record_is_checked() -> None:
    assert refusal({"content": 1, "spare": ["a"]}, Box[int]) == 'payload.spare[0]: expected int, got str "a"'


@pytest.mark.parametrize("value", [Rights.READ, Rights.READ | Rights.WRITE, Rights(0), Bits.LOW | Bits.HIGH, Planet.MARS])
def test_flags_are_combined_and_members_of_an_enum_may_be_tuples(value: Any) -> None:
    assert convert(plain(value), type(value)) is value


def test_a_number_that_is_no_flag_is_refused() -> None:
    assert refusal(4, Rights) == "payload: expected the number of a Rights, got int 4"
    assert refusal([1, 2], Planet) == "payload: expected [5.97, 6.37] or [0.64, 3.39], got list"


def test_neither_pydantic_nor_msgspec_is_imported_by_us() -> None:
    program = (
        "import sys, dataclasses\n"
        "from tako_lite.typed import convert\n"
        "assert convert([1], list[int]) == [1]\n"
        "print([name for name in ('pydantic', 'msgspec', 'uuid', 'decimal', 'difflib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plain_is_the_reverse_of_convert() -> None:
    @dataclass
    class Everything:
        when: dt.datetime
        day: dt.date
        id: UUID
        price: Decimal
        path: Path
        colour: Colour
        sizes: tuple[Size, ...]
        words: set[str]

    made = Everything(
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.date(2024, 1, 2),
        UUID(int=1),
        Decimal("1.10"),
        Path("a/b"),
        Colour.RED,
        (Size(1),),
        {"a"},
    )
    assert plain(made) == {
        "when": "2024-01-01T00:00:00+00:00",
        "day": "2024-01-02",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "path": "a/b",
        "colour": "red",
        "sizes": [{"width": 1, "height": 100}],
        "words": ["a"],
    }


def test_plain_leaves_out_fields_that_convert_would_refuse() -> None:
    job = Job(key="a", size=Size(1))
    assert convert(plain(job), Job) == job


def test_plain_knows_pydantic_and_msgspec() -> None:
    assert plain([Model(size=1), Struct(2)]) == [
        {"size": 1, "inner": None, "items": []},
        {"size": 2, "when": None, "inner": None},
    ]


def test_plain_leaves_what_it_does_not_know_to_the_encoder() -> None:
    thing = object()
    assert plain({"a": thing, "b": b"x"}) == {"a": thing, "b": b"x"}


def test_plain_refuses_what_contains_itself() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(NotJson, match="contains itself"):
        plain(loop)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["width", "key", "size", "x"]), inner),
    max_leaves=12,
)


@given(json_values, st.sampled_from([Job, Tree, Order, Size | None, list[Tree] | dict[str, float], Path | Level]))
def test_any_json_value_is_converted_or_refused(value: Any, annotation: Any) -> None:
    try:
        made = convert(value, annotation)
    except BadInput as error:
        assert error.message.startswith("payload")
    else:
        assert convert(plain(made), annotation) == made
