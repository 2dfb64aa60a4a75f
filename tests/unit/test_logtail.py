"""`logs --follow`: no line is lost without a word, whatever becomes of the files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from tako_lite.client import logfiles
from tako_lite.client.logfiles import LOST, OLDEST, Line, Tail, stored_lines


def append(file: Path, at: int, text: str, *, end: str = "\n") -> None:
    with file.open("a") as stream:
        stream.write(json.dumps({"at": at, "pid": 7, "run": None, "stream": "out", "text": text}) + end)


def rotate(folder: Path, group: str = "email") -> None:
    """What the daemon does with a file that is full: the next one is there with its first line."""
    newest = folder / f"{group}.jsonl"
    for age in range(OLDEST, 0, -1):
        newer = newest if age == 1 else newest.with_name(f"{newest.name}.{age - 1}")
        if newer.exists():
            newer.replace(newest.with_name(f"{newest.name}.{age}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    append(tmp_path / "email.jsonl", 0, "old")
    return tmp_path


def texts(lines: Iterator[Line], count: int) -> list[str]:
    return [line.text for line in islice(lines, count)]


def test_nothing_is_lost_over_several_renames_between_two_looks(folder: Path) -> None:
    with closing(Tail(folder, None, None)) as tail:
        for number in range(OLDEST + 1):
            append(folder / "email.jsonl", number + 1, f"line {number}")
            rotate(folder)
        append(folder / "email.jsonl", 9, "last")
        append(folder / "email.jsonl", 10, "end")

        shown = [*islice(tail.follow(), OLDEST + 3)]

    lost = [line for line in shown if line.stream == LOST]
    wanted = [f"line {number}" for number in range(OLDEST + 1)] + ["last"]
    assert [line.text for line in shown if line.stream != LOST][: len(wanted)] == wanted
    assert len(lost) <= 1  # it may be cautious where the oldest file is the one behind ours


def test_lines_that_were_rotated_away_before_they_were_read_are_reported_as_lost(folder: Path) -> None:
    with closing(Tail(folder, None, None)) as tail:
        for number in range(OLDEST + 5):
            append(folder / "email.jsonl", number + 1, f"line {number}")
            rotate(folder)
        append(folder / "email.jsonl", 99, "last")
        shown = [*islice(tail.follow(), OLDEST + 3)]

    assert "line 0" in [line.text for line in shown]  # of the file that was open
    assert [line.text for line in shown if line.stream != LOST][-1] == "last"
    (lost,) = [line for line in shown if line.stream == LOST]
    assert "lines are missing here" in lost.text


def test_a_file_that_was_deleted_is_read_to_its_end_and_then_its_successor(folder: Path) -> None:
    newest = folder / "email.jsonl"
    append(folder / "email.jsonl.1", 0, "older")
    os.utime(folder / "email.jsonl.1", (1, 1))
    with closing(Tail(folder, None, None)) as tail, newest.open("a") as daemon:
        newest.unlink()
        daemon.write(json.dumps({"at": 1, "pid": 7, "run": None, "stream": "out", "text": "into the deleted one"}) + "\n")
        daemon.flush()
        append(newest, 2, "into the new one")

        assert texts(tail.follow(), 2) == ["into the deleted one", "into the new one"]


def test_a_folder_that_was_deleted_and_made_again_is_followed(folder: Path) -> None:
    logs = folder / "logs"
    logs.mkdir()
    append(logs / "email.jsonl", 0, "old")
    with closing(Tail(logs, None, None)) as tail:
        (logs / "email.jsonl").unlink()
        logs.rmdir()
        logs.mkdir()
        append(logs / "email.jsonl", 2, "new")

        assert texts(tail.follow(), 1) == ["new"]


def test_a_file_that_another_program_emptied_is_read_from_its_start_and_that_is_said(folder: Path) -> None:
    newest = folder / "email.jsonl"
    with closing(Tail(folder, None, None)) as tail:
        newest.write_text("")
        append(newest, 2, "n")
        shown = [*islice(tail.follow(), 2)]

    assert {line.text for line in shown if line.stream != LOST} == {"n"}
    assert any("emptied by another program" in line.text for line in shown if line.stream == LOST)


def test_a_line_of_many_megabytes_and_one_that_comes_in_parts_are_whole(folder: Path) -> None:
    newest = folder / "email.jsonl"
    long = "x" * 9_000_000
    with closing(Tail(folder, None, None)) as tail:
        lines = tail.follow()
        append(newest, 1, long)
        assert next(lines).text == long
        text = json.dumps({"at": 2, "pid": 7, "run": None, "stream": "out", "text": "in parts"})
        append(newest, 2, "before")
        with newest.open("a") as stream:
            stream.write(text[:20])
        assert next(lines).text == "before"
        with newest.open("a") as stream:
            stream.write(text[20:] + "\n")
        assert next(lines).text == "in parts"


def test_a_line_behind_one_that_was_cut_off_by_a_crash_is_shown(folder: Path) -> None:
    newest = folder / "email.jsonl"
    with closing(Tail(folder, None, None)) as tail:
        with newest.open("a") as stream:
            stream.write('{"at": 1, "pid": 7, "run": null, "stream": "out", "te')
        append(newest, 2, "after the crash")

        assert texts(tail.follow(), 1) == ["after the crash"]
    assert [line.text for line in stored_lines(folder, None, None)] == ["old", "after the crash"]


def test_a_burst_of_one_group_does_not_hold_up_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "AT_ONCE", 1_000)
    append(folder / "media.jsonl", 0, "old")
    with closing(Tail(folder, None, None)) as tail:
        for number in range(1_000):
            append(folder / "email.jsonl", number + 1, f"{number}")
        append(folder / "media.jsonl", 5_000, "of the other")
        shown = texts(tail.follow(), 1_001)

    assert shown.index("of the other") < 100
    assert [text for text in shown if text != "of the other"] == [str(number) for number in range(1_000)]


def test_all_of_a_group_that_appears_later_is_new_also_what_was_renamed_already(folder: Path) -> None:
    with closing(Tail(folder, None, None)) as tail:
        lines = tail.follow()
        append(folder / "email.jsonl", 1, "first")
        assert next(lines).text == "first"
        append(folder / "media.jsonl", 2, "one")
        rotate(folder, "media")
        append(folder / "media.jsonl", 3, "two")

        assert texts(lines, 2) == ["one", "two"]


def test_a_group_whose_newest_file_is_not_begun_yet_is_shown_and_followed(folder: Path) -> None:
    rotate(folder)

    assert [line.text for line in stored_lines(folder, None, None)] == ["old"]
    with closing(Tail(folder, None, None)) as tail:
        assert [line.text for line in stored_lines(folder, None, None, up_to=tail.positions)] == ["old"]
        append(folder / "email.jsonl", 1, "new")
        assert texts(tail.follow(), 1) == ["new"]


def test_what_is_renamed_between_the_stored_lines_and_the_new_ones_is_shown_once(folder: Path) -> None:
    with closing(Tail(folder, None, None)) as tail:
        rotate(folder)
        append(folder / "email.jsonl", 1, "new")
        append(folder / "media.jsonl", 2, "of a new group")

        assert [line.text for line in stored_lines(folder, None, None, up_to=tail.positions)] == ["old"]
        assert sorted(texts(tail.follow(), 2)) == ["new", "of a new group"]


def test_a_pipe_among_the_log_files_holds_nothing_up(folder: Path) -> None:
    os.mkfifo(folder / "media.jsonl")
    with closing(Tail(folder, None, None)) as tail:
        append(folder / "email.jsonl", 1, "new")
        assert texts(tail.follow(), 1) == ["new"]
