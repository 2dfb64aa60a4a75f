"""`env_file` and the patterns of `env_pass`: what a worker's environment is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako_lite.config import load
from tako_lite.config.env_file import read_env_file
from tako_lite.daemon.environment import withheld, worker_environment
from tako_lite.errors import ConfigError
from tests.support.project import command_in

GOOD = """\
# a comment
PLAIN=value
export EXPORTED = spaces around
  INDENTED=a=b#c
COMMENTED=value # comment
EMPTY=
LITERAL='$HOME ${HOME} \\n # "quotes"'
QUOTED="tab\\tnew\\nline \\"quoted\\" back\\\\slash \\${HOME} $5 # no comment" # comment
KEY="-----BEGIN KEY-----
abc
-----END KEY-----"

TRAILING=x   \t
LAST=ü"""
READ = {
    "PLAIN": "value",
    "EXPORTED": "spaces around",
    "INDENTED": "a=b#c",
    "COMMENTED": "value",
    "EMPTY": "",
    "LITERAL": '$HOME ${HOME} \\n # "quotes"',
    "QUOTED": 'tab\tnew\nline "quoted" back\\slash ${HOME} $5 # no comment',
    "KEY": "-----BEGIN KEY-----\nabc\n-----END KEY-----",
    "TRAILING": "x",
    "LAST": "ü",
}
BAD = {
    "A=1\nB 2\n": ("2:2", "`=` must follow B"),
    "A=1\n\n  = 2\n": ("3:3", "a line is NAME=VALUE"),
    "1A=2": ("1:1", "a line is NAME=VALUE"),
    "A-B=2": ("1:2", "`=` must follow A"),
    "A=1\nB='open\nC=3\n": ("2:3", "has no closing quote '"),
    'A="x"y': ("1:6", "only a comment may follow"),
    "A=1\r\nB=${A}\r\n": ("2:3", "are not expanded"),
    'A="x ${HOME}"': ("1:6", "are not expanded"),
    "A=1\n# twice\nA=2\n": ("3:1", "A is set in line 1 already"),
    "A=x\0y": ("1:3", "contains a NUL character"),
}


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), f"\ufeff{GOOD}\n"], ids=["plain", "crlf", "bom"])
def test_a_file_is_read_as_other_tools_read_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(text.encode())
    assert read_env_file(file) == READ


@pytest.mark.parametrize("text", BAD)
def test_a_mistake_has_its_place_and_does_not_show_the_value(text: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(text.encode())
    with pytest.raises(ConfigError) as raised:
        read_env_file(file)
    (mistake,) = raised.value.mistakes
    place, message = BAD[text]
    assert mistake.place == f"{file}:{place}"
    assert message in mistake.message
    assert mistake.source == ""


def test_what_is_no_readable_text_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"A=1\nB=\xfc\n")
    for name, message in {
        "pipe": "is not a file",
        "latin": "2:1: this line is not UTF-8",
        "gone": "cannot be read: No such",
    }.items():
        with pytest.raises(ConfigError, match=message):
            read_env_file(tmp_path / name)


def environment(root: Path, toml: str, **ours: str) -> dict[str, str]:
    (root / "tako.toml").write_text(toml)
    return worker_environment(load(root).group("default"), ours, {"TOKEN"})


def test_patterns_pass_variables_on_but_never_the_source_of_a_secret(tmp_path: Path) -> None:
    ours = {"AWS_KEY": "k", "AWS": "a", "DB_URL": "d", "REDIS_URL": "r", "TOKEN": "t", "HOME": "/h"}
    for patterns, expected in {
        '["*"]': {"AWS_KEY", "AWS", "DB_URL", "REDIS_URL", "HOME"},
        '["AWS_*"]': {"AWS_KEY", "HOME"},
        '["*_URL", "AWS"]': {"DB_URL", "REDIS_URL", "AWS", "HOME"},
        '["aws_*", "URL"]': {"HOME"},
    }.items():
        assert set(environment(tmp_path, f"[workflows]\nenv_pass = {patterns}\n", **ours)) == expected


@pytest.mark.parametrize("pattern", ["AWS_?", "AWS-*", "[A]*", "* *", "1*"])
def test_what_matches_no_variable_is_no_pattern(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the name of an environment variable"):
        environment(tmp_path, f'[workflows]\nenv_pass = ["{pattern}"]\n')


def test_env_wins_over_the_daemons_variables_and_these_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("A=file\nB=file\nC=file\nHOME=file\n")
    toml = '[workflows]\nenv_file = "vars"\nenv_pass = ["A", "B"]\nenv = { A = "env" }\n'
    found = environment(tmp_path, toml, A="daemon", B="daemon", C="daemon", D="daemon", HOME="daemon")
    assert found == {"A": "env", "B": "daemon", "C": "file", "HOME": "daemon"}
    assert withheld({"A": "", "D": "", "TOKEN": ""}, found, {"TOKEN": "smtp"}) == {"D": "", "TOKEN": "smtp"}


def test_check_reports_mistakes_of_the_file_and_only_warns_if_it_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "tako.toml").write_text('[workflows]\nenv_file = ".env"\n[workflows.other]\nnice = 1\n')
    missing = command_in(tmp_path, "check")
    assert (missing.returncode, f"{tmp_path}/.env: cannot be read" in missing.stderr + missing.stdout) == (0, True)
    (tmp_path / ".env").write_text("PASSWORD=hunter2\nPASSWORD=hunter3\n")
    (tmp_path / ".env").chmod(0o644)
    wrong = command_in(tmp_path, "check")
    assert (wrong.returncode, ".env:2:1: PASSWORD is set in line 1 already" in wrong.stderr + wrong.stdout) == (3, True)
    doctor = command_in(tmp_path, "doctor").stdout
    assert ".env:2:1: PASSWORD is set in line 1 already" in doctor
    assert f"other users can read {tmp_path}/.env (0644), which env_file names" in doctor
    shown = doctor + command_in(tmp_path, "config").stdout + wrong.stdout + wrong.stderr
    assert f"{tmp_path}/.env" in shown
    assert "hunter" not in shown
