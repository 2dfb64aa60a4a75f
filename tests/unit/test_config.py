from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tako_lite.config import RESERVED_NAMES, Config, effective, find_file, load, locate, unreachable
from tako_lite.config.document import line_and_column
from tako_lite.config.positions import KeyPath, Positions
from tako_lite.config.settings import SETTINGS
from tako_lite.config.values import RLIMITS
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import BadInput, ConfigError, Mistake
from tako_lite.store.sqlite.queue import SqliteQueue
from tests.support.profiles import scaled


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, with nothing about tako-lite in the environment."""
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.delenv("TAKO_SERVER", raising=False)
    return folder


def loaded(text: str, server: str = "here") -> Config:
    Path("tako.toml").write_text(text)
    return load(server=server)


def mistakes(text: str) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return caught.value.mistakes


def mistake(text: str) -> Mistake:
    found = mistakes(text)
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


# What comes out


def test_without_a_file_everything_is_built_in_and_the_root_is_the_current_folder(project: Path) -> None:
    (project / "workflows").mkdir()
    config = load()
    assert config.file is None
    assert config.root == project
    assert config.name == "shop"
    assert config.server == os.uname().nodename
    assert config.queue.location == SqliteQueue(project / ".tako/queue.db")
    assert config.queue.durability == "disk"
    assert config.queue.keep == {"succeeded": 604_800, "cancelled": 604_800, "dead": 7_776_000}
    assert config.workflows_path == project / "workflows"
    assert config.state_dir == project / ".tako"
    assert list(config.groups) == ["default"]
    group = config.group("default")
    assert (group.workers, group.max_workers, group.concurrency, group.idle_timeout) == (0, 1, 10, 300.0)
    assert (group.drain_timeout, group.startup_timeout, group.heartbeat_timeout) == (30.0, 30.0, 30.0)
    assert set(config.sources("default").values()) == {"built-in"}


def test_every_key_is_read(project: Path) -> None:
    config = loaded(
        """
        name = "my-app"
        [queue]
        url = "sqlite:////var/lib/q.db"
        durability = "process"
        keep = { succeeded = "1d", dead = "forever" }
        [workflows]
        path = "src/flows"
        [workflows.media]
        workers = 2
        max_workers = 8
        concurrency = 4
        idle_timeout = "1h30m"
        max_runs = 100
        max_memory = "512MB"
        drain_timeout = "1m"
        startup_timeout = "10s"
        heartbeat_timeout = "1m"
        max_crashes = 5
        env = { OMP_NUM_THREADS = "1" }
        env_pass = ["AWS_PROFILE", "AWS_PROFILE"]
        nice = 10
        limits = { nofile = 1024, as = "2GiB", core = 0, cpu = "1h" }
        python = "venvs/media/bin/python"
        description = "Thumbnails"
        """
    )
    assert config.name == "my-app"
    assert config.queue.location == SqliteQueue(Path("/var/lib/q.db"))
    assert config.queue.durability == "process"
    assert config.queue.keep == {"succeeded": 86_400, "cancelled": 604_800, "dead": None}
    assert config.workflows_path == project / "src/flows"
    group = config.group("media")
    assert (group.workers, group.max_workers, group.concurrency) == (2, 8, 4)
    assert (group.idle_timeout, group.drain_timeout, group.startup_timeout) == (5400, 60, 10)
    assert (group.max_runs, group.max_memory, group.max_crashes, group.nice) == (100, 512_000_000, 5, 10)
    assert group.heartbeat_timeout == 60
    assert group.env == {"OMP_NUM_THREADS": "1"}
    assert group.env_pass == ("AWS_PROFILE",)
    assert group.limits == {"nofile": 1024, "as": 2 << 30, "core": 0, "cpu": 3600}
    assert group.python == str(project / "venvs/media/bin/python")
    assert group.description == "Thumbnails"


def test_paths_are_relative_to_the_file_and_a_tilde_is_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-somebody")
    (project / "below").mkdir()
    (project / "tako.toml").write_text(
        '[queue]\nurl = "sqlite:///../q.db"\n[workflows]\npath = "~/flows"\n'
        '[workflows.a]\npython = "python3.12"\n[workflows.b]\npython = "~/venv/bin/python"\n'
    )
    monkeypatch.chdir(project / "below")
    config = load()
    assert config.root == project
    assert config.queue.location == SqliteQueue(project.parent / "q.db")
    assert config.workflows_path == Path("/home/of-somebody/flows")
    assert config.group("a").python == "python3.12"
    assert config.group("b").python == "/home/of-somebody/venv/bin/python"


FIVE_LEVELS = {
    "[workflows]": 2,
    "[workflows.media]": 3,
    "[servers.lax.workflows]": 4,
    "[servers.lax.workflows.media]": 5,
}


@pytest.mark.parametrize("present", range(16))
def test_the_most_particular_table_that_says_a_setting_wins(present: int) -> None:
    said = {table: value for bit, (table, value) in enumerate(FIVE_LEVELS.items()) if present & 1 << bit}
    config = loaded("\n".join(f"{table}\nconcurrency = {value}" for table, value in said.items()), server="lax")
    winner = max(said, key=FIVE_LEVELS.__getitem__, default="built-in")
    assert config.group("media").concurrency == said.get(winner, 10)
    assert config.sources("media")["concurrency"] == winner


def test_the_order_of_the_tables_in_the_file_does_not_matter() -> None:
    backwards = "\n".join(f"{table}\nconcurrency = {value}" for table, value in reversed(FIVE_LEVELS.items()))
    assert loaded(backwards, server="lax").group("media").concurrency == 5


def test_a_table_of_another_server_changes_nothing_here() -> None:
    text = "[workflows.media]\nworkers = 1\n[servers.lax.workflows.media]\nworkers = 4\n[servers.lax.workflows.gpu]\n"
    assert loaded(text, server="cdg").group("media").workers == 1
    assert loaded(text, server="lax").group("media").workers == 4
    assert set(loaded(text, server="cdg").groups) == {"default", "media", "gpu"}


def test_a_group_named_only_in_a_decorator_inherits_from_both_shared_tables() -> None:
    config = loaded("[workflows]\nnice = 5\n[servers.lax.workflows]\nconcurrency = 3\n", server="lax")
    assert "reports" not in config.groups
    group = config.group("reports")
    assert (group.name, group.nice, group.concurrency) == ("reports", 5, 3)
    assert config.sources("reports")["nice"] == "[workflows]"
    assert config.sources("reports")["concurrency"] == "[servers.lax.workflows]"


def test_env_is_merged_variable_by_variable_and_every_other_table_replaces() -> None:
    config = loaded(
        """
        [workflows]
        env = { A = "base", B = "base" }
        limits = { nofile = 1, nproc = 2 }
        [workflows.media.env]
        B = "group"
        C = "group"
        [servers.lax.workflows.media]
        env.C = "server"
        limits = { nofile = 9 }
        """,
        server="lax",
    )
    group, sources = config.group("media"), config.sources("media")
    assert group.env == {"A": "base", "B": "group", "C": "server"}
    assert sources["env.A"] == "[workflows]"
    assert sources["env.B"] == "[workflows.media]"
    assert sources["env.C"] == sources["env"] == "[servers.lax.workflows.media]"
    assert group.limits == {"nofile": 9}


def test_max_workers_is_never_below_workers_and_says_where_that_came_from() -> None:
    config = loaded("[workflows]\nmax_workers = 2\n[workflows.media]\nworkers = 4\n")
    assert config.group("media").max_workers == 4
    assert config.sources("media")["max_workers"] == "[workflows.media]"
    assert config.sources("default")["max_workers"] == "[workflows]"


def test_the_server_is_the_argument_else_the_environment_else_the_host(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "workflows").mkdir()
    assert load().server == os.uname().nodename
    monkeypatch.setenv("TAKO_SERVER", "cdg")
    assert load().server == "cdg"
    assert load(server="lax").server == "lax"
    with pytest.raises(BadInput, match="not the name of a server"):
        load(server="../x")


def test_a_server_name_that_looks_like_a_slip_is_a_warning() -> None:
    config = loaded("[servers.london.workflows]\nworkers = 1\n", server="lodnon")
    assert [warning.hint for warning in config.warnings] == ["did you mean `london`?"]
    assert loaded("[servers.london.workflows]\nworkers = 1\n", server="tokyo").warnings == ()


def test_effective_settings_are_json_with_seconds_bytes_and_sources() -> None:
    text = '[workflows]\nenv = { A = "1" }\n[workflows.media]\nmax_memory = "1MiB"\nidle_timeout = "5m"\n'
    config = loaded(text)
    shown: dict[str, Any] = json.loads(json.dumps(effective(config, ["media", "other"])))
    assert list(shown) == ["media", "other"]
    assert shown["media"]["max_memory"] == {"value": 1 << 20, "source": "[workflows.media]"}
    assert shown["media"]["idle_timeout"] == {"value": 300.0, "source": "[workflows.media]"}
    assert shown["media"]["env"] == {"value": {"A": "1"}, "source": "[workflows]", "sources": {"A": "[workflows]"}}
    assert shown["other"]["env_pass"] == {"value": [], "source": "built-in"}


def test_a_group_table_that_no_workflow_uses_is_a_warning_at_its_place() -> None:
    config = loaded("[workflows.default]\n[workflows.medai]\n[servers.lax.workflows.medai]\n[workflows.email]\n")
    first, second = unreachable(config, {"media", "email"})
    assert (first.line, first.column, first.hint) == (2, 12, "did you mean `media`?")
    assert first.message == "[workflows.medai]: no workflow uses this group"
    assert (second.line, second.column) == (3, 24)
    assert unreachable(config, {"medai", "email"}) == ()
    assert unreachable(load(server="here"), {"medai", "email"}) == ()


# What is refused

WRONG = [
    # the text, line:column, a part of the message, a part of the hint
    ('nmae = "x"', "1:1", "unknown key `nmae`", "`name`"),
    ("concurrency = 3", "1:1", "unknown key", "belongs in [workflows]"),
    ('name = "my app"', "1:8", "is not a name", "letters"),
    ("name = 3", "1:8", "must be text, not a number", ""),
    ('name = ""', "1:8", "must not be empty", ""),
    ("queue = 3", "1:9", "must be a table, not a number", ""),
    ("[[queue]]", "1:3", "not an array of tables", "one pair of brackets"),
    ('[queue]\nulr = "x"', "2:1", "unknown key `ulr` in [queue]", "`url`"),
    ('[queue]\nurl = "mysql://h/d"', "2:7", "is the URL of no queue", "sqlite:///"),
    ('[queue]\nurl = "sqlite://q.db"', "2:7", "is the URL of no queue", "sqlite:///"),
    ('[queue]\nurl = "sqlite:///"', "2:7", "names no file", ""),
    ('[queue]\nurl = "sqlite:///:memory:"', "2:7", "must be a file", ""),
    ('[queue]\nurl = "sqlite:///q.db?mode=ro"', "2:7", "not supported", ""),
    ('[queue]\ndurability = "disc"', "2:14", '"disk" or "process"', "`disk`"),
    ("[queue]\ndurability = true", "2:14", '"disk" or "process"', ""),
    ('[queue]\nkeep = { succeded = "7d" }', "2:10", "not a state in which runs end", "`succeeded`"),
    ('[queue.keep]\nrunning = "7d"', "2:1", "always kept", ""),
    ('[queue.keep]\ndead = "0s"', "2:8", "must be 1s or more", ""),
    ('[queue]\nkeep = "7d"', "2:8", "must be a table, not text", ""),
    ('workflows = "x"', "1:13", "must be a table", ""),
    ("[workflows]\npath = 3", "2:8", "must be text", ""),
    ("[workflows]\nmedia = 3", "2:1", "unknown key `media` in [workflows]", "a group is a table"),
    ("[workflows]\nconcurency = 3", "2:1", "unknown key", "`concurrency`"),
    ("[[workflows.media]]", "1:13", "unknown key `media`", "a group is a table"),
    ("[workflows]\nworkers = -1", "2:11", "must be a whole number from 0 to 1,000", ""),
    ("[workflows]\nworkers = true", "2:11", "must be a whole number from 0 to 1,000, not true or false", ""),
    ("[workflows]\nworkers = 1.0", "2:11", "not a number with a fraction", ""),
    ('[workflows]\nworkers = "4"', "2:11", "not text", "write 4, without quotes"),
    ("[workflows]\nworkers = 1979-05-27", "2:11", "not a date or time", ""),
    ("[workflows]\nworkers = [1]", "2:11", "not an array", ""),
    ("[workflows]\nworkers = 99999999999999999999999", "2:11", "must be a whole number from 0 to 1,000", ""),
    (f"[workflows]\nidle_timeout = 0x{'f' * 9000}", "2:16", "in quotes with a unit", ""),
    (f"[workflows]\nenv = {{ A = 0x{'f' * 9000} }}", "2:13", "must be text", ""),
    ("[workflows]\nmax_workers = 0", "2:15", "must be a whole number from 1 to 1,000", ""),
    ("[workflows]\nconcurrency = 0", "2:15", "must be a whole number from 1 to 10,000", ""),
    ("[workflows]\nmax_runs = 0", "2:12", "from 1 to 1,000,000,000", ""),
    ("[workflows]\nmax_crashes = 0", "2:15", "from 1 to 1,000,000", ""),
    (
        "[workflows]\nheartbeat_timeout = 5",
        "2:21",
        "must be a duration of 1s or more in quotes with a unit, not a number",
        "5s",
    ),
    ("[workflows]\nnice = 20", "2:8", "must be a whole number from -20 to 19", ""),
    ("[workflows]\nnice = -21", "2:8", "must be a whole number from -20 to 19", ""),
    ("[workflows]\nidle_timeout = 300", "2:16", "in quotes with a unit", '"300s"'),
    ("[workflows]\nidle_timeout = nan", "2:16", "in quotes with a unit", '"5m"'),
    ('[workflows]\nidle_timeout = "5 minutes"', "2:16", "is not a duration", '"5m"'),
    ('[workflows]\nidle_timeout = "300"', "2:16", "is not a duration", '"300s"'),
    ('[workflows]\ndrain_timeout = "-5s"', "2:17", "is not a duration", ""),
    ('[workflows]\nstartup_timeout = "0s"', "2:19", "must be 100ms or more", ""),
    ('[workflows]\nheartbeat_timeout = "10ms"', "2:21", "must be 1s or more", ""),
    ("[workflows]\nmax_memory = 512", "2:14", "must be a size", '"512MB"'),
    ('[workflows]\nmax_memory = "512"', "2:14", "is not a size", '"512B"'),
    ('[workflows]\nmax_memory = "1KB"', "2:14", "must be 1MB or more", ""),
    ('[workflows]\nenv = "A=1"', "2:7", "must be a table, not text", ""),
    ("[workflows]\nenv = { A = 1 }", "2:13", "must be text, not a number", 'write "1"'),
    ('[workflows]\nenv = { "A-B" = "1" }', "2:9", "not the name of an environment variable", ""),
    ('[workflows]\nenv = { "" = "1" }', "2:9", "must not be empty", ""),
    ('[workflows]\nenv = { A = "\\u0000" }', "2:13", "NUL", ""),
    ('[workflows.env.sub]\nA = "1"', "1:16", "must be text, not a table", ""),
    ("[workflows.env]\nworkers = 1", "2:11", "must be text", "a group needs another name"),
    ("[workflows.limits]\nworkers = 1", "2:1", "not a resource limit", "a group needs another name"),
    ('[workflows]\nenv_pass = "HOME"', "2:12", "must be an array of names", ""),
    ('[workflows]\nenv_pass = [\n  "OK",\n  "NOT OK",\n]', "4:3", "not the name of an environment variable", ""),
    ("[workflows]\nlimits = { nofil = 3 }", "2:12", "not a resource limit", "`nofile`"),
    ('[workflows]\nlimits = { nofile = "3MB" }', "2:21", "must be a whole number", ""),
    ("[workflows]\nlimits = { as = -1 }", "2:17", "must be a whole number from 0 to ", ""),
    ('[workflows]\nlimits = { cpu = "0s" }', "2:18", "must be 1s or more", ""),
    ("[workflows]\npython = 3.12", "2:10", "must be text", ""),
    ("[workflows.media]\npath = 'x'", "2:1", "is only allowed in [workflows]", ""),
    ("[servers.lax.workflows]\npath = 'x'", "2:1", "is only allowed in [workflows]", ""),
    ("[workflows.media]\nworkers = 3\nmax_workers = 2", "3:15", "`workers`, which is 3", ""),
    ("[workflows.media]\nconcurency = 3", "2:1", "in [workflows.media]", "`concurrency`"),
    ("[workflows.media.sub]\nnice = 1", "1:18", "unknown key `sub`", '[workflows."media.sub"]'),
    ('[workflows."b ad"]', "1:12", "not a name for a group", "letters"),
    ('[workflows."-x"]', "1:12", "not a name for a group", "letters"),
    ('[workflows.""]', "1:12", "not a name for a group", "letters"),
    ("[servers.lax]\nworkers = 1", "2:1", "unknown key `workers` in [servers.lax]", "`workflows`"),
    ("[servers.lax.workflow.media]", "1:14", "unknown key `workflow`", "`workflows`"),
    ("[servers.lax.example.workflows]", "1:14", "unknown key `example`", '[servers."lax.example"]'),
    ("[servers]\nlax = 3", "2:7", "must be a table", ""),
    ("[servers.lax]\nworkflows = 3", "2:13", "must be a table", ""),
    ('[servers."l x".workflows]', "1:10", "not a name for a server", ""),
    ("[servers.lax.workflows.media]\nworkers = '1'", "2:11", "must be a whole number", ""),
    ("[[defaults]]\nmatch = 'x'", "2:9", "this rule sets nothing", "add worker"),
    ("[[defaults]]\nworker = 'x'", "1:3", "a rule needs a `match`", "such as match"),
    ("[[defaults]]\nmatch = 'a b'\nworker = 'x'", "2:9", "is not a pattern", "matches any characters"),
    ("[defaults]\nmatch = 'x'", "1:2", "must be an array of tables", "write [[defaults]]"),
    ("[[defaults]]\nmatch = 'x'\nworkers = 'y'", "3:1", "unknown key `workers`", "did you mean `worker`"),
    ("[[defaults]]\nmatch = 'x'\nforced = 'yes'\nretries = 1", "3:10", "must be true or false", ""),
    ("[tenants.acme]\nworker = 'a b'", "2:10", "is not a name", ""),
    ("[tenants.acme]\nworker = '{tier'", "2:10", "braces of a template", "such as"),
    ("[tenants.'a b']", "1:10", "is not a name", ""),
    ("[tenants]\nacme = 1", "2:8", "must be a table", ""),
    ("[namespaces.billing.eu]\nworker = 'x'", "1:21", "unknown key `eu`", 'namespaces."billing.eu"'),
    ("[workflows.media]\nfallback = 'fall'", "2:12", 'must be "wait" or "fail" or "cancel" or "ignore"', "did you mean `fail`"),
    ("[workflows]\nwait_timeout = 5", "2:16", "must be a duration", ""),
    ("[workflows.media]\nallowed_tenants = 'acme'", "2:19", "must be an array of tenants", ""),
    ("[workflows.media]\nallowed_tenants = ['acme']", "2:20", "there is no table for the tenant `acme`", "[tenants.acme]"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), WRONG, ids=[row[0][:40].replace("\n", " ") for row in WRONG])
def test_a_mistake_is_pointed_at_and_explained(text: str, place: str, message: str, hint: str) -> None:
    found = mistake(text)
    assert f"{found.line}:{found.column}" == place
    assert message in found.message
    assert hint in (found.hint or "")
    assert found.file == "tako.toml"
    assert found.source == text.split("\n")[found.line - 1]


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES - {"env", "limits"}))
@pytest.mark.parametrize("table", ["workflows", "servers.lax.workflows"])
def test_the_name_of_a_setting_cannot_be_the_name_of_a_group(table: str, name: str) -> None:
    found = mistake(f"[{table}.{name}]\nconcurrency = 1\n")
    assert f"`{name}` is the name of a setting" in found.message
    assert (found.line, found.column) == (1, len(table) + 3)


def test_tables_called_env_and_limits_are_the_ones_that_every_group_inherits() -> None:
    config = loaded('[workflows.env]\nA = "1"\n[workflows.limits]\nnofile = 64\n')
    assert list(config.groups) == ["default"]
    assert config.group("any").env == {"A": "1"}
    assert config.group("any").limits == {"nofile": 64}


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    found = mistakes("[servers.lax.workflows]\nnice = 99\n[workflows]\nworkers = '1'\nidle_timeout = 5\n[queue]\nurl = 'x'\n")
    assert [one.line for one in found] == [2, 4, 5, 7]


def test_the_message_shows_place_line_caret_and_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("[workflows]\n\tconcurency\t= 3\n")
    assert str(caught.value).splitlines() == [
        "1 mistake in the configuration",
        "tako.toml:2:2: unknown key `concurency` in [workflows]",
        "     concurency = 3",
        "     ^",
        "    did you mean `concurrency`?",
    ]
    assert caught.value.exit_code == 3


def test_text_from_the_file_cannot_reach_the_terminal_as_a_command() -> None:
    for text in (
        '"\\u001b[2J" = 1',
        "a = \x1b[2J",
        f'"{"k" * 5000}\\u009b" = 1',
        "[workflows]\nidle_timeout = '\u202e'",
    ):
        shown = str(mistakes(text)[0].message) + mistakes(text)[0].source
        assert "\x1b" not in shown
        assert "\x9b" not in shown
        assert "\u202e" not in shown
        assert len(mistakes(text)[0].message) < 200


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a = 1\n[queue\n", "2:7", "expected"),
        ("name = ", "1:8", "invalid value"),
        ("name = 'a'\nname  = 'b'\n", "2:1", "set twice"),
        ("[workflows]\n  [workflows]\n", "2:3", "defined twice"),
        ("x = " + "[" * 5000, "1:1", "nested too deep"),
        ("x = " + "9" * 5000, "1:1", "too many digits"),
        ('name = "a\n', "1:10", ""),
    ],
)
def test_a_syntax_error_has_its_line_and_column(text: str, place: str, message: str) -> None:
    found = mistake(text)
    assert f"{found.line}:{found.column}" == place
    assert message in found.message


def test_bytes_that_are_not_utf_8_are_pointed_at() -> None:
    Path("tako.toml").write_bytes(b'name = "x"\nd = "\xff"\n')
    with pytest.raises(ConfigError) as caught:
        load()
    assert (caught.value.mistakes[0].line, caught.value.mistakes[0].column) == (2, 6)


def test_a_byte_order_mark_and_windows_line_ends_are_read_and_do_not_move_the_caret() -> None:
    Path("tako.toml").write_bytes(b'\xef\xbb\xbfname = "x"\r\n[workflows]\r\nnice = "1"\r\n')
    with pytest.raises(ConfigError) as caught:
        load()
    found = caught.value.mistakes[0]
    assert (found.line, found.column, found.source) == (3, 8, 'nice = "1"')


def test_an_enormous_file_is_refused() -> None:
    Path("tako.toml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load()


# Which file


def test_the_file_is_looked_for_upwards(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "tako.toml").touch()
    (project / "a/b").mkdir(parents=True)
    monkeypatch.chdir(project / "a/b")
    assert find_file() == locate() == project / "tako.toml"
    assert find_file(project.parent) is None


def test_the_environment_names_the_file_or_its_folder_and_an_argument_beats_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (project / name).mkdir()
        (project / name / "tako.toml").write_text(f'name = "{name}"')
    monkeypatch.setenv("TAKO_CONFIG", "one")
    assert find_file() == locate() == project / "one/tako.toml"
    assert locate("two") == locate(project / "two/tako.toml") == project / "two/tako.toml"
    assert load().name == "one"
    assert load("one/../two").name == "two"
    monkeypatch.setenv("TAKO_CONFIG", "")
    assert find_file() is None


@pytest.mark.parametrize("config", ["missing", "missing/tako.toml", ".", "a\0b"])
def test_a_file_that_was_asked_for_and_is_not_there_is_an_error(config: str) -> None:
    with pytest.raises(ConfigError):
        locate(config)


def test_a_missing_file_from_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKO_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigError, match=r"the file does not exist.*TAKO_CONFIG"):
        load()


def test_a_file_that_is_not_there_has_no_lines_to_point_at() -> None:
    with pytest.raises(ConfigError) as caught:
        load("nowhere.toml")
    assert str(caught.value).startswith("nowhere.toml: the file does not exist\n")


def test_a_link_to_the_project_is_not_followed(project: Path) -> None:
    (project / "release-1").mkdir()
    (project / "release-1/tako.toml").touch()
    (project / "current").symlink_to("release-1")
    assert load("current").root == project / "current"


def test_a_file_outside_of_the_current_folder_is_shown_in_full(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "tako.toml").write_text("x = 1")
    (project / "a").mkdir()
    monkeypatch.chdir(project / "a")
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.mistakes[0].file == str(project / "tako.toml")


def test_reading_a_sound_file_imports_nothing_that_only_mistakes_need() -> None:
    Path("tako.toml").write_text('[workflows.media]\nidle_timeout = "5m"\n')
    code = "import sys; from tako_lite.config import load; load(); print([m for m in %r if m in sys.modules])"
    heavy = ["tako_lite.config.positions", "difflib", "tomlkit", "socket", "asyncio", "tempfile"]
    found = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


# The page about it

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "key", [*SETTINGS, *(field.name for field in fields(WebSettings)), "name", "url", "durability", "keep", "path", *RLIMITS]
)
def test_every_key_has_a_row_in_the_documentation(key: str) -> None:
    assert re.search(rf"^\|[^|]*`{key}`", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_in_the_documentation_are_sound(example: str) -> None:
    assert "media" in loaded(example).groups


# Positions


def test_positions_are_found_through_every_form_that_toml_has() -> None:
    text = '''# a comment with [brackets] and "quotes"
a.b . "c.d" = 1
'lit' = """two ""quotes""
[not.a.table]
"""
m = \'\'\'it''s # no comment
\'\'\'
[ x . "y\\u0041" ]  # header
inline = { p.q = [1, { r = "]}," }], s = 3 }
when = 1979-05-27 07:32:00
[[many]]
k = 1
[many.sub]
z = 1
[[many]]
k = [
  1,  # one
  2,
]
'''
    positions = Positions(text)

    def key(*path: str | int) -> tuple[int, int]:
        return line_and_column(text, positions.keys[path])

    def value(*path: str | int) -> tuple[int, int]:
        return line_and_column(text, positions.values[path])

    assert (key("a", "b", "c.d"), value("a", "b", "c.d")) == ((2, 7), (2, 15))
    assert key("a", "b") == (2, 3)
    assert (key("lit"), key("m")) == ((3, 1), (6, 1))
    assert key("x", "yA") == (8, 7)
    assert value("x", "yA", "inline", "p", "q", 1, "r") == (9, 28)
    assert key("x", "yA", "inline", "s") == (9, 38)
    assert value("x", "yA", "when") == (10, 8)
    assert key("many", 0, "sub", "z") == (14, 1)
    assert key("many", 1, "k") == (16, 1)
    assert value("many", 1, "k", 1) == (18, 3)


KEYS = st.text(st.sampled_from("ab.\"'# \\é[]=-"), max_size=4)
SCALARS = st.integers(0, 99) | st.booleans() | st.text(st.sampled_from("a\"'\n\\#[]{},= "), max_size=8)
TREES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)),
    max_size=4,
)


def paths(tree: Any, path: KeyPath = ()) -> list[KeyPath]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, value in inner for found in paths(value, (*path, key)))]


@pytest.mark.full
@settings(max_examples=scaled(75, 1000), deadline=None)
@given(TREES)
def test_whatever_toml_holds_is_found_where_it_stands(tree: dict[str, Any]) -> None:
    text = tomlkit.dumps(tree)
    positions = Positions(text)
    for path in paths(tree)[1:]:
        assert path in positions.values, (path, text)
        if isinstance(path[-1], str):
            assert text[positions.keys[path]] in "ab-é\"'", (path, text)


MARKS = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    " ",
    "#",
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "\0",
    "\x1b",
    "\r\n",
]
WORDS = [
    "workflows",
    "servers",
    "queue",
    "media",
    "env",
    "limits",
    "keep",
    "name",
    "path",
    "url",
    "workers",
    "defaults",
]
LINES = [
    "[workflows]\n",
    "[workflows.media]\n",
    "[servers.lax.workflows.x]\n",
    "workers = 1\n",
    "env_pass = ['A', 1]\n",
]
ATOMS = ["'5m'", "1", "-1", "true", "nan", "1e999", "1979-05-27", "9" * 30, "é", "\u202e", "\ud7ff", "{ A = 'b' }"]
FRAGMENTS = st.sampled_from([*MARKS, *WORDS, *LINES, *ATOMS])


@pytest.mark.full
@settings(max_examples=scaled(100, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAGMENTS, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    Path("tako.toml").write_bytes(text.encode("utf-8", "replace"))
    try:
        config = load(server="lax")
    except ConfigError as error:
        assert error.mistakes
        assert all(one.line >= 1 and one.column >= 1 for one in error.mistakes)
    else:
        assert "default" in config.groups
        unreachable(config, [])


ANYTHING = st.recursive(
    st.integers() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["5m", "1MB", "forever", "disk"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*RESERVED_NAMES, "A"]), inner, max_size=3),
    max_leaves=5,
)
TABLE_NAMES = [
    "name",
    "queue",
    "workflows",
    "servers",
    "lax",
    "media",
    "keep",
    "url",
    "durability",
    "dead",
    *RESERVED_NAMES,
]


@pytest.mark.full
@settings(max_examples=scaled(100, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(TABLE_NAMES),
        ANYTHING | st.dictionaries(st.sampled_from(TABLE_NAMES), ANYTHING, max_size=4),
        max_size=4,
    )
)
def test_any_sound_toml_is_a_config_or_a_config_error(tree: dict[str, Any]) -> None:
    text = tomlkit.dumps(tree)
    Path("tako.toml").write_bytes(text.encode())
    try:
        config = load(server="lax")
    except ConfigError as error:
        lines = text.replace("\r\n", "\n").split("\n")
        assert all(one.line <= len(lines) and one.column <= len(lines[one.line - 1]) + 1 for one in error.mistakes)
    else:
        json.dumps(effective(config, list(config.groups)))
