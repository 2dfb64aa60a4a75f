"""Payloads that are typed as fields: `key=value`, `n:=3`, `a[b]=x`, `body=@FILE`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tako_lite.cli.main import main
from tako_lite.cli.payload import read_payload
from tako_lite.errors import BadInput
from tako_lite.wire import encode_value

FIELDS: list[tuple[str, Any]] = [
    ("to=ann", {"to": "ann"}),
    ("n:=3 ok:=true text=3", {"n": 3, "ok": True, "text": "3"}),
    ("a= b:=null", {"a": "", "b": None}),
    ("a[b]=x a[c]:=1", {"a": {"b": "x", "c": 1}}),
    ("tags[]=new tags[]=big", {"tags": ["new", "big"]}),
    ("rows[][n]:=1 rows[][n]:=2", {"rows": [{"n": 1}, {"n": 2}]}),
    ("rows[0][n]:=1 rows[0][m]:=2", {"rows": [{"n": 1, "m": 2}]}),
    ("a[2]=x", {"a": [None, None, "x"]}),
    ("[]=x []:=2", ["x", 2]),
    ("a[\\1]=x", {"a": {"1": "x"}}),
    ("2026=x", {"2026": "x"}),
    ("a\\=b=c", {"a=b": "c"}),
    ("a\\[b\\]=c", {"a[b]": "c"}),
    ("a\\:=c", {"a:": "c"}),
    ("token=abc==", {"token": "abc=="}),
    ("at=12:30 url=https://x.test/?a=1&b=2", {"at": "12:30", "url": "https://x.test/?a=1&b=2"}),
    ('options:={"a":1} options[b]:=2', {"options": {"a": 1, "b": 2}}),
    ("handle=\\@ann", {"handle": "@ann"}),
    ("größe:=1.5", {"größe": 1.5}),
]

QUOTE = "write a=1 for text or a:=1 for JSON; JSON as a whole stands in single quotes"
REFUSED = [
    ("a=1 a=2", "a is given twice", "the elements of a list are a[]=…"),
    ("a=1 a[b]=2", "a[b] makes an object of what another field makes a value", None),
    ("a[]=1 a[b]=2", "a[b] makes an object of what another field makes a list", None),
    ("a[99999]=1", "a[99999]: an index is below 10,000", "write a longer list as JSON: key:=@FILE"),
    ("n:=abc", "n is not JSON", "write text with = alone: n=…"),
    ("n:=", "n has no value", "write n:=null, or n= for empty text"),
    ("tags:=['a']", "tags is not JSON", 'JSON uses double quotes: ["a"]'),
    ("a=1 b", "'b' is not a field such as key=value", None),
    ("a:1 b:2", "'a:1' is not a field such as key=value", QUOTE),
    ("a=@/nowhere", "cannot read '/nowhere': No such file or directory", None),
    ("a" + "[b]" * 64 + "=1", "a" + "[b]" * 13 + "… is nested more than 64 levels deep", None),
]


@pytest.mark.parametrize(("typed", "payload"), FIELDS, ids=[typed for typed, _ in FIELDS])
def test_fields_make_the_payload_that_they_describe(typed: str, payload: Any) -> None:
    assert read_payload(*typed.split()) == payload


@pytest.mark.parametrize(("typed", "message", "hint"), REFUSED, ids=[typed[:20] for typed, *_ in REFUSED])
def test_fields_with_a_mistake_are_refused_with_what_to_type(typed: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadInput) as refused:
        read_payload(*typed.split())
    assert refused.value.message.startswith(message)
    assert hint is None or refused.value.hint == hint


@pytest.mark.parametrize("text", ['{"a": "b=c"}', '"a=b"', '["a=b"]', '{"a":1}'])
def test_json_with_an_equals_sign_is_still_json(text: str) -> None:
    assert encode_value(read_payload(text)).replace(" ", "") == text.replace(" ", "")


def test_a_field_takes_text_or_json_from_a_file_or_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "body.txt").write_text("Hello,\n")
    (tmp_path / "tags.json").write_text('["a", "b"]')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    payload = read_payload(f"body=@{tmp_path}/body.txt", f"tags:=@{tmp_path}/tags.json", "note=@-")
    assert payload == {"body": "Hello,\n", "tags": ["a", "b"], "note": "from stdin"}

    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadInput, match="is not UTF-8"):
        read_payload(f"body=@{tmp_path}/picture.png")


def test_enqueue_signal_and_retry_take_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "mail.py").write_text(
        'from tako_lite import workflow\n@workflow("send-mail")\ndef send_mail(payload: dict) -> None:\n    pass\n'
    )
    (tmp_path / "tako.toml").touch()
    monkeypatch.chdir(tmp_path)

    def tako(*words: str) -> str:
        assert main(words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    plain = tako("enqueue", "send-mail", "to=ann", "n:=3").split()[0]
    assert '"payload": {"to": "ann", "n": 3}' in tako("show", plain, "--json")
    delayed = tako("enqueue", "send-mail", "--delay", "5m", "to=ann", "--retries", "1", "cc[]=bob").split()[0]
    assert '"payload": {"to": "ann", "cc": ["bob"]}' in tako("show", delayed, "--json")
    assert "is stored" in tako("signal", "approval:7", "ok:=true", "by=ann")

    tako("cancel", delayed)
    again = tako("retry", delayed, "--payload", "to=bob", "--payload", "n:=4").split()[0]
    assert '"payload": {"to": "bob", "n": 4}' in tako("show", again, "--json")
