"""The page on PostgreSQL takes a project from a queue file to two servers, with the commands that it shows."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs import story
from tests.support.postgres import shared_server

PAGE = (story.ROOT / "docs/postgresql.md").read_text(encoding="utf-8")
LIMIT = 60.0
TAKO = [sys.executable, "-m", "tako_lite"]

pytestmark = pytest.mark.postgres


def commands(beginning: str) -> list[list[str]]:
    """The commands of the section that begin so, as words."""
    section = PAGE.partition("## From one machine to two")[2].partition("\n## ")[0]
    lines = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"tako-lite {beginning}")]


def give(folder: Path, words: list[str]) -> str:
    """What a command prints, which must succeed."""
    ended = subprocess.run(
        [*TAKO, *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TAKO_")}
    return ours | {"PYTHONPATH": str(story.ROOT), "COLUMNS": "160"}


@contextmanager
def serving(folder: Path, words: list[str]) -> Iterator[None]:
    """A daemon of a folder, which stops at the end."""
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen([*TAKO, *words], cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + LIMIT
        while b"serving shop" not in (folder / "daemon.log").read_bytes():
            assert daemon.poll() is None and time.monotonic() < give_up, (folder / "daemon.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(LIMIT)


def test_the_page_takes_a_project_with_a_queue_file_to_two_servers(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        for path, text in story.files(PAGE).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    name = f"page_{secrets.token_hex(4)}"
    server = shared_server()
    url = server.make_database(name).url
    try:
        give(one, ["enqueue", "mail", '{"to": "ann"}'])
        (copy,) = commands("copy-queue")
        assert "url =" in give(one, [*copy[:-1], url])
        for folder in (one, two):
            with (folder / "tako.toml").open("a") as file:
                file.write(f'\n[queue]\nurl = "{url}"\n')
        first, second = commands("serve")
        (enqueue,), (status,) = commands("enqueue"), commands("status")
        with serving(one, first), serving(two, second):
            assert "rendered cat" in give(one, enqueue)
            shown = give(one, status)
            assert all(word in shown for word in ("lax", "fra", "gpu"))
            assert "succeeded" in give(two, ["runs", "--workflow", "mail"])
    finally:
        server.drop_database(name)
