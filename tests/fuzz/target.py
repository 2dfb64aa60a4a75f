"""What both fuzzers feed: bytes of a client go through the line reader, the decoder and the shapes of the commands."""

from __future__ import annotations

import json
from typing import Any, Final

from tako_lite.errors import BadInput, ProtocolError, TakoError
from tako_lite.protocol.arguments import SHAPES
from tako_lite.typed import converter
from tako_lite.wire import MAX_DEPTH, LineReader, decode_frame, encode_frame

LONGEST: Final = 1_000
CONVERTERS: Final = {name: (shape, converter(shape, name)) for name, shape in SHAPES.items()}


def feed(data: bytes) -> int:
    """Take bytes as the daemon does, in pieces as long as the first byte says; how many commands came out.

    Raises whatever is not an error of ours, and AssertionError where what was accepted is not what was sent.
    """
    piece, data = data[0] + 1 if data else 1, data[1:]
    reader, whole = LineReader(LONGEST), LineReader(len(data))
    lines: list[bytes] = []
    try:
        for start in range(0, len(data), piece):
            lines += reader.feed(data[start : start + piece])
    except ProtocolError:
        assert any(len(line) > LONGEST for line in data.split(b"\n"))
        return 0
    assert lines == whole.feed(data) == data.split(b"\n")[:-1]
    return sum(_command(line) for line in lines)


def _command(line: bytes) -> bool:
    try:
        frame = decode_frame(line)
    except BadInput as error:
        _told(error)
        return False
    assert repr(frame) == repr(json.loads(line.decode()))  # NaN and keys that stand twice were refused
    assert decode_frame(encode_frame(frame)[:-1]) == frame
    assert _depth(frame) <= MAX_DEPTH
    frame.pop("id", None)
    return _converted(frame.pop("command", None), frame)


def _converted(command: Any, arguments: dict[str, Any]) -> bool:
    shape, convert = CONVERTERS.get(command, (None, None)) if isinstance(command, str) else (None, None)
    if shape is None or convert is None:
        return False
    try:
        made = convert(arguments)
    except BadInput as error:
        _told(error)
        return False
    assert type(made) is shape
    assert {name: getattr(made, name) for name in arguments} == arguments
    return True


def _told(error: TakoError) -> None:
    """An error that can be sent back, as one line, and is no longer than a person reads."""
    line = encode_frame({"id": None, "error": error.as_json()})
    assert line.count(b"\n") == 1
    assert len(line) < 8_000


def _depth(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_depth, inner), default=0)
    return 0
