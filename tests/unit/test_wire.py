"""JSON at the edge, and the ids of runs."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako_lite.errors import BadInput, NotJson, ProtocolError, TooLarge
from tako_lite.names import NAME, printable
from tako_lite.records import new_id, new_ids
from tako_lite.wire import (
    MAX_DEPTH,
    MAX_FRAME,
    MAX_VALUE,
    LineReader,
    decode_frame,
    decode_value,
    encode_frame,
    encode_value,
    parse_value,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Letters(str):
    """Text that a plain encoder would still take."""


@given(VALUES)
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    text = encode_value(value)
    assert decode_value(text) == value
    assert parse_value(text) == value
    assert decode_frame(encode_frame({"v": value})[:-1]) == {"v": value}


@pytest.mark.parametrize(
    "value",
    [{1: "a", "1": "b"}, {"deep": [{True: 1, "true": 2}]}, {None: 1, "null": 2}, {1.5: 1, "1.5": 2}, ({1e30: 1, "1e+30": 2},)],
)
def test_keys_that_are_the_same_in_json_are_refused(value: Any) -> None:
    with pytest.raises(NotJson, match="two keys of an object in value are the same in JSON"):
        encode_value(value)


def test_keys_that_look_like_numbers_and_differ_are_taken() -> None:
    value = {"1": "a", "01": "b", 2: "c", "true": {"null": 1, '1":': 2}}
    assert decode_value(encode_value(value)) == {"1": "a", "01": "b", "2": "c", "true": {"null": 1, '1":': 2}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, b"x"]}, r"payload\.a\[1\] is of type bytes"),
        (float("nan"), "payload is NaN"),
        ([float("-inf")], r"payload\[0\] is an infinite number"),
        ({"a": "\ud800"}, r"payload\.a is text with a lone surrogate"),
        ({"\udfff": 1}, "a key of payload is text with a lone surrogate"),
        ({(1, 2): 1}, "a key of payload is of type tuple"),
        ({1, 2}, "payload is of type set"),
        (nested(MAX_DEPTH + 1), "more than 64 levels deep"),
        (nested(100_000), "nested too deep"),
    ],
    ids=["bytes", "nan", "infinity", "surrogate", "surrogate-key", "tuple-key", "set", "deep", "very-deep"],
)
def test_what_json_cannot_carry_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(NotJson, match=message) as error:
        encode_value(value, "payload")
    assert error.value.exit_code == 2


def test_bytes_come_with_advice() -> None:
    with pytest.raises(NotJson) as error:
        encode_value(b"x")
    assert error.value.hint == "write the bytes to a file and return its path"


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotJson, match="contains itself"):
        encode_value(loop)


def test_depth_counts_brackets_and_not_those_inside_of_text() -> None:
    assert decode_value(encode_value(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    assert encode_value(["[[{{" * 100, '"[' * 100])
    with pytest.raises(NotJson):
        encode_value([nested(MAX_DEPTH), "]"])
    wide: list[Any] = [[[]]] * 1_000
    assert decode_value(encode_value(wide)) == wide


@pytest.mark.parametrize("letter", ["a", "ü", "🐙"])
def test_the_limit_counts_bytes(letter: str) -> None:
    fits = letter * ((MAX_VALUE - 2) // len(letter.encode()))
    assert encode_value(fits)
    with pytest.raises(TooLarge, match="payload is 1,048,5"):
        encode_value(fits + letter, "payload")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "1 2",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        '{"a":1,"a":2}',
        r'"\ud800"',
        "9" * 5_000,
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 65 + "1" + "}" * 65,
        "'a'",
        '"\n"',
        b"\xff",
        b'"\xed\xa0\x80"',
        "\ud800",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_text_that_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadInput, match="payload"):
        parse_value(text)


def test_text_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        parse_value(b'"' + b"a" * MAX_VALUE + b'"')


@pytest.mark.parametrize("line", [b"[]", b"1", b"null", b"", b"{", b'{"a":NaN}', b"\x00", b"{}x"])
def test_a_line_that_is_not_one_object_is_no_frame(line: bytes) -> None:
    with pytest.raises(BadInput):
        decode_frame(line)


def test_a_frame_is_one_line_whatever_is_in_it() -> None:
    frame = {"text": "a\nb\r\u2028c"}
    line = encode_frame(frame)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert decode_frame(line) == frame


@given(st.lists(st.binary().map(lambda data: data.replace(b"\n", b""))), st.integers(1, 7))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], step: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    reader = LineReader(1_000_000)
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    assert [line for piece in pieces for line in reader.feed(piece)] == lines


def test_a_line_over_the_limit_is_refused_before_its_end_is_seen() -> None:
    reader = LineReader(10)
    assert reader.feed(b"0123456789\n01234") == [b"0123456789"]
    with pytest.raises(ProtocolError, match="longer than 10 bytes"):
        reader.feed(b"567890")
    with pytest.raises(ProtocolError):
        LineReader(10).feed(b"0123456789x\n")
    assert MAX_FRAME > MAX_VALUE


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 128])
def test_a_name_within_the_pattern_is_one(name: str) -> None:
    assert NAME.match(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "../../x", "a b", "a\n", "ä", "x" * 129, "'; DROP", "\x1b[2J", "\u202eabc"])
def test_other_text_is_not_a_name(name: str) -> None:
    assert not NAME.match(name)


def test_control_characters_become_visible() -> None:
    assert printable("a\x1b[2J\x9b\x00\x7f\r") == r"a\x1b[2J\x9b\x00\x7f\x0d"
    assert printable("one\n\ttwo ü 🐙") == "one\n\ttwo ü 🐙"


UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_ids_are_uuids_of_version_7_that_increase() -> None:
    ids = [new_id(), *new_ids(5_000), new_id(), *new_ids(3)]
    assert all(UUID7.fullmatch(id) for id in ids)
    assert ids == sorted(set(ids))
    assert new_ids(0) == []


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [id for ids in threads.map(lambda _: new_ids(500), range(40)) for id in ids]
    assert len(set(made)) == 20_000


def test_a_forked_child_makes_other_ids() -> None:
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(new_ids(100)).encode())
        os._exit(0)
    os.close(writing)
    mine = new_ids(100)
    with os.fdopen(reading, "rb") as answer:
        theirs = json.load(answer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len({*mine, *theirs}) == 200
