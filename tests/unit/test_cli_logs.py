"""`logs`: lines of many files in one order, over renames, and safe for a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tako_lite.cli.commands.logs import RunsOfWorkflow
from tako_lite.cli.main import main
from tako_lite.client import Client
from tako_lite.client.logfiles import Tail, stored_lines
from tako_lite.records import new_id

FIRST, SECOND = new_id(), new_id()


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the logs in a project that is the current folder."""
    (tmp_path / "tako.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    folder = tmp_path / ".tako/logs"
    folder.mkdir(parents=True)
    return folder


def append(file: Path, at: int, text: str, run: str | None = None) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps({"at": at, "pid": 7, "run": run, "stream": "out", "text": text}) + "\n")


def texts(folder: Path, group: str | None = None, run: str | None = None) -> list[str]:
    return [line.text for line in stored_lines(folder, group, run)]


def test_lines_of_all_groups_come_in_order_of_time_the_oldest_file_first(logs: Path) -> None:
    append(logs / "email.jsonl.2", 1, "one")
    append(logs / "email.jsonl.1", 3, "three")
    append(logs / "email.jsonl", 5, "five")
    append(logs / "media.jsonl", 2, "two")
    append(logs / "media.jsonl", 4, "four")

    assert texts(logs) == ["one", "two", "three", "four", "five"]
    assert texts(logs, group="media") == ["two", "four"]
    assert texts(logs, group="nobody") == []


def test_lines_are_filtered_by_time_and_text(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = int(time.time() * 1000)
    for at, text in ((now - 7_200_000, "Timeout before"), (now - 60_000, "Timeout of smtp"), (now, "sent")):
        append(logs / "email.jsonl", at, text)
    for options, found in (
        (["--since", "1h"], ["Timeout of smtp", "sent"]),
        (["--grep", "timeout"], ["Timeout before", "Timeout of smtp"]),
        (["--since", "1h", "--grep", "TIMEOUT", "-n", "1"], ["Timeout of smtp"]),
    ):
        assert main(["logs", "--json", *options]) == 0
        assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == found


def test_a_group_that_neither_the_files_nor_the_logs_know_is_not_found(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(logs / "once.jsonl", 1, "of a group that no file names any more")
    assert main(["logs", "--group", "once"]) == 0
    assert "of a group" in capsys.readouterr().out
    for words in (["logs", "--group", "defualt"], ["logs", "--group", "defualt", "--follow"]):
        assert main(words) == 5
        assert "did you mean `default`?" in capsys.readouterr().err
    assert main(["logs", "--group", "default"]) == 0


def test_lines_at_the_same_time_with_and_without_a_run_can_be_merged(logs: Path) -> None:
    append(logs / "email.jsonl", 1, "a", FIRST)
    append(logs / "media.jsonl", 1, "b")

    assert sorted(texts(logs)) == ["a", "b"]


def test_only_lines_of_the_run_are_shown_not_those_that_mention_it(logs: Path) -> None:
    append(logs / "email.jsonl", 1, "mine", FIRST)
    append(logs / "email.jsonl", 2, f"about {FIRST}", SECOND)

    assert texts(logs, run=FIRST) == ["mine"]


def test_lines_that_were_cut_off_are_passed_over(logs: Path) -> None:
    append(logs / "email.jsonl", 1, "whole")
    with (logs / "email.jsonl").open("ab") as stream:
        stream.write(b'{"at": 2, "pid"\n\xff\xfe\nnull\n{"at": "x"}\n')
    append(logs / "email.jsonl", 3, "whole again")

    assert texts(logs) == ["whole", "whole again"]


def test_a_tail_gives_new_lines_over_a_rename_and_of_new_groups(logs: Path) -> None:
    newest = logs / "email.jsonl"
    append(newest, 1, "old")
    with closing(Tail(logs, None, None)) as tail:
        append(newest, 2, "before the rename")
        newest.rename(logs / "email.jsonl.1")
        append(newest, 3, "after the rename")
        new = tail.follow()
        assert [line.text for line in islice(new, 2)] == ["before the rename", "after the rename"]

        append(logs / "media.jsonl", 4, "another group")
        assert next(new).text == "another group"


def test_what_a_tail_begins_behind_is_what_is_stored(logs: Path) -> None:
    append(logs / "email.jsonl", 1, "old")
    with (logs / "email.jsonl").open("a") as stream:
        stream.write('{"at": 2, "pid": 7, "run": null, ')
    with closing(Tail(logs, None, None)) as tail:
        with (logs / "email.jsonl").open("a") as stream:
            stream.write('"stream": "out", "text": "finished later"}\n')

        assert [line.text for line in stored_lines(logs, None, None, up_to=tail.positions)] == ["old"]
        assert next(tail.follow()).text == "finished later"


@pytest.fixture
def at_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is in UTC meanwhile."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("at_utc")
def test_the_newest_lines_are_printed_without_anything_a_terminal_obeys(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(logs / "email.jsonl", 1, "first")
    append(logs / "email.jsonl", 1_900_000_000_000, "\x1b[2Jhidden\x9b0m", FIRST)

    assert main(["logs", "-n", "1"]) == 0
    out = capsys.readouterr().out
    assert out == f"2030-03-17 17:46:40.000 email {FIRST[-8:]} | \\x1b[2Jhidden\\x9b0m\n"


def test_lines_have_the_time_of_this_machines_zone(logs: Path) -> None:
    append(logs / "email.jsonl", 1_900_000_000_125, "here")
    words = [sys.executable, "-m", "tako_lite", "logs"]
    environment = {**os.environ, "TZ": "America/Chicago"}
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "2030-03-17 12:46:40.125 email 7 | here\n"


def test_as_json_every_line_is_a_document(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(logs / "email.jsonl", 1_900_000_000_000, "\x9b0m", FIRST)

    assert main(["logs", "--json"]) == 0
    out = capsys.readouterr().out
    assert "\x9b" not in out
    told = {"schema": 1, "at": "2030-03-17T17:46:40.000Z", "group": "email", "run": FIRST, "pid": 7, "stream": "out"}
    assert json.loads(out) == {**told, "text": "\x9b0m", "fields": None}


def test_with_nothing_written_it_says_so_and_succeeds(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.rmdir()

    assert main(["logs"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "no worker has written anything yet\n")


def test_lines_of_one_workflow_are_those_of_its_runs(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs.parents[1] / "workflows").mkdir()
    source = "from tako_lite import workflow\n\n@workflow('{0}')\ndef {0}(payload): ...\n"
    for name in ("mail", "resize"):
        (logs.parents[1] / f"workflows/{name}.py").write_text(source.format(name))
    ids = {}
    for name in ("mail", "resize", "mail"):
        assert main(["enqueue", name, "--json"]) == 0
        ids.setdefault(name, []).append(json.loads(capsys.readouterr().out)["id"])
    for at, run in enumerate([*ids["mail"], *ids["resize"], FIRST, None]):
        append(logs / "default.jsonl", at, f"line {at}", run)

    assert main(["logs", "--workflow", "mail", "--json"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["line 0", "line 1"]
    assert main(["logs", "--workflow", "mial"]) == 5
    assert "did you mean `mail`?" in capsys.readouterr().err


def test_a_follower_of_a_workflow_asks_for_each_new_run_once(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs.parents[1] / "workflows").mkdir()
    (logs.parents[1] / "workflows/a.py").write_text(
        "from tako_lite import workflow\n\n@workflow('mail')\ndef mail(payload): ...\n"
    )
    with Client() as client:
        reader: Any = SimpleNamespace(ask=client.call)
        runs = RunsOfWorkflow(reader, "mail")
        assert new_id() not in runs
        assert FIRST not in runs
        assert main(["enqueue", "mail", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["id"] in runs
