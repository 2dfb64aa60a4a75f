"""taplo, which editors check TOML with, agrees with `check` on sixty files, and follows the line `#:schema`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.npm import npm_program
from tests.support.project import command_in
from tests.support.toml_files import BAD, GOOD

pytestmark = [pytest.mark.editors, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schema and all files, each of which names it."""
    made = tmp_path_factory.mktemp("taplo")
    (made / "workflows").mkdir()
    assert command_in(made, "schema", "-o", str(made / "tako.schema.json")).returncode == 0
    for kind, texts in (("good", GOOD), ("bad", BAD)):
        for number, text in enumerate(texts.values()):
            (made / f"{kind}-{number:02}.toml").write_text(f"#:schema ./tako.schema.json\n{text}\n")
    return made


def lint(folder: Path, pattern: str) -> tuple[list[str], str]:
    """The files that taplo finds a mistake in, and what it prints; one process for all, as each costs seconds."""
    files = sorted(file.name for file in folder.glob(pattern))
    command = [npm_program("taplo"), "lint", "--no-auto-config", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return [file for file in files if f'{file}"' in done.stderr and "invalid file" in done.stderr], done.stderr


def test_taplo_accepts_the_files_without_a_mistake(folder: Path) -> None:
    wrong, said = lint(folder, "good-*.toml")
    assert wrong == [], said
    assert "total=30" in said


def test_taplo_refuses_the_files_with_a_mistake(folder: Path) -> None:
    wrong, _ = lint(folder, "bad-*.toml")
    assert len(wrong) == 30, [list(BAD)[number] for number in range(30) if f"bad-{number:02}.toml" not in wrong]
