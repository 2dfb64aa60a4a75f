"""What workers print: whose it is, how much of it is kept, and where."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tako_lite.clock import SystemClock
from tako_lite.daemon import group_log, logs
from tako_lite.daemon.group_log import KEPT_FILES, MAX_FILE, GroupLog
from tako_lite.linux import resident_bytes
from tako_lite.records import new_ids
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.run_logs import lines, texts, wait_for_text, written

FIRST, SECOND = new_ids(2)


def test_what_runs_print_is_tagged_with_the_run_also_side_by_side_and_from_threads(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        def in_a_step(n):
            print("thread", n)

        @workflow("talk")
        async def talk(n, step: Step):
            for i in range(20):
                print("line", n, i)
                await asyncio.sleep(0)
            await asyncio.to_thread(print, "to_thread", n)
            await step.run("speak", in_a_step, n)
            print("error", n, file=sys.stderr)
            print("no end", n, end="")

        @workflow("plain")
        def plain(n, step: BlockingStep):
            print("plain", n)
        """,
    )
    project.serve()
    runs = [project.enqueue("talk", n) for n in range(5)]
    for run_id in runs:
        project.wait(run_id)
    plain = project.run("plain", 9)["id"]
    found = wait_for_text(project, "plain 9")
    for n, run_id in enumerate(runs):
        expected = [f"line {n} {i}" for i in range(20)]
        assert texts(found, run_id) == [*expected, f"to_thread {n}", f"thread {n}", f"error {n}", f"no end {n}"]
    assert texts(found, plain) == ["plain 9"]
    assert texts(found, None) == []


def test_subprocesses_and_direct_writes_belong_to_the_group(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import subprocess
        print("imported")

        @workflow("a")
        async def a(payload):
            subprocess.run(["echo", "from a child"])
            os.write(1, b"to the descriptor\\n")
            sys.stdout.buffer.write(b"to the buffer\\n")
            sys.stdout.flush()
            print("mine")
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["state"] == "succeeded", run["error"]
    found = wait_for_text(project, "mine")
    assert texts(found, None) == ["imported", "from a child", "to the descriptor"]
    assert texts(found, run["id"]) == ["to the buffer", "mine"]


def test_the_log_of_a_step_and_python_logging_arrive(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import logging

        @workflow("a")
        async def a(payload, step: Step):
            step.log("first")
            step.log.warning("second %d", 2)
            logging.getLogger("mine").warning("third")
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["state"] == "succeeded"
    found = texts(wait_for_text(project, "third"), run["id"])
    assert ["first" in found[0], "second 2" in found[1], "third" in found[2]] == [True] * 3
    assert "WARNING" in found[1]


def test_binary_and_endless_lines_are_cut_and_block_no_worker(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("a")
        async def a(payload):
            os.write(1, bytes(range(256)) + b"\\n")
            data = b"x" * 200_000
            while data:
                data = data[os.write(1, data):]
            os.write(1, b"\\nnext line\\n")
            print("y" * 200_000, end="")
            print("\\ud800 and \\x1b[31m", "end")
            return 1
        """,
    )
    project.serve()
    run = project.run("a")
    assert run["result"] == 1
    found = wait_for_text(project, "and \x1b[31m end")
    assert "next line" in texts(found, None)
    assert any("\x1e\x1f" in line["text"] for line in found)
    assert sum(line["text"].count("x") for line in found if line["run"] is None) >= 200_000
    assert sum(line["text"].count("y") for line in found if line["run"] == run["id"]) == 200_000
    assert max(len(line["text"].encode()) for line in found) <= logs.MAX_LINE


def test_a_run_that_prints_without_end_is_cut_off_and_what_was_dropped_is_counted(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("flood")
        async def flood(payload):
            for _ in range(3_000):
                print("z" * 999)
            return 1

        @workflow("a")
        async def a(payload):
            print("still here")
        """,
    )
    project.serve()
    run = project.run("flood")
    assert run["result"] == 1
    project.run("a")
    found = texts(wait_for_text(project, "still here"), run["id"])
    assert sum(map(len, found)) <= logs.MAX_RUN + 200
    assert "dropped" in found[-1]


@pytest.mark.full
def test_a_handler_that_writes_without_end_fills_only_its_groups_log_and_delays_no_other(
    project: Project,
) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("endless")
        def endless(seconds, step: BlockingStep):
            data, written, over = b"x" * 65_536, 0, time.monotonic() + seconds
            while time.monotonic() < over:
                written += os.write(1, data)
            return written

        @workflow("beside")
        async def beside(payload):
            return os.getpid()

        @workflow("elsewhere", worker="elsewhere")
        async def elsewhere(payload):
            return os.getpid()
        """,
    )
    daemon = project.serve()
    neighbours = [project.run(workflow)["result"] for workflow in ("beside", "elsewhere")]
    before = resident_bytes(daemon)
    seconds = scaled(2, 20)
    endless = project.enqueue("endless", seconds)
    slowest = 0.0
    while (state := project.get(endless)["state"]) in ("pending", "running"):
        asked = time.monotonic()
        assert [project.run(workflow)["result"] for workflow in ("beside", "elsewhere")] == neighbours
        slowest = max(slowest, time.monotonic() - asked)
    written, after = project.get(endless)["result"], resident_bytes(daemon)
    kept = sum(file.stat().st_size for file in (project.root / ".tako/logs").glob("default.jsonl*"))
    print(f"{written / seconds / 1e6:.0f} MB/s for {seconds} s, {kept:,} bytes kept; others took {slowest * 1000:.0f} ms")
    assert state == "succeeded"
    assert slowest < scaled(5, 2)
    assert kept <= (KEPT_FILES + 1) * (MAX_FILE + 2 * logs.MAX_LINE)
    assert before is not None and after is not None
    assert after - before < 10_000_000


def test_printing_into_a_closed_standard_output_of_the_daemon_harms_no_run(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    print('x')\n    os.close(1)\n    return 1\n")
    project.serve()
    assert project.run("a")["result"] == 1


def test_a_log_is_rotated_and_the_oldest_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_log, "MAX_FILE", 2_000)
    monkeypatch.setattr(group_log, "KEPT_FILES", 2)
    log = GroupLog(tmp_path / "logs", "media", SystemClock())
    for number in range(200):
        log.write(1, None, f"{number:04d} " + "ü" * 50)
    log.close()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["media.jsonl", "media.jsonl.1", "media.jsonl.2"]
    newest_first = [tmp_path / "logs" / name for name in names]
    assert all(file.stat().st_size < 2_400 for file in newest_first)
    kept = [line["text"][:4] for file in reversed(newest_first) for line in lines(file)]
    assert kept == [f"{number:04d}" for number in range(200 - len(kept), 200)]


def test_a_log_that_cannot_be_written_loses_lines_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, not a folder")
    log = GroupLog(tmp_path / "logs", "media", SystemClock())
    log.write(1, None, "x")
    log.flush()
    log.close()
    log.close()
    assert log.lost == 1


SAY = """
    @workflow("say")
    async def say(text):
        print(text)
"""


def shown(project: Project) -> list[str]:
    """The lines that `tako-lite logs` shows, without their heads."""
    return [line.rpartition("| ")[2] for line in project.command("logs").stdout.splitlines()]


def move(file: Path) -> None:
    file.rename(file.with_name("default.jsonl-20261128"))


def cut(file: Path) -> None:
    os.truncate(file, 0)


def replace(file: Path) -> None:
    (file.parent / "other").write_text("")
    (file.parent / "other").replace(file)


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def move_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("logs-elsewhere"))


@pytest.mark.parametrize("away", [move, Path.unlink, cut, replace, remove_folder, move_folder])
def test_what_is_printed_after_a_log_went_away_is_in_a_new_one(project: Project, away: Callable[[Path], object]) -> None:
    project.workflow("a.py", SAY)
    project.serve()
    for _ in range(2):
        project.run("say", "before")
        wait_until(lambda: "before" in shown(project), "it is logged")
        away(project.root / ".tako/logs/default.jsonl")
        project.run("say", "at once")
        project.run("say", "later")
        wait_until(lambda: {"at once", "later"} <= set(shown(project)), "what came afterwards is logged")
        assert (project.root / ".tako/logs/default.jsonl").stat().st_mode & 0o777 == (0o644 if away is replace else 0o600)
        for left in project.root.glob(".tako/logs*/default.jsonl-*"):
            left.unlink()
        shutil.rmtree(project.root / ".tako/logs-elsewhere", ignore_errors=True)
    assert "Traceback" not in project.daemon_log()


def test_a_full_disk_below_a_log_is_reported_once_with_the_number_of_dropped_lines(
    project: Project,
) -> None:
    project.workflow("a.py", SAY)
    project.serve()
    log = project.root / ".tako/logs/default.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.symlink_to("/dev/full")
    for number in range(5):
        assert project.run("say", f"dropped {number}")["state"] == "succeeded"
    wait_until(lambda: "cannot write what the workers of group default print" in project.daemon_log(), "it is told")
    log.unlink()

    def is_over() -> bool:
        return project.run("say", "kept")["state"] == "succeeded" and "is written again" in project.daemon_log()

    wait_until(is_over, "it is told")
    assert "5 lines were dropped meanwhile" in project.daemon_log()
    assert "kept" in shown(project)
    assert project.daemon_log().count("cannot write what the workers") == 1


def test_a_line_that_was_written_in_part_before_the_disk_was_full_spoils_no_other(tmp_path: Path) -> None:
    log = GroupLog(tmp_path, "media", SystemClock())
    log.write(1, None, "first")
    log.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "media.jsonl").stat().st_size + 20, before[1]))
    try:
        log.write(1, None, "cut")
        log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    log.write(1, None, "last")
    log.close()
    found = (tmp_path / "media.jsonl").read_text().splitlines()
    assert [json.loads(found[0])["text"], json.loads(found[-1])["text"]] == ["first", "last"]
    assert log.lost == 1


@pytest.mark.parametrize("obstacle", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_the_place_of_a_log_blocks_no_worker(project: Project, obstacle: Callable[[Path], None]) -> None:
    project.workflow("a.py", SAY)
    project.serve()
    project.run("say", "before")
    log = project.root / ".tako/logs/default.jsonl"
    wait_until(log.exists, "it is there")
    log.unlink()
    obstacle(log)
    assert project.run("say", "dropped")["state"] == "succeeded"
    wait_until(lambda: "cannot write what the workers" in project.daemon_log(), "it is told")
    log.rmdir() if log.is_dir() else log.unlink()
    project.run("say", "kept")
    wait_until(lambda: shown(project) == ["kept"], "it is logged")


def captured(folder: Path, *writes: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """What a group's log and the ring hold after these writes to a worker's pipe."""

    async def read() -> list[str]:
        log = GroupLog(folder, "media", SystemClock())
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        capture = logs.Capture(log, ours, 1)
        for data in writes:
            os.write(theirs, data)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        os.close(theirs)
        capture.finish()
        capture.finish()
        log.close()
        return capture.last_lines()

    last = asyncio.run(read())
    return lines(folder / "media.jsonl"), last


def test_a_tag_in_the_middle_of_a_line_ends_what_came_before_it(tmp_path: Path) -> None:
    found, _ = captured(tmp_path, b"no end", f"\x1e{FIRST}\x1fof a run\n".encode())
    assert [(line["run"], line["text"]) for line in found] == [(None, "no end"), (FIRST, "of a run")]


def test_lines_come_together_however_they_were_cut(tmp_path: Path) -> None:
    data = f"\x1e{FIRST}\x1fäöü\nplain\n\x1e{SECOND}\x1fend".encode()
    found, last = captured(tmp_path, *(data[index : index + 1] for index in range(len(data))))
    assert [(line["run"], line["text"]) for line in found] == [(FIRST, "äöü"), (None, "plain"), (SECOND, "end")]
    assert last == ["äöü", "plain", "end"]


def test_the_ring_keeps_the_last_lines_only(tmp_path: Path) -> None:
    _, last = captured(tmp_path, *(f"{number}\n".encode() for number in range(100)))
    assert last == [str(number) for number in range(100 - logs.RING, 100)]


def test_a_handler_that_holds_up_its_worker_is_warned_about_with_its_run_and_its_line(project: Project) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow(
        "a.py",
        """
        @workflow("patient")
        async def patient(payload, step: Step):
            await asyncio.sleep(0.01)

        @workflow("blocks")
        async def blocks(payload, step: Step):
            def held():
                while not os.path.exists("go"):
                    time.sleep(0.02)
            held()
        """,
    )
    project.serve()
    project.run("patient")
    run_id = project.enqueue("blocks")
    found = wait_for_text(project, "has been blocked for")
    (warning,) = [line for line in found if "has been blocked" in line["text"]]
    assert warning["run"] == run_id
    assert re.search(r"workflows/a\.py:\d+ in held; put blocking code into a plain function", warning["text"])
    (project.root / "go").touch()
    assert project.wait(run_id)["attempts"] == 1
    project.run("patient")
    assert len([line for line in written(project) if "has been blocked" in line["text"]]) == 1


def test_fields_of_a_line_are_shown_after_its_message_and_stdout_has_a_copy_of_it(project: Project) -> None:
    project.configure('[logs]\nstdout = "json"\n')
    project.workflow(
        "a.py",
        """
        @workflow("structured")
        async def structured(payload, step: Step):
            step.log.info("charged", extra={"order": 7, "by": "ann b"})
            print('{"event": "started", "level": "debug", "timestamp": "x", "n": [1]}')
            print('{"no": "message"}')
        """,
    )
    project.serve()
    run = project.run("structured")["id"]
    text = project.command("logs", run[-8:]).stdout
    assert 'INFO charged order=7 by="ann b"' in text
    assert "DEBUG started n=[1]" in text
    assert '{"no": "message"}' in text
    documents = [json.loads(line) for line in project.command("logs", run[-8:], "--json").stdout.splitlines()]
    assert documents[0]["fields"] == {"level": "INFO", "message": "charged", "order": 7, "by": "ann b"}
    copies = [json.loads(line) for line in project.daemon_log().splitlines() if line.startswith("{")]
    assert [copy["fields"] for copy in copies if copy["run"] == run] == [document["fields"] for document in documents]
