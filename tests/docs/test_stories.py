"""The pages tell the truth: their files and commands are tried, and what they show is what the program prints."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.docs import story

PAGES = ("README.md", "docs/routing.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_prints_what_the_page_shows(tmp_path: Path, name: str) -> None:
    page = (story.ROOT / name).read_text(encoding="utf-8")
    folder = tmp_path / "shop"
    for path, text in story.files(page).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    commands = story.commands(page)
    assert story.SERVE in [command.line for command in commands]
    with closing(story.Shell(folder, tmp_path / "scratch")) as shell:
        for command in commands:
            assert story.shape(shell.give(command)) == story.shape(command.output), command.line


def test_output_of_another_day_and_machine_has_the_same_shape_and_another_state_has_not() -> None:
    there = "47944c8b  order  email  waiting  0/3  2s ago"
    here = "0a91ff27  order     email  waiting   0/3    1m3s ago"

    assert story.shape(there) == story.shape(here)
    assert story.shape(there) != story.shape(here.replace("waiting", "dead"))
    assert story.shape(there) != story.shape(here.replace("0/3", "1/3"))
