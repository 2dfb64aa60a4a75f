"""Encodes and decodes JSON at the boundary: values, frames and their limits.

A *value* is a payload, a result, a step value or a signal's payload. It is checked once, on entry, and passed on as text.
A *frame* is a JSON object on a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Final

from tako_lite.errors import BadInput, NotJson, ProtocolError, TooLarge
from tako_lite.names import printable

PROTOCOL: Final = 1
MAX_VALUE: Final = 1024 * 1024
MAX_FRAME: Final = 2 * 1024 * 1024
MAX_LINK_FRAME: Final = 16 * 1024 * 1024
"""Limit of a frame between daemon and worker. It can hold many values, each encoded as a JSON string."""
MAX_DEPTH: Final = 64

_decode = json.JSONDecoder().raw_decode
_TEXT = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _make_encoder() -> Callable[[Any], str]:
    """A faster `JSONEncoder.encode`: that method creates a C encoder in each call, which takes longer than the encoding."""
    plain = json.JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return plain.encode
    chunks = make(None, plain.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_encode = _make_encoder()


def encode_value(value: Any, what: str = "value") -> str:
    """The JSON text of a value; `what` names it in errors.

    Raises NotJson, with the place, for a value that JSON cannot represent, and TooLarge above 1 MiB.
    """
    text = encode_decoded(value, what)
    if value.__class__ is not str and ("{" in text or text.count("[") > MAX_DEPTH):
        _check_objects(value, what, MAX_DEPTH)
    return text


def encode_decoded(value: Any, what: str = "value") -> str:
    """`encode_value` for a value that was decoded from a frame, whose keys and depth were checked with it."""
    try:
        text = _encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(value, what, error) from None
    if size > MAX_VALUE:
        raise TooLarge(
            f"{what} is {size:,} bytes of JSON; the limit is {MAX_VALUE:,}",
            hint="store the data elsewhere and pass a path or a key",
        )
    return text


def _check_objects(value: Any, what: str, levels: int) -> None:
    """Raise NotJson for nesting beyond the limit, and for two keys of an object that become the same text."""
    if levels == 0:
        raise NotJson(f"{what} is nested more than {MAX_DEPTH} levels deep")
    items = value
    if isinstance(value, dict):
        if not _TEXT.issuperset(map(type, value)) and len({_key_text(key) for key in value}) < len(value):
            message = f"two keys of an object in {what} are the same in JSON, where keys are text"
            raise NotJson(message, hint="make all keys text")
        items = value.values()
    if not _SCALARS.issuperset(map(type, items)):
        for item in items:
            if isinstance(item, dict | list | tuple):
                _check_objects(item, what, levels - 1)


def _key_text(key: Any) -> str:
    return key if isinstance(key, str) else _encode(key)


def decode_value(text: str) -> Any:
    """Decode text that `encode_value` produced."""
    return _decode(text)[0]


def parse_value(text: str | bytes, what: str = "payload") -> Any:
    """Decode JSON text from outside. Raises BadInput unless it is strict JSON."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _strict(raw, what, MAX_VALUE)


def encode_frame(frame: Any) -> bytes:
    """Encode an object as one line."""
    return _encode(frame).encode() + b"\n"


def decode_frame(line: bytes) -> dict[str, Any]:
    """Decode a line from outside. Raises BadInput unless it is one strict JSON object."""
    frame = _strict(line, "frame", MAX_FRAME)
    if not isinstance(frame, dict):
        raise BadInput(f"a frame is a JSON object, not {_kind(frame)}")
    return frame


class LineReader:
    """Splits a byte stream into lines of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that these bytes complete, without newlines. Raises ProtocolError above the limit."""
        *lines, rest = data.split(b"\n")
        if lines and self._parts:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._limit or any(len(line) > self._limit for line in lines):
            raise ProtocolError(f"a frame is longer than {self._limit:,} bytes")
        return lines


def _strict(raw: bytes, what: str, limit: int) -> Any:
    if len(raw) > limit:
        raise TooLarge(f"{what} is {len(raw):,} bytes; the limit is {limit:,}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{what} contains a lone surrogate") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadInput(f"{what} is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise BadInput(f"{what} is not JSON: {error}") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise BadInput(f"{what} is nested more than {MAX_DEPTH} levels deep")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a decoded value has more than so many levels of lists and objects."""
    if value.__class__ is dict:
        value = value.values()
    elif value.__class__ is not list:
        return False
    if levels == 0:
        return True
    return not _SCALARS.issuperset(map(type, value)) and any(_is_deeper(item, levels - 1) for item in value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {printable(twice[:60])!r} occurs twice in one object")
    return made


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite)


def _not_json(value: Any, what: str, error: Exception) -> NotJson:
    if isinstance(error, RecursionError) or "Circular" in str(error):
        return NotJson(f"{what} contains itself or is nested too deeply for JSON")
    if "digits" in str(error):
        return NotJson(f"{what} has a number with too many digits", hint="pass it as text")
    place, culprit = _find(value, what, _is_culprit) or (what, value)
    hint = "values are JSON: text, numbers, booleans, null, lists and objects"
    if isinstance(culprit, bytes | bytearray | memoryview):
        hint = "write the bytes to a file and return its path"
    elif isinstance(culprit, CoroutineType):
        hint = f"write `await` before the call of {culprit.__qualname__} that made it"
    return NotJson(f"{place} is {_kind(culprit)}, which JSON cannot represent", hint=hint)


def _is_culprit(value: Any) -> bool:
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))
    if isinstance(value, str):
        return any("\ud800" <= letter <= "\udfff" for letter in value)
    return not (value is None or isinstance(value, bool | int | dict | list | tuple))


def _find(value: Any, place: str, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
    if wanted(value):
        return place, value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | None) or wanted(key):
                return f"a key of {place}", key
            if found := _find(item, f"{place}.{key}", wanted):
                return found
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if found := _find(item, f"{place}[{index}]", wanted):
                return found
    return None


def _kind(value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "an infinite number"
    if isinstance(value, str):
        return "text with a lone surrogate" if _is_culprit(value) else "text"
    return f"of type {type(value).__name__}"
