"""Completion in the shells themselves: bash, and zsh and fish where they are installed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.project import Project, wait_until
from tests.support.terminal import environment

SOURCE = """
    @workflow("send-mail", worker="email")
    async def send_mail(payload):
        return payload

    @workflow("report", schedule="0 3 * * *")
    async def report(payload):
        return payload
"""
ASK = """
source <(tako-lite completion bash)
COMP_WORDS=({words}) COMP_CWORD={last} COMPREPLY=()
_tako_lite_completion tako-lite
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.workflow("a.py", SOURCE)
    project.configure('[workflows.email]\ndescription = "mails of all kinds"\n')
    return project


def environment_of(folder: Path) -> dict[str, str]:
    """An environment in which `tako-lite` is the program of this checkout, and home is a folder of the test."""
    program = folder / "bin/tako-lite"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tako_lite "$@"\n')
    program.chmod(0o755)
    return {**environment(), "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder)}


def bash(shop: Project, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in ("tako-lite", *words))
    asked = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(words=quoted, last=len(words))],
        cwd=shop.root,
        env=environment_of(shop.root),
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stderr == ""
    return asked.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("enq",), ["enqueue"]),
        (("enqueue", ""), ["report", "send-mail"]),
        (("enqueue", "report", "--worker", "e"), ["email"]),
        (("pause", ""), ["default", "email"]),
        (("schedules", "pause", ""), ["report"]),
        (("runs", "--workflow", "s"), ["send-mail"]),
        (("runs", "--state", "su"), ["succeeded"]),
        (("runs", "--ended"), ["--ended-since"]),
        (("completion", "z"), ["zsh"]),
    ],
)
def test_bash_completes_commands_options_and_the_names_of_the_project(
    shop: Project, words: tuple[str, ...], offered: list[str]
) -> None:
    assert bash(shop, *words) == offered
    assert not (shop.root / ".tako").exists()


def test_bash_completes_the_newest_runs_and_starts_no_daemon(shop: Project) -> None:
    ids = [json.loads(shop.command("enqueue", "report", "--json").stdout)["id"] for _ in range(2)]
    assert bash(shop, "show", "") == [id[-8:] for id in reversed(ids)]
    assert json.loads(shop.command("status", "--json").stdout)["daemon"] is None
    assert bash(shop, "pause", "d") == ["default"]
    cache = shop.root / ".tako/catalog.json"
    if cache.parent.exists():  # a queue file is in it; completion itself makes no folder
        assert cache.stat().st_mode & 0o777 == 0o600
    shop.workflow("b.py", SOURCE.replace("send-mail", "later").replace("report", "more"))
    assert bash(shop, "enqueue", "l") == ["later"]


def test_nothing_is_offered_and_nothing_printed_where_no_project_is(shop: Project, tmp_path: Path) -> None:
    (shop.root / "tako.toml").write_text("this is not toml [")
    assert bash(shop, "pause", "") == []


def typed(shell: list[str], first: str, shop: Project) -> bytes:
    """What a terminal shows after `tako-lite enqueue sen` and a tab, in a shell that has run a first line."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell,
        cwd=shop.root,
        env={**environment_of(shop.root), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    screen = b""

    def shows(text: bytes) -> bool:
        nonlocal screen
        with suppress(OSError):
            screen += os.read(ours, 65536)
        return text in screen

    try:
        os.write(ours, f"{first}; echo rea''dy\n".encode())
        wait_until(lambda: shows(b"ready\r"), f"the shell has read the script: {screen!r}")
        screen = b""
        os.write(ours, b"tako-lite enqueue sen\t")
        wait_until(lambda: shows(b"send-mail"), f"the name is completed: {screen!r}")
        return screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_tab_in_an_interactive_bash_completes_the_name_of_a_workflow(shop: Project) -> None:
    assert subprocess.run(["tako-lite", "completion", "bash", "--install"], env=environment_of(shop.root)).returncode == 0
    script = shop.root / ".local/share/bash-completion/completions/tako-lite"
    typed(["bash", "--norc", "-i"], f"PS1=; source {script}", shop)


def test_the_installation_adds_its_line_once(shop: Project) -> None:
    settings = environment_of(shop.root)
    for _ in range(2):
        installed = subprocess.run(
            ["tako-lite", "completion", "zsh", "--install"], env=settings, cwd=shop.root, capture_output=True, text=True
        )
        assert installed.returncode == 0, installed.stderr
    (line,) = (shop.root / ".zshrc").read_text().splitlines()
    assert str(shop.root / ".local/share/tako-lite/completion.zsh") in line


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_the_names_of_the_project_with_their_notes(shop: Project) -> None:
    asked = subprocess.run(
        ["fish", "--no-config", "-c", 'tako-lite completion fish | source; complete -C "tako-lite pause "'],
        cwd=shop.root,
        env=environment_of(shop.root),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "email\tmails of all kinds" in asked.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_a_tab_in_an_interactive_zsh_completes_the_name_of_a_workflow(shop: Project) -> None:
    assert subprocess.run(["tako-lite", "completion", "zsh", "--install"], env=environment_of(shop.root)).returncode == 0
    typed(["zsh", "-f", "-i"], "PS1=; source ./.zshrc", shop)


def test_a_second_question_reads_no_file_of_the_project_again(shop: Project) -> None:
    (shop.root / ".tako").mkdir()
    asks = {**environment(), "_TAKO_LITE_COMPLETE": "bash_complete", "COMP_WORDS": "tako-lite enqueue ", "COMP_CWORD": "2"}
    command = [sys.executable, "-X", "importtime", "-m", "tako_lite"]
    first, second = (subprocess.run(command, cwd=shop.root, env=asks, capture_output=True, text=True) for _ in range(2))
    assert first.stdout == second.stdout == "plain,report\nplain,send-mail\n"
    assert "tako_lite.catalog" in first.stderr
    assert "tako_lite.catalog" not in second.stderr and "tako_lite.config.reader" not in second.stderr
