"""The README's story: its files, its commands with what they print, and a shell to tell it in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tako_lite.client import Client
from tako_lite.linux import session_members

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 30.0
SERVE = "tako-lite serve"
READING = ("check", "status", "runs", "show", "logs", "why", "workflows", "schedules", "config")
"""Commands that may be given again until they show what is expected; the others are given once."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml))\n")
_SHAPES = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"(?<![\w.-])([\d.]+(ms|s|m|h|d))+( ago)?\b"), "AGE"),
    (re.compile(r"[\d.]+ ?KiB\b"), "SIZE"),
    (re.compile(r"\b(daemon|worker +)\d* ?\d+ on [\w.-]+"), "PROCESS"),
    (re.compile(r"version [\w.]+"), "VERSION"),
    (re.compile(r"[─━┄]+"), "─"),
    (re.compile(r"\s+"), " "),
)


class Command(NamedTuple):
    """One line after a `$`, and what the page says that it prints."""

    line: str
    output: str


def files(page: str) -> dict[str, str]:
    """The files of the story: code blocks whose first line is a comment with a path."""
    found = {}
    for language, text in _BLOCK.findall(page):
        if language in ("python", "toml") and (head := _FILE.match(text)):
            found[head[1]] = text
    return found


def commands(page: str) -> list[Command]:
    """The commands of all `console` blocks, in order."""
    return [command for language, text in _BLOCK.findall(page) if language == "console" for command in _commands(text)]


def _commands(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output.rstrip())


def shape(output: str) -> list[str]:
    """Output with everything taken out that is another each time: ids, times, sizes, processes, the width of columns."""
    lines = []
    for line in output.strip().splitlines():
        for pattern, word in _SHAPES:
            line = pattern.sub(word, line)
        lines.append(line.strip())
    return lines


class Shell:
    """Gives the commands of the story in a folder; `tako-lite serve` runs beside them until the end."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._log = scratch / "daemon.log"
        self._daemons: list[subprocess.Popen[bytes]] = []
        program = scratch / "bin" / "tako-lite"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tako_lite "$@"\n')
        program.chmod(0o755)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TAKO_")}
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**ours, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

    def give(self, command: Command) -> str:
        """What a command prints; one that only reads is given again until it has the shape that is expected."""
        if command.line == SERVE:
            self._serve()
            return ""
        give_up = time.monotonic() + LIMIT
        while True:
            printed = self._run(command.line)
            expected = not command.output or shape(printed) == shape(command.output)
            if expected or not _only_reads(command.line) or time.monotonic() > give_up:
                return printed
            time.sleep(0.05)

    def close(self) -> None:
        """End what is still running, and wait until all of it is gone."""
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGTERM)
            daemon.send_signal(signal.SIGINT)
        for daemon in self._daemons:
            daemon.wait(LIMIT)
            assert session_members(daemon.pid) == []

    def _run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return "\n".join(text.rstrip() for text in done.stdout.rstrip().splitlines())

    def _serve(self) -> None:
        with self._log.open("ab") as log:
            daemon = subprocess.Popen(
                ["tako-lite", "serve"],
                executable=str(self._log.parent / "bin" / "tako-lite"),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        give_up = time.monotonic() + LIMIT
        with Client(self._folder) as client:
            while (client.status()["daemon"] or {}).get("pid") != daemon.pid:
                assert daemon.poll() is None and time.monotonic() < give_up, self._log.read_text()
                time.sleep(0.02)


def _only_reads(line: str) -> bool:
    words = line.split()
    return words[0] == "tako-lite" and words[1] in READING
