"""Hints for payloads that are almost JSON: what to type instead."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any, Final

LONGEST: Final = 100_000
"""Maximum number of characters that are examined; payloads typed by hand are far shorter."""
LONGEST_EXAMPLE: Final = 80
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NAME: Final = r"[A-Za-z_$][\w$-]*"
_ASSIGNED: Final = re.compile(rf"\s*({_NAME})=(.*)", re.DOTALL)

_CONSTANTS: Final = {"True": "true", "False": "false", "None": "null"}

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

_RULES: Final[tuple[_Rule, ...]] = (
    (re.compile("[“”„‘’]"), lambda _: 'JSON uses plain double quotes: "'),
    (re.compile("'"), lambda _: "JSON uses double quotes"),
    (re.compile(r"\b(True|False|None)\b"), lambda found: f"JSON writes {_CONSTANTS[found[1]]} for {found[1]}"),
    (re.compile(r",\s*([}\]])"), lambda found: f"no comma before {found[1]}"),
    (re.compile(r"\bNaN\b|\bInfinity\b|\bundefined\b"), lambda found: f"JSON has no {found[0]}: write null"),
    (re.compile(rf"[{{,]\s*({_NAME})\s*:"), lambda found: f'a key needs double quotes: "{found[1]}"'),
    (re.compile(r"//|/\*|(?:^|\s)#"), lambda _: "JSON has no comments"),
    (
        re.compile(r"(?<![\w.])(\+[\d.]|\.\d|0\d)"),
        lambda _: "a number has no leading + or 0, and needs a digit before the decimal point",
    ),
    (re.compile(r"\d_\d"), lambda _: "a number has no _"),
)
"""Patterns outside of strings, with the hint for each."""

_OF_DECODER: Final = {
    "Invalid control character": r"in a string a line break is written \n, and a tab \t",
    r"Invalid \escape": r"in a string a backslash is written twice: \\",
    r"Invalid \uXXXX escape": r"in a string a backslash is written twice: \\",
    "Unterminated string": "the closing double quote of a string is missing",
    "Expecting ':'": "a colon is missing between a key and its value",
}


def json_hint(text: str, message: str) -> str | None:
    """A hint for text that the decoder rejected with `message`, or None."""
    text = text[:LONGEST]
    if not text.strip():
        return "omit an empty payload: it is then null"
    if assigned := _ASSIGNED.fullmatch(text):
        return f"key=value is not JSON: write {_example({assigned[1]: _value(assigned[2])})}"
    outside = _STRING.sub('""', text)
    for pattern, words in _RULES:
        if found := pattern.search(outside):
            return words(found) + _corrected(text)
    return _of_message(message) or _unbalanced(outside) or _after_the_end(text)


def _corrected(text: str) -> str:
    """The JSON of a value that is written as a Python literal."""
    try:
        value = ast.literal_eval(text.strip())
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ""
    return f": {encoded}" if len(encoded) <= LONGEST_EXAMPLE else ""


def _of_message(message: str) -> str | None:
    return next((hint for start, hint in _OF_DECODER.items() if start in message), None)


def _unbalanced(outside: str) -> str | None:
    for opening, closing in ("{}", "[]"):
        if outside.count(opening) > outside.count(closing):
            return f"a {closing} is missing"
    return None


def _after_the_end(text: str) -> str | None:
    """A hint about text after the first value, or None."""
    text = text.lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].strip()
    if not rest or not isinstance(value, dict | list):
        return None
    return f"a payload is one value, but {_cut(rest)!r} follows it"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _example(value: Any) -> str:
    return f"'{_cut(json.dumps(value, ensure_ascii=False))}'"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}…"
