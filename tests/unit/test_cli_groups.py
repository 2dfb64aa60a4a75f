"""`tako-lite groups` in a project where no daemon runs."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from tako_lite.cli.main import main
from tako_lite.cli.toml_draft import draft
from tako_lite.config import load
from tako_lite.errors import TakoError

TOML = """\
# the shop
name = "shop"

[workflows]
concurrency = 5  # each

# pictures
[workflows.media]
description = "slow"   # very
fallback = "fail"
allowed_tenants = ["acme"]

# mails
[workflows.email]
workers = 1

# on lax
[servers.lax.workflows.media]
workers = 4

[tenants.acme]
"""
WORKFLOWS = """\
from tako_lite import workflow


@workflow("send-mail", worker="email")
def send_mail(payload) -> None:
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tako.toml").write_text(TOML)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/jobs.py").write_text(WORKFLOWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.setenv("TAKO_SERVER", "here")
    return tmp_path


class Tako:
    """Runs command lines in this process and gives what they print."""

    def __init__(self, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.file = project / "tako.toml"
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()
        ended = main(words)
        printed = self._capsys.readouterr()
        self.err = printed.err
        assert ended == code, printed.err
        return printed.out

    def json(self, *words: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self(*words, "--json"))
        assert told["schema"] == 1
        return told

    @property
    def text(self) -> str:
        return self.file.read_text()


@pytest.fixture
def tako(project: Path, capsys: pytest.CaptureFixture[str]) -> Tako:
    return Tako(project, capsys)


def test_groups_are_shown_with_what_serves_them_what_waits_and_who_may_use_them(tako: Tako) -> None:
    main(["enqueue", "send-mail"])
    told = {group["name"]: group for group in tako.json("groups")["groups"]}

    assert sorted(told) == ["default", "email", "media"]
    assert tako.err == "no daemon is running; showing what the queue file contains\n"
    media, email = told["media"], told["email"]
    assert (media["description"], media["allowed_tenants"]) == ("slow", ["acme"])
    assert (media["fallback"], media["fallback_source"]) == ("fail", "[workflows.media]")
    assert (email["fallback"], email["fallback_source"], email["allowed_tenants"]) == ("wait", "built-in", None)
    assert media["settings"]["concurrency"] == {"value": 5, "source": "[workflows]"}
    assert (email["servers"], email["workers"], email["due"], email["workflows"]) == ([], [], 1, ["send-mail"])
    assert email["oldest_wait_s"] >= 0


def test_a_group_is_shown_by_its_name_with_all_of_its_settings(tako: Tako) -> None:
    assert tako.json("groups", "media") == tako.json("groups", "list", "media")
    shown = tako("groups", "media")

    for part in ("slow", "acme", "fail, from [workflows.media]", "0 due", "allowed_tenants", "[workflows]"):
        assert part in shown
    rows = [line.split()[0] for line in tako("groups").splitlines() if not line.startswith(" ")]
    assert rows == ["group", "default", "media", "email"]


def test_a_group_that_does_not_exist_exits_5_with_a_suggestion(tako: Tako) -> None:
    tako("groups", "mdia", code=5)
    assert "did you mean `media`?" in tako.err


def test_add_writes_a_table_and_shows_the_change(tako: Tako) -> None:
    out = tako(
        *("groups", "add", "gpu", "--workers", "1", "--max-workers", "2", "--concurrency", "1", "--description", "the card"),
        *("--fallback", "cancel", "--wait-timeout", "1h", "--allowed-tenants", "acme", "nice=5", "env.CUDA=0"),
    )
    added = (
        '[workflows.gpu]\nworkers = 1\nmax_workers = 2\nconcurrency = 1\ndescription = "the card"\nfallback = "cancel"\n'
        'wait_timeout = "1h"\nallowed_tenants = ["acme"]\nnice = 5\nenv = {CUDA = "0"}\n\n'
    )

    assert tako.text == TOML.replace("# on lax\n", f"{added}# on lax\n")
    assert "+++ tako.toml" in out
    assert "+workers = 1" in out
    assert "no daemon is running; the change takes effect at its next start" in tako.err


def test_set_changes_and_takes_out_settings_and_nothing_else(tako: Tako) -> None:
    tako("groups", "set", "media", "description=quick", "fallback=", "--unset", "allowed_tenants", "idle_timeout=1m")

    assert tako.text == TOML.replace('"slow"   # very', '"quick"   # very').replace('fallback = "fail"\n', "").replace(
        'allowed_tenants = ["acme"]\n', 'idle_timeout = "1m"\n'
    )


def test_set_makes_a_table_for_a_group_that_only_a_decorator_names(tako: Tako, project: Path) -> None:
    (project / "workflows/jobs.py").write_text(WORKFLOWS.replace("email", "post"))
    tako("groups", "set", "post", "workers=2")

    assert "[workflows.post]\nworkers = 2\n" in tako.text


def test_a_dry_run_shows_the_change_and_leaves_the_file_alone(tako: Tako) -> None:
    for words in (("add", "gpu"), ("set", "media", "workers=3"), ("rm", "media")):
        out = tako("groups", *words, "--dry-run")
        assert "+++ tako.toml" in out
        assert tako.text == TOML
        told = tako.json("groups", *words, "--dry-run")
        assert (told["saved"], told["reloaded"], "+++ tako.toml" in told["diff"]) == (False, False, True)


def test_what_is_so_already_changes_nothing(tako: Tako) -> None:
    before = tako.file.stat().st_ino

    assert "nothing to change" in tako("groups", "set", "media", "fallback=fail", "nice=")
    assert tako.file.stat().st_ino == before


def test_rm_takes_out_all_tables_of_a_group(tako: Tako) -> None:
    tako("groups", "rm", "media")
    start, end = TOML.index("# pictures"), TOML.index("# mails")

    expected = TOML[:start] + TOML[end:]
    assert tako.text == expected.replace("# on lax\n[servers.lax.workflows.media]\nworkers = 4\n\n", "")


REFUSED = [
    (("add", "media"), 2, "tako.toml:8", "groups set media"),
    (("add", "env"), 2, "name of a setting", ""),
    (("add", "a/b"), 2, "not a name for a group", ""),
    (("add", "gpu", "wrokers=1"), 2, "no setting `wrokers`", "`workers`"),
    (("add", "gpu", "--workers", "many"), 2, "a whole number", ""),
    (("add", "gpu", "--wait-timeout", "5"), 2, "duration", '"5s"'),
    (("add", "gpu", "--fallback", "wiat"), 2, "`fallback`: must be", "`wait`"),
    (("add", "gpu", "--allowed-tenants", "acem"), 3, "there is no table for the tenant `acem`", "`acme`"),
    (("add", "gpu", "workers=4", "max_workers=2"), 3, "`max_workers` is below `workers`", ""),
    (("set", "meida", "workers=1"), 5, "no worker group 'meida'", "`media`"),
    (("add", "gpu", "workers=1", "--workers", "2"), 2, "workers is given more than once: workers=2, workers=1", ""),
    (("set", "media", "workers=1", "--unset", "workers"), 2, "workers is given more than once", ""),
    (("set", "media"), 2, "nothing to change", ""),
    (("set", "media", "--unset", "wrokers"), 2, "no setting `wrokers`", "`workers`"),
    (("rm", "default"), 2, "always exists", ""),
    (("rm", "meida"), 5, "no worker group 'meida'", "`media`"),
    (("rm", "media", "--to", "emial"), 5, "no worker group 'emial'", "`email`"),
    (("rm", "media", "--to", "media"), 5, "no worker group 'media'", ""),
    (("rm", "email"), 2, "workflows/jobs.py:5 (send-mail)", "change these places to another group"),
]


@pytest.mark.parametrize(("words", "code", "message", "hint"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_an_edit_that_cannot_be_is_refused_and_the_file_stays(
    words: tuple[str, ...], code: int, message: str, hint: str, tako: Tako, project: Path
) -> None:
    tako("groups", *words, code=code)

    assert message in tako.err
    assert hint in tako.err
    assert tako.text == TOML
    assert sorted(path.name for path in project.iterdir()) == ["tako.toml", "workflows"]


def test_a_group_that_tables_name_is_not_removed(tako: Tako) -> None:
    tako.file.write_text(TOML + '\n[[defaults]]\nmatch = "*"\nworker = "media"\nforced = true\n')
    tako("groups", "rm", "media", code=2)

    assert "group media is still used: tako.toml:25 ([[defaults]])" in tako.err


def test_a_group_with_live_runs_is_removed_only_when_it_is_said_where_they_go(tako: Tako, project: Path) -> None:
    tako.file.write_text(TOML.replace('allowed_tenants = ["acme"]\n', ""))
    ids = [tako.json("enqueue", "send-mail", "--worker", "media", *more)["id"] for more in ([], ["--delay", "1h"])]
    with sqlite3.connect(project / ".tako/queue.db") as connection:
        connection.execute("INSERT INTO groups (name, paused) VALUES ('media', 1)")
    connection.close()

    tako("groups", "rm", "media", code=2)
    assert "group media has 2 runs that have not ended" in tako.err
    assert "--to GROUP" in tako.err
    assert tako.json("groups", "rm", "media", "--to", "email", "--dry-run")["moved"] == 2

    assert "moved 2 runs to group email" in tako("groups", "rm", "media", "--to", "email")
    assert "media" not in tako.text
    assert [tako.json("show", id)["group"] for id in ids] == ["email", "email"]
    assert [group["name"] for group in tako.json("groups")["groups"]] == ["default", "email"]
    tako("groups", "add", "media")
    assert tako.json("groups", "media")["groups"][0]["state"] == "zero"


def test_the_file_is_replaced_with_its_mode_line_ends_and_link(tako: Tako, project: Path) -> None:
    real = project / "real.toml"
    real.write_bytes(b"\xef\xbb\xbf" + TOML.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 1234)
    tako.file.unlink()
    tako.file.symlink_to("real.toml")
    owner = real.stat().st_uid
    tako("groups", "set", "media", "workers=2")

    after = real.read_bytes()
    expected = TOML.replace('["acme"]\n', '["acme"]\nworkers = 2\n').replace("\n", "\r\n")
    assert after == b"\xef\xbb\xbf" + expected.encode()
    assert tako.file.is_symlink()
    assert (stat.S_IMODE(real.stat().st_mode), real.stat().st_uid) == (0o640, owner)
    assert sorted(path.name for path in project.iterdir()) == ["real.toml", "tako.toml", "workflows"]


def test_a_setting_that_a_server_overrides_is_saved_with_a_warning(tako: Tako, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKO_SERVER", "lax")
    tako("groups", "set", "media", "workers=2", "nice=1")

    assert tako.err.count("warning:") == 1
    assert "workers: [servers.lax.workflows.media] overrides it on server lax" in tako.err


def test_adding_a_group_fixes_a_table_that_names_it(tako: Tako) -> None:
    tako.file.write_text(TOML + 'worker = "gpu"\n')
    assert "there is no worker group `gpu`" in tako("check", code=3)
    tako("groups", "add", "gpu")

    assert "0 mistakes" in tako("check")


def test_an_edit_that_would_break_a_table_elsewhere_is_refused(tako: Tako) -> None:
    text = TOML.replace('allowed_tenants = ["acme"]\n', "")
    tako.file.write_text(text + 'worker = "email"\n\n[workflows.tmp]\n')
    before = tako.text
    tako("groups", "set", "tmp", "allowed_tenants=acme,globex", code=3)

    assert "there is no table for the tenant `globex`" in tako.err
    assert tako.text == before


def test_a_file_that_another_program_changes_meanwhile_is_left_alone(project: Path) -> None:
    made = draft(load(project), lambda text: f"{text}\n[workflows.gpu]\n")
    theirs = TOML.replace("shop", "store")
    (project / "tako.toml").write_text(theirs)

    with pytest.raises(TakoError, match="changed by another program"):
        made.save()
    assert (project / "tako.toml").read_text() == theirs
    assert sorted(path.name for path in project.iterdir()) == ["tako.toml", "workflows"]


def test_a_project_without_a_file_has_nothing_to_change(tako: Tako) -> None:
    tako.file.unlink()
    tako("groups", "add", "gpu", code=2)
    assert "no tako.toml" in tako.err
