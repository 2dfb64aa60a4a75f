"""The formats of the daemon's log, and the copy of what workers print."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tako_lite.clock import SystemClock
from tako_lite.daemon import group_log
from tako_lite.daemon.events import Events
from tako_lite.daemon.group_log import GroupLog
from tako_lite.daemon.log_format import LogFormat, formatter
from tako_lite.daemon.log_handler import Journal
from tako_lite.daemon.run_output import RunOutput

TEXT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


class Pipe:
    """A pipe that a handler writes to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def lines(self) -> list[str]:
        """What was written since the last call."""
        try:
            return os.read(self.reader, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def fill(self) -> None:
        """Leave no room in the pipe."""
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, b"x" * 4096)
        except BlockingIOError:
            pass


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def logged(pipe: Pipe, wanted: LogFormat, **environment: str) -> Journal:
    """A handler for the log of the daemon."""
    return Journal(formatter(wanted, "here", environment, pipe.writer), pipe.writer)


@pytest.fixture
def attached() -> Iterator[Any]:
    logger = logging.getLogger("tako_lite")
    before, made = logger.level, []

    def attach(handler: logging.Handler) -> None:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        made.append(handler)

    yield attach
    for handler in made:
        logger.removeHandler(handler)
    logger.setLevel(before)


def test_text_has_the_time_with_its_offset(pipe: Pipe, attached: Any) -> None:
    attached(logged(pipe, "auto"))
    Events().stopping("SIGTERM")
    (line,) = pipe.lines()
    assert re.fullmatch(rf"{TEXT} INFO stopping gracefully \(SIGTERM\); send it again to kill the workers", line)


def test_json_has_the_event_and_what_it_is_about_and_a_traceback_of_its_own(pipe: Pipe, attached: Any) -> None:
    attached(logged(pipe, "json"))
    events = Events()
    worker = SimpleNamespace(pid=7, group=SimpleNamespace(name="media", settings=group_settings()))
    events.killing(SimpleNamespace(worker=worker), "01a2", "timeout")  # type: ignore[arg-type]
    with events.unexpected.guarded("the check"):
        raise OSError("not now")
    logging.getLogger("tako_lite.elsewhere").error("two\nlines")
    killing, failed, other = map(json.loads, pipe.lines())
    assert killing.keys() == {"at", "level", "event", "group", "run", "worker", "server", "message"}
    assert (killing["event"], killing["group"], killing["run"], killing["worker"]) == ("killing", "media", "01a2", 7)
    assert (killing["level"], killing["server"]) == ("warning", "here")
    assert killing["message"].startswith("killing worker 7 of group media: run 01a2")
    assert (failed["event"], failed["message"]) == ("unexpected_error", "the check failed: OSError: not now")
    assert "OSError: not now" in failed["traceback"]
    assert (other["event"], other["group"], other["message"]) == ("other", None, "two\nlines")


def group_settings() -> SimpleNamespace:
    return SimpleNamespace(drain_timeout=1.0, startup_timeout=1.0, heartbeat_timeout=1.0)


def test_journald_gets_a_priority_on_each_line_and_no_time(pipe: Pipe, attached: Any) -> None:
    found = os.fstat(pipe.writer)
    attached(logged(pipe, "auto", JOURNAL_STREAM=f"{found.st_dev}:{found.st_ino}"))
    logger = logging.getLogger("tako_lite")
    logger.info("one")
    logger.warning("two")
    logger.error("three\nfour")
    assert pipe.lines() == ["<6>one", "<4>two", "<3>three", "<3>four"]
    assert type(formatter("auto", "here", {"JOURNAL_STREAM": "1:2"}, pipe.writer)).__name__ == "TextFormatter"


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_only(environment: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        record = logging.makeLogRecord({"levelno": logging.ERROR, "levelname": "ERROR", "msg": "x"})
        assert ("\x1b[31mERROR" in formatter("text", "here", environment, theirs).format(record)) == coloured
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("wanted", ["text", "json", "journald"])
def test_lines_that_a_full_pipe_does_not_take_are_counted_in_the_format_of_the_others(pipe: Pipe, wanted: LogFormat) -> None:
    handler = logged(pipe, wanted)
    pipe.fill()
    for number in range(3):
        handler.handle(logging.makeLogRecord({"msg": str(number), "levelno": logging.INFO, "levelname": "INFO"}))
    while pipe.lines():
        pass
    handler.handle(logging.makeLogRecord({"msg": "again", "levelno": logging.INFO, "levelname": "INFO"}))
    about, again = pipe.lines()
    assert "3 lines were dropped: the log could not be written" in about
    assert "again" in again
    if wanted == "json":
        assert json.loads(about)["level"] == "warning"


# What workers print


def test_the_copy_of_a_line_has_its_run_and_its_fields_and_a_full_pipe_drops_and_counts(pipe: Pipe, tmp_path: Path) -> None:
    log = GroupLog(tmp_path, "media", SystemClock())
    log.copy = RunOutput(pipe.writer)
    log.write(7, "01a2", "plain")
    log.write(7, None, '{"level": "info", "event": "charged", "order": 7}')
    plain, structured = map(json.loads, pipe.lines())
    assert {key: plain[key] for key in plain if key != "at"} == {"group": "media", "run": "01a2", "worker": 7, "text": "plain"}
    assert structured["fields"] == {"level": "info", "event": "charged", "order": 7}
    assert (log.lines, log.dropped) == (2, 0)
    pipe.fill()
    log.write(7, "01a2", "lost")
    assert (log.lines, log.dropped) == (3, 1)
    log.close()
    assert (tmp_path / "media.jsonl").read_text().count("lost") == 1


def test_old_files_are_deleted_and_the_current_one_is_rotated_after_a_quarter_of_max_age(tmp_path: Path) -> None:
    clock = SimpleNamespace(now=SystemClock().now)
    log = GroupLog(tmp_path, "media", clock)  # type: ignore[arg-type]
    log.max_age = 4 * 3600.0
    old, kept = tmp_path / "media.jsonl.2", tmp_path / "media.jsonl.1"
    for file, hours in ((old, 5), (kept, 2)):
        file.write_text("{}\n")
        at = clock.now() / 1000 - hours * 3600
        os.utime(file, (at, at))
    log.write(1, None, "first")
    log.flush()
    assert old.exists()
    later = clock.now() + 3_700_000
    clock.now = lambda: later
    log.write(1, None, "second")
    log.close()
    assert [json.loads(line)["text"] for line in (tmp_path / "media.jsonl").read_text().splitlines()] == ["second"]
    assert "first" in (tmp_path / "media.jsonl.1").read_text()
    assert (tmp_path / "media.jsonl.2").read_text() == "{}\n"
    assert not (tmp_path / "media.jsonl.3").exists()
    assert group_log.KEPT_FILES == 4


def test_a_daemon_that_starts_again_knows_when_the_first_line_of_a_file_was_written(tmp_path: Path) -> None:
    now = SystemClock().now()
    (tmp_path / "media.jsonl").write_text(
        f'{{"at": {now - 7_200_000}, "pid": 1, "run": null, "stream": "out", "text": "old"}}\n'
    )
    log = GroupLog(tmp_path, "media", SystemClock())
    log.max_age = 4 * 3600.0
    for text in ("first", "second"):
        log.write(1, None, text)
        log.flush()
    log.close()
    assert (tmp_path / "media.jsonl.1").exists()
