"""What only a terminal shows, on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import environment, read_to_end

LIMIT = 60
CTRL_C = b"\x03"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tako.toml").write_text("".join(f"[workflows.group-{number}]\n" for number in range(30)))
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/jobs.py").write_text(
        'from tako_lite import workflow\n\n\n@workflow("resize", worker="group-1")\ndef resize(p) -> None:\n    pass\n'
    )
    return tmp_path


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 12 lines and 60 columns: ours, and that of a program."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    yield ours, theirs
    os.close(ours)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    read = b""
    while wanted not in read:
        read += os.read(descriptor, 65536)
    return read


def test_the_progress_of_many_runs_shows_on_stderr_and_leaves_stdout_to_json(project: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    (project / "many.jsonl").write_text("1\n" * 100)
    command = [sys.executable, "-m", "tako_lite", "enqueue", "resize", "--jsonl", "many.jsonl", "--json"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=theirs, env=environment()) as running:
        os.close(theirs)
        shown = read_to_end(ours)
        assert running.stdout is not None
        told = json.load(running.stdout)

    assert running.returncode == 0
    assert len(told["ids"]) == 100
    assert b"100/100" in shown


def test_a_watched_status_is_cut_to_the_terminal_and_ends_with_ctrl_c(project: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    code = "import os, sys; os.login_tty(0); from tako_lite.cli.main import main; sys.exit(main(['status', '--watch']))"
    if not hasattr(os, "login_tty"):
        code = code.replace("os.login_tty(0)", "os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)")
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    ) as running:
        os.close(theirs)
        first = read_until(ours, b"group-13")
        os.write(ours, CTRL_C)
        read_to_end(ours)
        assert running.wait(LIMIT) == 0

    assert b"group-20" not in first
    assert b"Traceback" not in first
