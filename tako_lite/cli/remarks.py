"""Mistakes and warnings in the formats of other programs: annotations of GitHub Actions, and SARIF for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tako_lite import __version__
from tako_lite.errors import Mistake

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES: Final = {"error": "mistake", "warning": "warning"}


def printed(form: str, mistakes: Sequence[Mistake], warnings: Sequence[Mistake]) -> Iterator[str]:
    """The lines to print in a format: `github` or `sarif`."""
    found = [("error", mistake) for mistake in mistakes] + [("warning", warning) for warning in warnings]
    if form == "github":
        yield from (_annotation(level, mistake) for level, mistake in found)
    else:
        yield json.dumps(_sarif(found), ensure_ascii=False, indent=2)


def _annotation(level: str, mistake: Mistake) -> str:
    """A workflow command of GitHub Actions; the characters that would end a part of it are escaped."""
    where = {"file": mistake.file, **({"line": mistake.line, "col": mistake.column} if mistake.line else {})}
    properties = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in where.items())
    return f"::{level} {properties}::{_escaped(_text(mistake))}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _sarif(found: Sequence[tuple[str, Mistake]]) -> dict[str, Any]:
    rules = [{"id": rule, "shortDescription": {"text": f"A {rule} of tako-lite check"}} for rule in _RULES.values()]
    driver = {"name": "tako-lite", "version": __version__, "rules": rules}
    results = [_result(level, mistake) for level, mistake in found]
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _result(level: str, mistake: Mistake) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": mistake.file.replace("\\", "/")}}
    if mistake.line:
        place["region"] = {"startLine": mistake.line, "startColumn": max(mistake.column, 1)}
    return {
        "ruleId": _RULES[level],
        "level": level,
        "message": {"text": _text(mistake)},
        "locations": [{"physicalLocation": place}],
    }


def _text(mistake: Mistake) -> str:
    return f"{mistake.message}\n{mistake.hint}" if mistake.hint else mistake.message
