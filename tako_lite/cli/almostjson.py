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

_CONSTANTS: Final = {"True": "true", "False": "false", "None": "null", "nil": "null"} | {
    word.upper(): word for word in ("true", "false", "null")
}
_NOT_JSON: Final = ("undefined", "NaN", "Infinity")
_WORDS: Final = {**{word: word for word in ("true", "false", "null")}, **_CONSTANTS, **dict.fromkeys(_NOT_JSON, "null")}
_UNKNOWN: Final = object()

_ODD_SPACES: Final = "\u00a0\u2007\u200b\u200c\u200d\u2028\u2029\u202f\u3000\ufeff"
"""Invisible or special spaces that come with text from web pages and chats."""

_Words = Callable[[re.Match[str]], str]
_Rule = tuple[re.Pattern[str], str | _Words, _Words | None]

_RULES: Final[tuple[_Rule, ...]] = (
    (re.compile("[“”„‘’]"), "JSON uses plain double quotes", lambda _: '"'),
    (re.compile("'"), "JSON uses double quotes", None),
    (re.compile(f"[{_ODD_SPACES}]"), lambda found: f"JSON has no space of the kind U+{ord(found[0]):04X}: type it again", None),
    (re.compile(r"^\s*\("), "JSON writes a list in square brackets", None),
    (re.compile(rf"\b({'|'.join(_CONSTANTS)})\b"), lambda found: f"JSON writes {_CONSTANTS[found[1]]} for {found[1]}", None),
    (re.compile(r",\s*([}\]])"), lambda found: f"no comma before {found[1]}", None),
    (re.compile(r",\s*,"), "there is a comma too many", None),
    (re.compile(r":\s*[,}]"), "a value is missing after a colon", None),
    (re.compile(rf"\b(?:{'|'.join(_NOT_JSON)})\b"), lambda found: f"JSON has no {found[0]}: write null", None),
    (re.compile(rf"""[{{,]\s*(?:{_NAME}|"")\s*=>?"""), "a colon separates a key from its value", None),
    (
        re.compile(rf"[{{,]\s*({_NAME})\s*:"),
        "a key needs double quotes, and in a shell the payload needs single quotes around it",
        lambda found: f'"{found[1]}"',
    ),
    (
        re.compile(rf"^\s*(?:\[|[{{\[].*[:\[])\s*(?!(?:true|false|null)\b)({_NAME})", re.DOTALL),
        "text needs double quotes",
        lambda found: f'"{found[1]}"',
    ),
    (re.compile(r"//|/\*|(?:^|\s)#"), "JSON has no comments", None),
    (
        re.compile(r"(?<![\w.])(\+[\d.]|\.\d|0\d)"),
        "a number has no leading + or 0, and needs a digit before the decimal point",
        None,
    ),
    (re.compile(r"\d\.(?!\d)"), "a number needs a digit after the decimal point", None),
    (re.compile(r"\b0[xXoObB][\da-fA-F]"), "numbers are decimal", None),
    (re.compile(r"\d_\d"), "a number has no _", None),
)
"""Patterns of mistakes outside of strings, with a hint for each. The example is for text that cannot be corrected."""

_TOKEN: Final = re.compile(
    rf"""(?P<name>{_NAME})|=>?|[{_ODD_SPACES}]|//[^\n]*|/\*.*?\*/|\#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
    r"""|[“”„][^“”„"]*[“”„]|[‘’][^‘’']*[‘’]""",
    re.DOTALL,
)
"""What is rewritten in text that is almost JSON: names, signs of assignment, comments and strings."""
_DANGLING: Final = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[,}\]])')

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
    for pattern, words, example in _RULES:
        if found := pattern.search(outside):
            hint = words if isinstance(words, str) else words(found)
            written = _corrected(text) or (example(found) if example else "")
            return f"{hint}: {written}" if written else hint
    return _of_message(message) or _unbalanced(outside) or _after_the_end(text) or _of_comma(message)


def _corrected(text: str) -> str:
    """The JSON that was meant, where the text can be read as it; else nothing."""
    value = _meant(text)
    if value is _UNKNOWN:
        return ""
    encoded = json.dumps(value, ensure_ascii=False)
    return encoded if len(encoded) <= LONGEST_EXAMPLE else ""


def _meant(text: str) -> Any:
    """The value of a Python literal, or of JSON after its usual mistakes are undone; else `_UNKNOWN`."""
    for read in (_literal, _undone):
        try:
            return json.loads(read(text))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return _UNKNOWN


def _literal(text: str) -> str:
    return json.dumps(ast.literal_eval(text.strip()), allow_nan=False)


def _undone(text: str) -> str:
    """The text with JSON's quotes and words, and without comments and commas at the end of objects and lists."""
    return _DANGLING.sub(r"\1", _TOKEN.sub(_as_json, text))


def _as_json(token: re.Match[str]) -> str:
    found = token[0]
    if found.startswith('"'):
        return found
    if found.startswith(("/", "#")) or found in _ODD_SPACES:
        return " "
    if found.startswith("="):
        return ":"
    if found in _WORDS:
        return _WORDS[found]
    inner = found if token["name"] else found[1:-1]
    return json.dumps(inner.replace("\\'", "'"), ensure_ascii=False)


def _of_message(message: str) -> str | None:
    return next((hint for start, hint in _OF_DECODER.items() if start in message), None)


def _of_comma(message: str) -> str | None:
    return "a comma is missing between two values" if "',' delimiter" in message else None


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
