"""`[secrets]` in tako.toml, the reading of their sources, and the mask that hides them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tako_lite
from tako_lite.cli.checks.secrets import secrets as check_secrets
from tako_lite.cli.main import main
from tako_lite.config import Config, effective, load, unreadable_secrets
from tako_lite.errors import ConfigError, Mistake, SecretError, TakoError
from tako_lite.secrets import Mask, SecretSource, read
from tako_lite.secrets.source import MAX_SECRET


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text: str) -> Config:
    Path("tako.toml").write_text(text)
    return load(server="here")


def mistakes(text: str) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return caught.value.mistakes


# tako.toml


def test_a_group_has_the_secrets_that_the_most_particular_table_names(project: Path) -> None:
    config = loaded(
        """
        [secrets]
        smtp = "env:SMTP_PASSWORD"
        key = "file:private/key"
        all = "file:/run/secrets/all"
        [workflows]
        secrets = ["all"]
        [workflows.email]
        secrets = ["smtp", "key", "smtp"]
        [workflows.media]
        secrets = []
        """
    )
    assert config.group("email").secrets == {
        "smtp": SecretSource("env", "SMTP_PASSWORD"),
        "key": SecretSource("file", str(project / "private/key")),
    }
    assert config.group("media").secrets == {}
    assert list(config.group("any").secrets) == ["all"]
    assert config.sources("email")["secrets"] == "[workflows.email]"
    assert config.warnings == ()


def test_a_group_gets_no_secret_that_it_does_not_name() -> None:
    config = loaded('[secrets]\nsmtp = "env:SMTP_PASSWORD"\n[workflows.email]\nsecrets = ["smtp"]\n[workflows.media]\n')
    assert config.group("media").secrets == config.group("default").secrets == {}


def test_config_shows_names_and_sources_and_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "hunter2")
    config = loaded('[secrets]\nsmtp = "env:SMTP_PASSWORD"\n[workflows.email]\nsecrets = ["smtp"]\n')
    shown = json.dumps(effective(config, ["email"])["email"]["secrets"])
    assert json.loads(shown) == {"value": {"smtp": "env:SMTP_PASSWORD"}, "source": "[workflows.email]"}
    assert "hunter2" not in repr(config)


def test_a_secret_that_no_group_gets_is_a_warning_at_its_place() -> None:
    config = loaded('[secrets]\nsmtp = "env:SMTP_PASSWORD"\nspare = "env:B"\n[servers.lax.workflows.a]\nsecrets = ["smtp"]\n')
    (warning,) = config.warnings
    assert (warning.line, warning.column) == (3, 1)
    assert "no group receives the secret `spare`" in warning.message


WRONG = [
    # the text, line:column, a part of the message, a part of the hint
    ('[secrets]\nsmtp = "evn:SMTP"', "2:8", 'must be "env:NAME" or "file:PATH"', "did you mean `env`?"),
    ('[secrets]\nsmtp = "hunter2"', "2:8", 'must be "env:NAME" or "file:PATH"', "does not belong here"),
    ('[secrets]\nsmtp = "env:"', "2:8", 'must be "env:NAME" or "file:PATH"', "such as"),
    ('[secrets]\nsmtp = "file:"', "2:8", 'must be "env:NAME" or "file:PATH"', "such as"),
    ('[secrets]\nsmtp = "env:SMTP PASSWORD"', "2:8", "is not the name of an environment variable", "digits"),
    ('[secrets]\nsmtp = "env:HOME"', "2:8", "HOME is passed to every worker", ""),
    ('[secrets]\nsmtp = "env:PYTHONHASHSEED"', "2:8", "PYTHONHASHSEED is passed to every worker", ""),
    ("[secrets]\nsmtp = 1234", "2:8", "must be text, not a number", ""),
    ('[secrets]\n"s p" = "env:A"', "2:1", "`s p` is not a name for a secret", "letters"),
    ('[secrets.smtp]\nvalue = "env:A"', "1:10", "must be text, not a table", ""),
    ('secrets = "env:A"', "1:11", "must be a table, not text", ""),
    ("[secret]", "1:2", "unknown key `secret`", "`secrets`"),
    ('[workflows.a]\nsecrets = ["smtp"]', "2:12", "there is no `smtp` in [secrets]", "add its source there"),
    ("[workflows.a]\nsecrets = [1]", "2:12", "must be text, not a number", ""),
    ('[workflows.a]\nsecrets = "smtp"', "2:11", "must be an array of names, not text", '["NAME"'),
    ("[servers.x]\nsecrets = []", "2:1", "unknown key `secrets`", ""),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), WRONG, ids=[row[0][:40].replace("\n", " ") for row in WRONG])
def test_a_mistake_is_pointed_at_and_explained(text: str, place: str, message: str, hint: str) -> None:
    (found,) = mistakes(text)
    assert f"{found.line}:{found.column}" == place
    assert message in found.message
    assert hint in (found.hint or "")


def test_all_mistakes_come_at_once_and_a_group_does_not_repeat_one_of_a_source() -> None:
    found = mistakes(
        '[secrets]\nsmtp = "smpt:x"\nkey = "file:k"\n'
        '[workflows.a]\nsecrets = ["smtp", "kay"]\nenv_pass = ["OK", "TOKEN"]\n[workflows.b]\nenv_pass = ["1"]\n'
    )
    assert [mistake.line for mistake in found] == [2, 5, 8]
    assert found[1].hint == "did you mean `key`?"


def test_a_variable_that_is_the_source_of_a_secret_can_be_passed_to_no_group() -> None:
    (found,) = mistakes(
        '[secrets]\nsmtp = "env:TOKEN"\n[workflows]\nenv_pass = ["A", "TOKEN"]\n[workflows.a]\nsecrets = ["smtp"]\n'
    )
    assert (found.line, found.column) == (4, 18)
    assert "TOKEN is the source of the secret `smtp`" in found.message
    assert found.hint == 'in a group that needs it, write secrets = ["smtp"]'


@pytest.mark.parametrize("line", ['smtp = "hunter2"', 'smtp = { a = "hunter2" }', '"s p" = "hunter2"', "smtp = 20202020"])
def test_a_secret_that_was_written_into_the_file_by_mistake_is_not_shown(line: str) -> None:
    shown = "\n".join(map(str, mistakes(f"[secrets]\n{line}\n")))
    assert "tako.toml:2:" in shown
    assert "hunter2" not in shown and "20202020" not in shown


# Sources


def test_a_file_is_read_without_a_byte_order_mark_and_one_newline_and_a_variable_as_it_is(project: Path) -> None:
    for text, value in (
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("\ufeffa\n", "a"),
        (" ä ", " ä "),
        ("x" * MAX_SECRET + "\n", "x" * MAX_SECRET),
    ):
        (project / "s").write_bytes(text.encode())
        assert read("s", SecretSource("file", str(project / "s")), {}) == value
    assert read("s", SecretSource("env", "S"), {"S": "a\n"}) == "a\n"


def test_a_source_that_cannot_be_read_says_why_and_never_what_is_in_it(project: Path) -> None:
    (project / "large").write_text("x" * (MAX_SECRET + 1))
    (project / "binary").write_bytes(b"hunter2\xff")
    (project / "empty").write_text("\n")
    os.mkfifo(project / "pipe")
    reasons = {
        "large": "is larger than 64 KiB",
        "binary": "is not UTF-8",
        "empty": "is empty",
        "pipe": "is not a file",
        ".": "Is a directory",
        "nowhere": "No such file or directory",
    }
    for file, reason in reasons.items():
        with pytest.raises(SecretError, match=reason) as caught:
            read("smtp", SecretSource("file", str(project / file)), {})
        assert caught.value.message.startswith("the secret smtp cannot be read: ")
        assert "hunter2" not in repr(caught.value) and caught.value.__cause__ is None
    variables = {"LARGE": "x" * (MAX_SECRET + 1), "BINARY": os.fsdecode(b"\xff"), "EMPTY": ""}
    for variable, reason in {"LARGE": "64 KiB", "BINARY": "UTF-8", "EMPTY": "empty", "NOWHERE": "not set"}.items():
        with pytest.raises(SecretError, match=f"{variable} is .*{reason}"):
            read("smtp", SecretSource("env", variable), variables)


def test_sources_that_cannot_be_read_are_warnings_of_check_at_their_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = loaded('[secrets]\na = "env:NOT_SET_ANYWHERE"\nb = "file:b"\n[workflows]\nsecrets = ["a", "b"]\n')
    first, second = unreadable_secrets(config)
    assert (first.line, first.column) == (2, 5)
    assert first.hint == "it must be set where `tako-lite serve` is started"
    assert f"{project}/b: No such file" in second.message
    assert main(["check"]) == 0
    assert "NOT_SET_ANYWHERE is not set in the environment" in capsys.readouterr().out


def test_doctor_says_which_secrets_others_can_read_and_how_to_close_them(project: Path) -> None:
    config = loaded('[secrets]\na = "file:a b"\n[workflows]\nsecrets = ["a"]\n')
    file = project / "a b"
    file.write_text("value")
    file.chmod(0o644)
    (found,) = check_secrets(config)
    assert (found.level, "(0644), the source of secret a" in found.message) == ("warning", True)
    assert found.fix is not None
    subprocess.run(found.fix, shell=True, check=True)
    assert [(found.level, found.message) for found in check_secrets(config)] == [("ok", "1 secret can be read")]
    file.unlink()
    (found,) = check_secrets(config)
    assert found.level == "problem" and "No such file" in found.message


# In a handler


def test_outside_of_a_worker_there_are_no_secrets() -> None:
    with pytest.raises(TakoError, match="outside of a worker") as caught:
        tako_lite.secret("smtp")
    assert caught.value.hint


def test_the_function_is_public() -> None:
    assert "secret" in tako_lite.__all__
    code = "from tako_lite import secret; import sys; print(secret.__name__, 'asyncio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["secret", "False"]


# The mask


def test_values_their_lines_and_their_written_forms_become_three_stars() -> None:
    mask = Mask(['pass"word\\1', "first line\n  second line  \nabc\n", "pass"])
    assert mask.text('pass"word\\1 passes') == "*** ***es"
    assert mask.text(repr('pass"word\\1')) == "'***'"
    assert mask.text(json.dumps({"k": 'pass"word\\1'})) == '{"k": "***"}'
    assert mask.text("first line\nx\nsecond line\nabc") == "***\nx\n***\nabc"
    assert mask.text(repr("first line\n  second line  \nabc\n")) == "'***'"


def test_values_of_fewer_than_four_characters_stay() -> None:
    mask = Mask(["abc", "", "é" * 3])
    assert mask.text("abc ééé") == "abc ééé"
    assert mask.longest == 0


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.text(min_size=4, max_size=12), min_size=1, max_size=4), around=st.text(max_size=20))
def test_no_value_is_left_in_text_or_in_bytes(values: list[str], around: str) -> None:
    mask = Mask(values)
    text = around + around.join(values) + around
    shown = mask.text(text).replace("***", "\0")
    assert not any(value in shown for value in values if "\0" not in value and "*" not in value)
    raw = mask.raw(text.encode()).replace(b"***", b"\0")
    assert not any(value.encode() in raw for value in values if "\0" not in value and "*" not in value)
    assert mask.longest >= max(len(value.encode()) for value in values)


# The page about it


def test_the_examples_in_the_documentation_are_sound() -> None:
    page = (Path(__file__).parents[2] / "docs/secrets.md").read_text(encoding="utf-8")
    examples = [block.split("```")[0] for block in page.split("```toml\n")[1:]]
    assert examples
    for example in examples:
        assert tomllib.loads(example)
        assert loaded(example).warnings == ()
