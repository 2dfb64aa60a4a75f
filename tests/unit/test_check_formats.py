"""`check` for other programs: GitHub, SARIF, and editors that have not saved yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.project import command_in

SOUND = """\
from tako_lite import workflow

@workflow("hello")
def hello(payload: dict) -> str:
    return "hello"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/hello.py").write_text(SOUND)
    (tmp_path / "tako.toml").write_text('name = "shop"\n')
    return tmp_path


def test_github_gets_an_annotation_with_file_line_and_column_for_each_remark(shop: Path) -> None:
    (shop / "tako.toml").write_text('[workflows.emial]\nworkers = 0\n\n[workflows]\nworker = "50%"\n')
    (shop / "workflows/hello.py").write_text(SOUND.replace('hello")', 'hello", worker="email", bogus=1)', 1))
    found = command_in(shop, "check", "--format", "github")
    assert found.returncode == 3
    lines = found.stdout.splitlines()
    assert "::error file=tako.toml,line=5,col=1::unknown key `worker` in [workflows]%0Adid you mean `workers`?" in lines
    assert any(line.startswith("::error file=workflows/hello.py,line=3,col=") and "bogus" in line for line in lines)


def test_github_gets_no_line_without_a_remark(shop: Path) -> None:
    found = command_in(shop, "check", "--format", "github")
    assert (found.returncode, found.stdout) == (0, "")


def test_sarif_has_a_result_with_its_place_for_each_remark(shop: Path) -> None:
    (shop / "tako.toml").write_text("[workflows]\nworker = 1\n")
    found = command_in(shop, "check", "--format", "sarif")
    document = json.loads(found.stdout)
    (run,) = document["runs"]
    (result,) = run["results"]
    assert (found.returncode, document["version"], run["tool"]["driver"]["name"]) == (3, "2.1.0", "tako-lite")
    assert (result["level"], result["ruleId"]) == ("error", "mistake")
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "tako.toml"}, "region": {"startLine": 2, "startColumn": 1}}


def test_the_format_json_is_that_of_the_option_json(shop: Path) -> None:
    assert command_in(shop, "check", "--format", "json").stdout == command_in(shop, "check", "--json").stdout


@pytest.mark.parametrize("name", ["workflows/hello.py", "workflows/new.py", "workflows/deep/er.py"])
def test_the_text_of_an_unsaved_workflow_file_is_checked_in_its_place(shop: Path, name: str) -> None:
    text = 'from tako_lite import workflow\n\n@workflow("other", retires=1)\ndef other(payload):\n    return 1\n'
    found = command_in(shop, "check", "--stdin", name, stdin=text)
    assert found.returncode == 3
    assert f"{name}:3:" in found.stdout and "retires" in found.stdout
    assert command_in(shop, "check", "--stdin", name, stdin=text.replace(", retires=1", "")).returncode == 0


def test_the_text_of_an_unsaved_tako_toml_is_checked_in_its_place(shop: Path) -> None:
    found = command_in(shop, "check", "--stdin", "tako.toml", "--format", "json", stdin="[workflows]\nworker = 1\n")
    (mistake,) = json.loads(found.stdout)["mistakes"]
    assert (found.returncode, mistake["file"], mistake["line"]) == (3, "tako.toml", 2)


def test_remarks_about_other_files_are_left_out(shop: Path) -> None:
    (shop / "workflows/broken.py").write_text("def broken(:\n")
    found = command_in(shop, "check", "--stdin", "workflows/hello.py", stdin=SOUND)
    assert (found.returncode, found.stdout.strip()) == (0, "0 mistakes, 0 warnings")


def test_a_name_that_is_taken_in_another_file_is_found(shop: Path) -> None:
    found = command_in(shop, "check", "--stdin", "workflows/twin.py", stdin=SOUND)
    assert found.returncode == 3
    assert 'two workflows are named "hello"' in found.stdout


def test_an_editor_may_name_the_file_from_any_folder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    found = command_in(elsewhere, "check", "--stdin", str(shop / "workflows/hello.py"), stdin="def broken(:\n")
    assert found.returncode == 3
    assert "workflows/hello.py:1:" in found.stdout


def test_a_file_that_is_no_part_of_the_project_is_refused(shop: Path) -> None:
    found = command_in(shop, "check", "--stdin", "README.md", stdin="hello")
    assert found.returncode == 2
    assert "is neither tako.toml nor a workflow file" in found.stderr
