"""What a handle makes JSON of, its handler can read again; else the enqueue is refused, and names the field."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel

from tako_lite.client import requests
from tako_lite.errors import BadInput, NotJson
from tako_lite.typed import convert
from tako_lite.workflow import Workflow, workflow

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


def handle_for(annotation: Any) -> Workflow[..., Any]:
    def handler(payload: Any, step: object) -> None: ...

    handler.__annotations__["payload"] = annotation
    return workflow("any")(handler)


def sent(payload: Any, annotation: Any) -> Any:
    """The JSON value that a handle sends for a payload."""
    return requests.enqueue(handle_for(annotation), payload, {}).whole()["payload"]


def refusal(payload: Any, annotation: Any) -> str:
    with pytest.raises(BadInput) as caught:
        sent(payload, annotation)
    return caught.value.message


class Written(BaseModel):
    number: int = Field(serialization_alias="written")


class Read(BaseModel):
    number: int = Field(validation_alias="read")


class Two(BaseModel):
    number: int = Field(serialization_alias="written", validation_alias="read")


class Choices(BaseModel):
    number: int = Field(validation_alias=AliasChoices(AliasPath("deep", 0), "first", "second"))


class Shouting(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper)
    written: Written
    two: list[Two]
    read: dict[str, Read]
    choices: Choices | None = None


class ByNameOnly(BaseModel):
    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
    number: int = Field(alias="Number")


class ByEither(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    number: int = Field(alias="Number")
    deep: int = Field(0, validation_alias=AliasPath("deeper", 0))


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: dt.datetime
    day: dt.date
    length: dt.timedelta
    id: UUID
    price: Decimal
    path: Path
    numbers: set[int]
    pair: tuple[int, str]


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @pydantic.computed_field
    def area(self) -> int:
        return self.width**2


class Circle(BaseModel):
    radius: int

    @pydantic.computed_field
    def made_of(self) -> list[Two]:
        return [Two(read=self.radius)]


class JsonText(BaseModel):
    numbers: pydantic.Json[list[int]]


class Roots(RootModel[list[Two]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, alias="Lives")


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Pet(BaseModel):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


class Holder(BaseModel, Generic[T]):
    content: T


class Keys(BaseModel):
    by_number: dict[int, Two]
    by_day: dict[dt.date, int] = {}


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int


class Wrapped(BaseModel):
    number: int = Field(alias="Number")

    @pydantic.model_serializer(mode="wrap")
    def serialize(self, handler: Callable[[Any], Any]) -> Any:
        return handler(self)


class Private(BaseModel):
    number: int
    _cache: int = pydantic.PrivateAttr(default=0)


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    number: int = Field(alias="Number")
    at: dt.datetime | None = None


class Revealed(BaseModel):
    token: pydantic.SecretStr

    @pydantic.field_serializer("token", when_used="json")
    def reveal(self, token: pydantic.SecretStr) -> str:
        return token.get_secret_value()


class Camel(msgspec.Struct, rename="camel", tag=True, forbid_unknown_fields=True):
    order_id: int
    at: dt.datetime | None = None
    names: dict[int, str] = {}


class Other(msgspec.Struct, tag="other", array_like=True):
    order_id: int
    by_day: dict[dt.date, int] = {}
    data: bytes = b"\xff"


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    at: dt.datetime = NOON


class Table(TypedDict):
    days: list[dt.date]


@dataclass
class Base:
    number: int


@dataclass(kw_only=True)
class Everything(Base):
    numbers: dict[int, str] = field(default_factory=dict)
    days: dict[dt.date, int] = field(default_factory=dict)
    colours: dict[Colour, int] = field(default_factory=dict)
    levels: dict[Level, int] = field(default_factory=dict)
    ids: dict[UUID, int] = field(default_factory=dict)
    flags: dict[bool, float] = field(default_factory=dict)
    lengths: dict[dt.timedelta, int] = field(default_factory=dict)
    either: dict[int | str, int] = field(default_factory=dict)
    some: dict[Literal[1, "a"], int] = field(default_factory=dict)
    length: dt.timedelta = dt.timedelta()
    price: Decimal = Decimal(0)
    level: Level = Level.LOW
    point: Point = Point(0)  # noqa: RUF009
    words: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "a")
    other: Optional[Base] = None  # noqa: UP045
    shown: str = field(default="", init=False)


EVERYTHING = Everything(
    number=1,
    numbers={1: "a", -2: "b"},
    days={NOON.date(): 1},
    colours={Colour.RED: 1},
    levels={Level.LOW: 1},
    ids={UUID(int=1): 1},
    flags={True: 1.5},
    lengths={dt.timedelta(minutes=1): 1},
    either={7: 1, "a": 2},
    some={1: 1, "a": 2},
    length=dt.timedelta(days=-1, seconds=5, microseconds=7),
    price=Decimal("1.10"),
    point=Point(1, NOON),
    words=frozenset({"b", "a"}),
    pair=(2, "b"),
    other=Base(5),
)


@pytest.mark.parametrize(
    ("annotation", "payload", "json_value"),
    [
        (Written, Written(number=1), {"number": 1}),
        (Read, Read(read=1), {"read": 1}),
        (Two, Two(read=1), {"read": 1}),
        (Choices, Choices(second=1), {"first": 1}),
        (
            Shouting,
            Shouting(WRITTEN=Written(number=1), TWO=[Two(read=2)], READ={"k": Read(read=3)}, CHOICES=Choices(first=4)),
            {"WRITTEN": {"number": 1}, "TWO": [{"read": 2}], "READ": {"k": {"read": 3}}, "CHOICES": {"first": 4}},
        ),
        (ByNameOnly, ByNameOnly(number=1), {"number": 1}),
        (ByEither, ByEither(number=1, deep=2), {"number": 1, "deep": 2}),
        (
            Strict,
            Strict(
                at=NOON,
                day=NOON.date(),
                length=dt.timedelta(minutes=1),
                id=UUID(int=1),
                price=Decimal("1.10"),
                path=Path("a"),
                numbers={1},
                pair=(1, "a"),
            ),
            None,
        ),
        (Square, Square(width=2), {"width": 2}),
        (list[Circle], [Circle(radius=1)], [{"radius": 1, "made_of": [{"read": 1}]}]),
        (JsonText, JsonText(numbers="[1, 2]"), {"numbers": "[1,2]"}),
        (Roots, Roots([Two(read=1)]), [{"read": 1}]),
        (Pet, Pet(animal=Cat(Lives=3)), {"animal": {"kind": "cat", "Lives": 3}}),
        (Cat | Dog, Dog(), {"kind": "dog", "lives": 1}),
        (list[Cat | Dog] | None, [Dog(), Cat(Lives=1)], None),
        (Holder[Two], Holder[Two](content=Two(read=1)), {"content": {"read": 1}}),
        (Keys, Keys(by_number={1: Two(read=1)}, by_day={NOON.date(): 1}), None),
        (Wrapped, Wrapped(Number=1), {"Number": 1}),
        (Private, Private(number=1), {"number": 1}),
        (PydanticDataclass, PydanticDataclass(Number=1, at=NOON), {"Number": 1, "at": "2030-01-01T12:00:00Z"}),
        (Revealed, Revealed(token="hunter2"), {"token": "hunter2"}),
        (Camel, Camel(1, NOON, {1: "a"}), {"type": "Camel", "orderId": 1, "at": "2030-01-01T12:00:00Z", "names": {"1": "a"}}),
        (Camel | Other, Other(1, {NOON.date(): 1}), ["other", 1, {"2030-01-01": 1}, "/w=="]),
        (Everything, EVERYTHING, None),
        (Point, Point(1), [1, "2030-01-01T12:00:00+00:00"]),
        (list[Point], [Point(1)], None),
        (Table, {"days": [NOON.date()]}, {"days": ["2030-01-01"]}),
        (dt.datetime, dt.datetime(2030, 1, 1), "2030-01-01T00:00:00"),
        (dict[dt.date, Base], {NOON.date(): Base(1)}, {"2030-01-01": {"number": 1}}),
        (set[UUID], {UUID(int=2), UUID(int=1)}, [str(UUID(int=1)), str(UUID(int=2))]),
    ],
)
def test_what_a_handle_sends_its_handler_reads_as_what_it_was(annotation: Any, payload: Any, json_value: Any) -> None:
    value = sent(payload, annotation)
    assert json_value is None or value == json_value
    assert convert(value, annotation) == payload


class Secretive(BaseModel):
    tokens: list[pydantic.SecretStr] = []
    key: pydantic.SecretBytes | None = None


@dataclass
class SecretiveDataclass:
    token: pydantic.SecretStr


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    data: bytes


class Bytes(BaseModel):
    data: bytes


class Merging(BaseModel):
    numbers: dict[int | str, int]


class MergingStruct(msgspec.Struct):
    numbers: dict[int | str, int]


class Anything(msgspec.Struct):
    thing: Any


@dataclass
class Twin:
    number: int


@dataclass
class Twins:
    members: list[Base | Twin]


@pytest.mark.parametrize(
    ("annotation", "payload", "message"),
    [
        (Base, {"number": "a"}, 'payload.number: expected int, got str "a"'),
        (Base, None, "payload: expected an object, got null"),
        (Base, {"numer": 1}, "payload.numer: not a field of Base; did you mean `number`?"),
        (Two, {"written": 1}, "payload.read: Field required"),
        (Camel, {"orderId": "a"}, "payload"),
        (list[Base], [Base(1), {"number": None}], "payload[1].number: expected int, got null"),
        (Secretive, Secretive(tokens=["a"]), "payload.tokens[0] is a SecretStr, which would be stored as asterisks"),
        (Secretive, Secretive(key=b"a"), "payload.key is a SecretBytes"),
        (SecretiveDataclass, SecretiveDataclass(pydantic.SecretStr("a")), "payload.token is a SecretStr"),
        (Any, [{"a": pydantic.SecretStr("a")}], "payload[0].a is a SecretStr"),
        (Base64, Base64(data=b"abc"), "payload.data is bytes, which the handler would read as others"),
        (Bytes, Bytes(data=b"\xff"), "cannot be serialized by pydantic"),
        (Merging, Merging(numbers={1: 1, "1": 2}), "two keys of payload.numbers become equal in JSON"),
        (MergingStruct, MergingStruct({1: 1, "1": 2}), "two keys of an object become '1' in JSON"),
        (dict[str, int], {1: 1, "1": 2}, "two keys of an object in payload are the same in JSON"),
        (Any, {NOON.date(): 1, "2030-01-01": 2}, 'two keys of payload become "2030-01-01" in JSON'),
        (dt.datetime | dt.date, NOON.date(), "payload is a date, which the handler would read as a datetime"),
        (Any, {(1, 2): 3}, "a key of payload is of type tuple"),
        (Anything, Anything(object()), "cannot be serialized by msgspec"),
        (Anything, Anything(float("nan")), "payload.thing is NaN"),
        (Everything, dataclasses.replace(EVERYTHING, price=Decimal("NaN")), "payload.price is NaN"),
        (Twins, Twins([Base(1), Twin(2)]), "payload.members[1] is a Twin, which the handler would read as a Base"),
        (dt.date, NOON, "payload: expected an ISO-8601 date"),
    ],
)
def test_what_the_handler_could_not_read_is_refused_before_it_is_sent(annotation: Any, payload: Any, message: str) -> None:
    assert message in refusal(payload, annotation)


def test_every_payload_of_many_is_checked_and_the_wrong_one_is_named() -> None:
    with pytest.raises(BadInput, match=r"payloads\[1\]\.number: expected int"):
        list(requests.enqueue_many(handle_for(Base), [Base(1), {"number": "a"}], {}))


def test_a_subclass_is_sent_as_what_the_handler_takes() -> None:
    class More(Base):
        pass

    assert sent(More(1), Base) == {"number": 1}


def test_by_name_nothing_is_known_of_the_handler_and_nothing_is_checked() -> None:
    assert requests.enqueue("any", {"number": "a"}, {}).whole()["payload"] == {"number": "a"}


def test_an_annotation_that_cannot_be_resolved_here_leaves_the_payload_unchecked() -> None:
    @workflow("unresolved")
    def unresolved(payload: Missing) -> None: ...

    @workflow("takes-bytes")
    def takes_bytes(payload: bytes) -> None: ...

    class Unfinished(BaseModel):
        other: Missing | None = None

    for handle in (unresolved, takes_bytes, handle_for("Missing"), handle_for(Unfinished), handle_for(list["Missing"])):  # type: ignore[name-defined,unused-ignore]
        assert requests.enqueue(handle, {"number": Base(1)}, {}).whole()["payload"] == {"number": {"number": 1}}


def test_another_parameter_that_cannot_be_resolved_does_not_prevent_the_check_of_the_payload() -> None:
    @workflow("half-resolved")
    def half_resolved(payload: Base, step: Missing) -> None: ...

    with pytest.raises(BadInput, match="expected int"):
        requests.enqueue(half_resolved, {"number": "a"}, {})


def test_a_plain_payload_is_checked_without_pydantic_or_msgspec() -> None:
    program = (
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from tako_lite import workflow\n"
        "from tako_lite.client import requests\n"
        "@dataclass\n"
        "class Job:\n    number: int\n"
        "@workflow('job')\n"
        "def job(payload: Job): ...\n"
        "requests.enqueue(job, Job(1), {})\n"
        "print([name for name in ('pydantic', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_secrets_are_refused_with_what_to_do_instead() -> None:
    with pytest.raises(NotJson) as caught:
        sent(Secretive(tokens=["hunter2"]), Secretive)
    assert "secrets.md" in (caught.value.hint or "")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (dt.timedelta(), "PT0S"),
        (dt.timedelta(days=3), "P3D"),
        (dt.timedelta(hours=1, minutes=30), "PT1H30M"),
        (dt.timedelta(seconds=-1.5), "-PT1.5S"),
        (dt.timedelta.max, "P999999999DT23H59M59.999999S"),
        (dt.timedelta.min, "-P999999999D"),
    ],
)
def test_a_timedelta_is_an_iso_duration_to_the_microsecond(length: dt.timedelta, text: str) -> None:
    assert sent(length, dt.timedelta) == text
    assert convert(text, dt.timedelta) == length


@pytest.mark.parametrize(("value", "seconds"), [("1h30m", 5400), ("250ms", 0.25), (90, 90), (-1.5, -1.5), ("P1W", 604_800)])
def test_a_timedelta_is_also_read_from_what_durations_are_written_as(value: Any, seconds: float) -> None:
    assert convert(value, dt.timedelta) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["P", "PT", "90", "soon", True, None, [], 1e300, "P9999999999D"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="expected a duration"):
        convert(value, dt.timedelta)


@pytest.mark.parametrize(
    ("annotation", "key"), [(int, "01"), (int, "1.0"), (int, "a"), (float, "1"), (bool, "True"), (int, "١")]
)
def test_a_key_that_is_not_written_as_json_writes_it_is_refused(annotation: Any, key: str) -> None:
    with pytest.raises(BadInput, match="as text, got str"):
        convert({key: 1}, dict[annotation, int])


def test_keys_that_mean_the_same_are_refused_when_they_are_read() -> None:
    value = json.loads('{"2030-01-01T00:00:00Z": 1, "2030-01-01T00:00:00+00:00": 2}')
    with pytest.raises(BadInput, match="another key means the same"):
        convert(value, dict[dt.datetime, int])
