"""Bytes that nobody would send on purpose, to the decoder and to a living daemon. `make fuzz` goes on where this stops."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tako_lite.errors import BadInput
from tako_lite.protocol.arguments import SHAPES
from tako_lite.wire import MAX_DEPTH, decode_frame, encode_frame, parse_value
from tests.fuzz.target import feed
from tests.support.project import Project, wait_until

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
WORKFLOWS = "@workflow('quick')\nasync def quick(payload):\n    return payload\n"
PING = b'{"id":"ping","command":"workflows"}\n'
QUIET = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

text = st.text(max_size=12) | st.sampled_from(
    ["", "\x00", "../../x", "'; DROP TABLE runs;--", "\u202egnp", "é", "e\u0301", "x" * 3_000]
)
EXTREMES = (2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 5e-324, -1, 0, -0.0, 253_402_300_800_000)
extremes = st.sampled_from(EXTREMES)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | extremes | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
harmless = st.sampled_from(sorted(set(SHAPES) - {"backup", "scale", "reload", "stop"}))  # these reach files and processes


known = st.sampled_from(["quick", "default", "abcd", "dead", "01a2b3c4-0000-7000-8000-000000000001"])
whole = st.integers() | st.sampled_from([number for number in EXTREMES if isinstance(number, int)])
FITTING = {str: known | text, int: whole, float: extremes | st.integers(), bool: st.booleans(), Any: values}


def fitting(hint: Any) -> st.SearchStrategy[Any]:
    """Values of the type that an argument has."""
    if get_origin(hint) is list:
        return st.lists(fitting(get_args(hint)[0]), max_size=3)
    kinds = [FITTING[kind] for kind in (hint, *get_args(hint)) if kind in FITTING]
    return st.one_of(kinds)


@st.composite
def commands(draw: st.DrawFn) -> dict[str, Any]:
    """A command with arguments of its own names, mostly of their own types, and of any size."""
    name = draw(harmless)
    given = {field: draw(fitting(hint)) for field, hint in get_type_hints(SHAPES[name]).items() if draw(st.booleans())}
    if draw(st.integers(0, 3)) == 0:
        given |= draw(st.dictionaries(st.sampled_from([*given, "more"]), values, max_size=2))
    return {"id": draw(values), "command": name, **given}


def bent(line: bytes, place: int, piece: bytes) -> bytes:
    """A line with some of its bytes replaced."""
    place %= len(line) + 1
    return line[:place] + piece + line[place + len(piece) // 2 :]


valid = commands().map(lambda frame: json.dumps(frame).encode() + b"\n")
broken = st.builds(bent, valid, st.integers(0, 5_000), st.binary(min_size=1, max_size=4))
lines = valid | broken | st.binary(max_size=60).map(lambda data: data + b"\n")


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_what_the_fuzzer_once_kept_is_taken_or_refused_in_good_order(file: Path) -> None:
    feed(file.read_bytes())


@QUIET
@given(st.integers(0, 255), st.lists(lines, max_size=4))
def test_whatever_lines_come_in_whatever_pieces_they_are_taken_or_refused(piece: int, sent: list[bytes]) -> None:
    feed(bytes([piece]) + b"".join(sent)[:2_000])


@QUIET
@given(
    st.integers(1, 2 * MAX_DEPTH),
    st.lists(st.sampled_from(["[", '{"a":']), min_size=1),
    st.sampled_from(['"]}"', "[]", "1", '"\\""']),
)
def test_depth_is_counted_as_the_decoder_would(depth: int, kinds: list[str], inner: str) -> None:
    opening = [kinds[level % len(kinds)] for level in range(depth)]
    document = "".join(opening) + inner + "".join("]" if kind == "[" else "}" for kind in reversed(opening))
    if depth + (inner == "[]") > MAX_DEPTH:
        with pytest.raises(BadInput, match="nested"):
            parse_value(document)
    else:
        assert parse_value(document) == json.loads(document)


@QUIET
@given(st.binary(max_size=80) | broken.map(lambda line: line[:-1]))
def test_what_is_taken_for_a_frame_is_strict_json(line: bytes) -> None:
    try:
        frame = decode_frame(line)
    except BadInput:
        return
    assert repr(json.loads(line.decode())) == repr(frame)
    assert encode_frame(frame)


class Peer:
    """A connection to the daemon that has been greeted."""

    def __init__(self, project: Project) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(15)
        self.socket.connect(str(project.root / ".tako/tako.sock"))
        self.answers = self.socket.makefile("rb")
        assert b"tako-lite" in self.answers.readline()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.close()
        self.socket.close()


@pytest.fixture(scope="module")
def served(live: Project) -> Iterator[Project]:
    """A project whose daemon is the same when all is over, has printed no traceback, and still runs what it is given."""
    live.configure("[workflows]\nmax_workers = 1\n")
    live.add("quick.py", WORKFLOWS)
    pid = live.status()["daemon"]["pid"]
    yield live
    live.call("resume", group="default")
    assert live.run("quick", "over")["result"] == "over"
    assert live.status()["daemon"]["pid"] == pid
    assert "Traceback" not in live.daemon_log()
    wait_until(lambda: len(live.status()["groups"]) == 1, "no group was made up")


@settings(QUIET, max_examples=150)
@given(st.lists(lines, max_size=5), st.binary(max_size=30), st.booleans())
def test_after_whatever_was_sent_the_daemon_answers_the_next(
    served: Project, sent: list[bytes], half: bytes, waits: bool
) -> None:
    with Peer(served) as hostile:
        hostile.socket.sendall(b"".join(sent))
        hostile.socket.sendall(half.replace(b"\n", b""))  # and hangs up in the middle of a line
        if waits and not any(b'"wait"' in line for line in sent):
            for line in b"".join(sent).split(b"\n")[:-1]:
                answer = json.loads(hostile.answers.readline()) if line.strip() else {"ok": None}
                assert ("ok" in answer) != ("error" in answer)
                assert "its log has the traceback" not in str(answer.get("error")), line
    with Peer(served) as honest:
        honest.socket.sendall(PING)
        assert json.loads(honest.answers.readline())["id"] == "ping"
