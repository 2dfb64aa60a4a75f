"""The README tells the truth: its files and commands are tried, and what it shows is what the program prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import story

PAGE = (story.ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[story.Shell]:
    """A shell in a folder with the files of the README."""
    folder = tmp_path / "shop"
    for name, text in story.files(PAGE).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    made = story.Shell(folder, tmp_path / "scratch")
    yield made
    made.close()


def test_every_command_of_the_readme_prints_what_the_readme_shows(shell: story.Shell) -> None:
    commands = story.commands(PAGE)
    assert story.SERVE in [command.line for command in commands]

    for command in commands:
        assert story.shape(shell.give(command)) == story.shape(command.output), command.line


def test_output_of_another_day_and_machine_has_the_same_shape_and_another_state_has_not() -> None:
    there = "47944c8b  order  email  waiting  0/3  2s ago"
    here = "0a91ff27  order     email  waiting   0/3    1m3s ago"

    assert story.shape(there) == story.shape(here)
    assert story.shape(there) != story.shape(here.replace("waiting", "dead"))
    assert story.shape(there) != story.shape(here.replace("0/3", "1/3"))
