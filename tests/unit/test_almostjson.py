"""Payloads that are nearly JSON: the hint says what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako_lite.cli.payload import read_payload
from tako_lite.errors import BadInput

UNQUOTED = "a key needs double quotes, and in a shell the payload needs single quotes around it"
HINTS = [
    ("{'file': 'x'}", 'JSON uses double quotes: {"file": "x"}'),
    ("{'a': True, 'b': None}", 'JSON uses double quotes: {"a": true, "b": null}'),
    ("{\"a\": 'x'}", 'JSON uses double quotes: {"a": "x"}'),
    ("{'a': 1, b: 2}", 'JSON uses double quotes: {"a": 1, "b": 2}'),
    ('{"a":1,}', 'no comma before }: {"a": 1}'),
    ("[1, 2, ]", "no comma before ]: [1, 2]"),
    ("True", "JSON writes true for True: true"),
    ('{"a": None}', 'JSON writes null for None: {"a": null}'),
    ("{file: 1}", f'{UNQUOTED}: {{"file": 1}}'),
    ('{"a": 1, user-id: 2}', f'{UNQUOTED}: {{"a": 1, "user-id": 2}}'),
    ("{to:ann}", f'{UNQUOTED}: {{"to": "ann"}}'),
    ("{a: +1}", f'{UNQUOTED}: "a"'),
    ("{'a': 'it\\'s', b: [None, 2,],}", """JSON uses double quotes: {"a": "it's", "b": [null, 2]}"""),
    ('{"a": TRUE}', 'JSON writes true for TRUE: {"a": true}'),
    ('{"a": nil}', 'JSON writes null for nil: {"a": null}'),
    ('{"a": ann}', 'text needs double quotes: {"a": "ann"}'),
    ("[ann]", 'text needs double quotes: ["ann"]'),
    ('{"a" = 1}', 'a colon separates a key from its value: {"a": 1}'),
    ('{"a" => 1}', 'a colon separates a key from its value: {"a": 1}'),
    ('{"a": 1,, "b": 2}', 'there is a comma too many: {"a": 1, "b": 2}'),
    ('{"a": , "b": 2}', "a value is missing after a colon"),
    ('{"a":\u00a01}', 'JSON has no space of the kind U+00A0: type it again: {"a": 1}'),
    ('("a", 1)', 'JSON writes a list in square brackets: ["a", 1]'),
    ('{"a": 5.}', 'a number needs a digit after the decimal point: {"a": 5.0}'),
    ('{"a": 0x1F}', 'numbers are decimal: {"a": 31}'),
    ("to: ann", "write to=ann for text or to:=ann for JSON; JSON as a whole stands in single quotes"),
    ('{"a": 1 "b": 2}', "a comma is missing between two values"),
    ("a[b]c=1", "a payload is JSON in single quotes, or fields: key=text, key:=JSON, key[name]=text, key[]=text"),
    ('{"a": 1} {"b": 2}', """a payload is one value, but '{"b": 2}' follows it"""),
    ('{"a": 1} x', "a payload is one value, but 'x' follows it"),
    ('{"a": NaN}', 'JSON has no NaN: write null: {"a": null}'),
    ('{"a": undefined}', 'JSON has no undefined: write null: {"a": null}'),
    ('{"a": 1', "a } is missing"),
    ('["a"', "a ] is missing"),
    ("{“a”: 1}", 'JSON uses plain double quotes: {"a": 1}'),
    ("{“a: 1}", 'JSON uses plain double quotes: "'),
    ("{‘a’: “it's”}", """JSON uses plain double quotes: {"a": "it's"}"""),
    ('{"a": 1} // one', 'JSON has no comments: {"a": 1}'),
    ('{"a": "b\n"}', r"in a string a line break is written \n, and a tab \t"),
    ('{"p": "C:\\x"}', r"in a string a backslash is written twice: \\"),
    ('{"a" 1}', "a colon is missing between a key and its value"),
    ('{"a": .5}', 'a number has no leading + or 0, and needs a digit before the decimal point: {"a": 0.5}'),
    ("", "omit an empty payload: it is then null"),
    ("hello", """a payload is JSON: text needs quotes inside the quotes of the shell: '"text"'"""),
    ('{"a": "it\'s None, {b: 1,}" 5}', None),
]


@pytest.mark.parametrize(("text", "hint"), HINTS, ids=[text or "empty" for text, _ in HINTS])
def test_a_payload_that_is_nearly_json_is_refused_with_what_to_type(text: str, hint: str | None, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not JSON") as refused:
        read_payload(text)
    if hint is not None:
        assert refused.value.hint == hint
    else:
        assert "double quotes" not in (refused.value.hint or "")

    file = tmp_path / "payload.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as in_file:
        read_payload(f"@{file}")
    assert in_file.value.hint == refused.value.hint


def test_what_is_json_is_taken_whatever_stands_in_its_strings() -> None:
    assert read_payload('{"a": "it\'s True, {b: 1,} // c=d"}') == {"a": "it's True, {b: 1,} // c=d"}
