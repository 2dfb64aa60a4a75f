"""`--json`: every command has it, whoever adds one; stdout then carries one document, and stderr an error as one or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tako_lite.cli.app import COMMANDS, app
from tako_lite.cli.main import main

WITHOUT_JSON = {"serve", "web", "demo", "schema"}
"""Commands that print nothing to read, and `schema`, whose output is a JSON Schema."""


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(app, info_name="tako-lite")
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {child}", found) for child, found in command.commands.items())


@pytest.mark.parametrize(("name", "command"), [*every_command()], ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_takes_json(name: str, command: click.Command) -> None:
    has_json = any("--json" in parameter.opts for parameter in command.params)

    assert has_json is (name not in WITHOUT_JSON)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tako.toml").write_text("[workflows.email]\n")
    (tmp_path / "workflows").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    return tmp_path


FAILING = [
    ("pause", "email"),
    ("resume", "email"),
    ("scale", "email", "2"),
    ("scale", "nowhere", "2", "--save"),
    ("schedules", "pause", "x"),
    ("schedules", "--json", "pause", "x"),
    ("triggers", "resume", "x"),
    ("triggers", "run", "x"),
    ("groups", "add", "email"),
    ("groups", "set", "email"),
    ("groups", "set", "email", "nice=high"),
    ("groups", "rm", "default"),
    ("cancel", "deadbeef"),
    ("retry", "deadbeef"),
    ("show", "deadbeef"),
    ("why", "deadbeef"),
    ("logs", "deadbeef"),
    ("signal", "go", "{"),
    ("enqueue", "nothing"),
    ("reload",),
    ("prune",),
    ("backup", "tako.toml"),
    ("doctor", "--rescue", "new.db"),
    ("nonsense",),
    ("runs", "--workflow", "nothing"),
]


@pytest.mark.parametrize("words", FAILING, ids=" ".join)
def test_an_error_is_one_document_on_stderr_and_nothing_is_on_stdout(
    words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words if "--json" in words else (*words, "--json")

    assert main(asked) != 0
    printed = capsys.readouterr()
    assert printed.out == ""
    told = json.loads(printed.err)
    assert told["schema"] == 1
    assert set(told["error"]) == {"type", "message", "hint"}


def test_what_is_saved_without_a_daemon_is_one_document(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "email", "2", "--save", "--json"]) == 0
    printed = capsys.readouterr()

    assert printed.err == ""
    assert json.loads(printed.out) == {
        "schema": 1,
        "group": "email",
        "workers": 2,
        "source": "tako.toml",
        "file": str(project / "tako.toml"),
        "reloaded": False,
        "warnings": [],
    }
