"""The command line in a project where no daemon runs: what it stores, and what it reads from the file."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tako_lite.cli.enqueue_jsonl import SHOWN_MISTAKES
from tako_lite.cli.main import main

TOML = """\
name = "shop"  # the name

[workflows]
# inherited
concurrency = 5

[workflows.email]   # mails
workers = 1  # always on
max_workers = 3
"""
WORKFLOWS = """\
from tako_lite import workflow


@workflow("send-mail", worker="email", retries=4, schedule="@daily")
def send_mail(payload: dict | None) -> None:
    pass


@workflow("resize", worker="media")
def resize(payload) -> None:
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tako.toml").write_text(TOML)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/jobs.py").write_text(WORKFLOWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.delenv("TAKO_SERVER", raising=False)
    return tmp_path


class Tako:
    """Runs command lines in this process and gives what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()
        ended = main(words)
        printed = self._capsys.readouterr()
        self.err = printed.err
        assert ended == code, printed.err
        return printed.out

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self(*words, "--json", code=code))
        assert told["schema"] == 1
        return told

    def enqueue(self, *words: str) -> str:
        id: str = self.json("enqueue", *words)["id"]
        return id


@pytest.fixture
def tako(project: Path, capsys: pytest.CaptureFixture[str]) -> Tako:
    return Tako(capsys)


def test_an_enqueue_is_stored_and_says_that_no_daemon_is_running(tako: Tako, project: Path) -> None:
    told = tako.json("enqueue", "send-mail", '{"to": "ann"}')

    assert told["group"] == "email"
    assert "no daemon is running" in told["warning"]
    assert tako.json("show", told["id"])["payload"] == {"to": "ann"}
    assert stat.S_IMODE((project / ".tako/queue.db").stat().st_mode) == 0o600


def test_an_unknown_workflow_is_refused_with_a_suggestion(tako: Tako, project: Path) -> None:
    tako("enqueue", "send-male", code=5)

    assert "send-mail" in tako.err
    assert not (project / ".tako/queue.db").exists()


@pytest.mark.parametrize(
    ("words", "key"), [(("runs",), "runs"), (("schedules",), "schedules"), (("schedules", "list"), "schedules")], ids=str
)
def test_without_a_queue_file_lists_are_empty_and_no_file_is_made(
    words: tuple[str, ...], key: str, tako: Tako, project: Path
) -> None:
    assert tako.json(*words)[key] == []
    assert "no daemon is running" in tako.err
    assert tako(*words).startswith("no ")
    assert not (project / ".tako").exists()


def test_status_works_with_the_daemon_down_and_says_so(tako: Tako) -> None:
    tako.enqueue("send-mail")
    told = tako.json("status")

    assert told["daemon"] is None
    assert {group["name"]: group["pending"] for group in told["groups"]} == {"default": 0, "email": 1, "media": 0}
    assert tako.err.count("no daemon is running") == 1
    assert "email" in tako("status")


def test_a_run_is_found_by_the_end_of_its_id_in_any_case(tako: Tako) -> None:
    id = tako.enqueue("resize", '{"key": "cat"}')

    assert tako.json("show", id[-8:].upper())["id"] == id
    assert id in tako("show", id[-6:])
    tako("show", "00000000-0000", code=5)


def test_why_describes_the_stored_run(tako: Tako) -> None:
    id = tako.enqueue("resize")

    assert "no daemon is running: start tako-lite serve and it runs in media" in tako("why", id)
    tako("cancel", id)
    assert tako.json("why", id)["sentence"].startswith("It was cancelled at ")


def test_runs_are_filtered_and_limited(tako: Tako) -> None:
    mails = [tako.enqueue("send-mail") for _ in range(3)]
    image = tako.enqueue("resize")
    tako("cancel", mails[0])

    def ids(*words: str) -> list[str]:
        return [run["id"] for run in tako.json("runs", *words)["runs"]]

    assert ids() == [image, *reversed(mails)]
    assert ids("--workflow", "resize") == [image]
    assert ids("--group", "email", "--state", "pending") == [mails[2], mails[1]]
    assert ids("--state", "cancelled", "--state", "dead") == [mails[0]]
    assert ids("--limit", "1") == [image]
    assert len(ids("--limit", "1", "--all")) == 4
    assert len(ids("--since", "1h")) == 4
    assert ids("--since", "2999-01-01") == []


FILTERED = [("runs",), ("runs", "--json"), ("cancel",), ("cancel", "--dry-run"), ("retry", "--state", "dead")]


@pytest.mark.parametrize("words", FILTERED, ids=" ".join)
def test_a_name_in_a_filter_that_nothing_has_is_not_found_and_one_that_is_known_finds_nothing(
    words: tuple[str, ...], tako: Tako
) -> None:
    tako(*words, "--workflow", "send-male", code=5)
    assert "no workflow is named" in tako.err
    assert "did you mean `send-mail`?" in tako.err
    tako(*words, "--group", "emial", code=5)
    assert "there is no worker group 'emial'" in tako.err
    assert "did you mean `email`?" in tako.err
    for known in (("--workflow", "send-mail"), ("--group", "email"), ("--group", "default")):
        tako(*words, *known)


def test_a_name_in_a_filter_may_be_one_that_only_old_runs_have(tako: Tako, project: Path) -> None:
    tako.enqueue("resize")
    (project / "workflows/jobs.py").write_text("from tako_lite import workflow\n")

    for known in (("--workflow", "resize"), ("--group", "media")):
        assert tako("runs", *known, "--state", "dead") == "no runs\n"
        tako("retry", *known)
    (project / "workflows/jobs.py").write_text("import tako_lite\ndef broken(:\n")
    assert tako("runs", "--workflow", "nobody-can-say") == "no runs\n"
    assert tako("runs", "--group", "nobody-can-say") == "no runs\n"


def test_in_a_folder_without_a_project_every_command_names_the_folder_and_does_nothing(
    tako: Tako, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(folder)
    said = f"error: {folder} is not a project: no tako.toml here or above, no workflows/ and no .tako/\n"
    commands = "status|runs|schedules|schedules pause x|groups|groups add x|enqueue x|enqueue x --delay 1s|check|config|doctor"
    commands += "|signal x|cancel --all|retry --all|why 12345|logs|pause x|scale x 1|reload|stop|backup x|prune|workflows"
    commands += "|triggers|serve"
    for command in commands.split("|"):
        tako(*command.split(), code=3)
        assert tako.err.startswith(said), command
        assert not list(folder.iterdir()), command
    (folder / "workflows").mkdir()
    tako("status")
    assert "project" not in tako.err


def test_without_a_file_the_folder_of_a_queue_is_taken_for_the_project_and_named_once(
    tako: Tako, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / ".tako").mkdir()
    monkeypatch.chdir(folder)
    said = f"no tako.toml here or above, so the project is {folder}; choose another with -c PATH or TAKO_CONFIG\n"
    for words, code in [
        (("status",), 0),
        (("runs",), 0),
        (("schedules", "pause", "x"), 4),
        (("enqueue", "x"), 5),
        (("check",), 0),
    ]:
        tako(*words, code=code)
        assert tako.err.startswith(said), words
        assert tako.err.count("tako.toml here") == 1, words


def test_cancel_and_retry_take_filters_and_a_dry_run_only_counts(tako: Tako) -> None:
    mails = [tako.enqueue("send-mail") for _ in range(2)]
    tako.enqueue("resize")

    assert tako("cancel", "--workflow", "send-mail", "--dry-run") == "2 runs\n"
    assert tako.json("cancel", "--all", "--dry-run")["count"] == 3
    assert tako("cancel", "--group", "email") == "2 cancelled\n"
    assert tako("cancel", "--group", "email") == "0 runs\n"
    assert tako("retry", mails[0][-8:], "--fresh") == f"{mails[0]} pending\n"
    assert tako.json("retry", "--all")["outcomes"] == {mails[1]: "pending"}


def test_a_named_run_that_cannot_be_retried_is_reported_and_exits_1(tako: Tako) -> None:
    first = tako.enqueue("resize", "--unique-key", "k")
    tako("cancel", first)
    tako.enqueue("resize", "--unique-key", "k")

    assert tako("retry", first, code=1) == ""
    assert "unique key" in tako.err


def test_a_run_is_cancelled_and_found_by_its_unique_key(tako: Tako) -> None:
    run, other = tako.enqueue("resize", "--unique-key", "order-7"), tako.enqueue("resize", "--unique-key", "order-8")
    assert [shown["id"] for shown in tako.json("runs", "--unique-key", "order-7")["runs"]] == [run]
    assert tako("cancel", "--unique-key", "order-7") == "1 cancelled\n"
    assert [shown["id"] for shown in tako.json("runs", "--state", "pending")["runs"]] == [other]


def test_why_and_the_logs_have_the_times_of_one_zone(tako: Tako, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        run = tako.enqueue("resize", "--at", "2030-01-31T08:30:00")  # local, like every time that is typed
        assert "2030-01-31 08:30:00.000+09:00" in tako("why", run)
        logs = project / ".tako/logs"
        logs.mkdir(exist_ok=True)
        (logs / "media.jsonl").write_text('{"at": 1895959800000, "pid": 7, "run": null, "stream": "out", "text": "then"}\n')
        assert tako("logs").startswith("2030-01-30 08:30:00")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_signal_is_stored(tako: Tako) -> None:
    told = tako.json("signal", "approval:7", '{"ok": true}')
    assert (told["event"], told["stored"], told["woken"]) == ("approval:7", True, 0)
    assert tako("signal", "approval:8") == "approval:8 is stored; it woke 0 runs\n"


def test_a_signal_that_stores_nothing_since_another_came_before_says_so(tako: Tako) -> None:
    tako("signal", "approval:7", "1")

    assert tako("signal", "approval:7", "2") == "approval:7 was already stored; its first payload is kept\n"
    assert tako.json("signal", "approval:7", "3")["stored"] is False


def test_a_signal_to_one_run_has_its_id_in_the_name(tako: Tako) -> None:
    run = tako.enqueue("resize")
    assert tako.json("signal", "approval", "--run", run[-8:])["event"] == f"approval:{run}"
    tako("cancel", run)
    assert tako("signal", "approval", "--run", run, code=2) == ""
    assert "is cancelled: it waits for nothing" in tako.err
    assert tako("signal", "approval", "--run", "0000ffff", code=5) == ""


def test_waiting_for_a_run_without_a_worker_times_out_with_124(tako: Tako) -> None:
    tako("enqueue", "resize", "--wait", "--timeout", "50ms", code=124)

    assert "did not end" in tako.err


def test_a_file_of_lines_is_enqueued_in_order_without_blank_ones(tako: Tako, project: Path) -> None:
    (project / "many.jsonl").write_text("".join(f'{{"n": {n}}}\n\n' for n in range(2_500)))
    told = tako.json("enqueue", "resize", "--jsonl", "many.jsonl")

    runs = tako.json("runs", "--all")["runs"]
    assert [run["id"] for run in reversed(runs)] == told["ids"]
    assert [run["payload"]["n"] for run in reversed(runs)] == list(range(2_500))
    assert tako("enqueue", "resize", "--jsonl", "many.jsonl") == "2,500 runs enqueued\n"
    assert tako.err.count("warning") == 1


def test_a_file_with_mistakes_names_their_lines_and_enqueues_nothing(tako: Tako, project: Path) -> None:
    big = '"' + "x" * 3_000_000 + '"'
    (project / "many.jsonl").write_text(f'1\n{{"a": }}\n\n{big}\n"last"\nNaN\n')
    tako("enqueue", "resize", "--jsonl", "many.jsonl", code=2)

    assert [line.partition(" is ")[0] for line in tako.err.splitlines()[:3]] == ["error: line 2", "line 4", "line 6"]
    assert "nothing was enqueued" in tako.err
    assert tako.json("runs")["runs"] == []


def test_only_the_first_mistakes_of_a_file_are_named(tako: Tako, project: Path) -> None:
    (project / "many.jsonl").write_text("nonsense\n" * 1_000)
    tako("enqueue", "resize", "--jsonl", "many.jsonl", code=2)

    assert tako.err.count("is not JSON") == SHOWN_MISTAKES


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stdin that can be read only once, with a mistake in its fourth line."""
    reading, writing = os.pipe()
    os.write(writing, b"1\n2\n\noops\n3\n")
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield


@pytest.mark.usefixtures("piped")
def test_a_pipe_is_enqueued_up_to_its_first_mistake(tako: Tako) -> None:
    tako("enqueue", "resize", "--jsonl", "-", code=2)

    assert [run["payload"] for run in tako.json("runs")["runs"]] == [2, 1]


@pytest.mark.usefixtures("piped")
def test_the_mistake_of_a_pipe_says_where_to_continue(tako: Tako) -> None:
    tako("enqueue", "resize", "--jsonl", "-", code=2)

    assert "error: line 4 is not JSON" in tako.err
    assert "hint: enqueued 2 runs before it; continue from line 4" in tako.err


@pytest.mark.usefixtures("piped")
def test_the_ids_before_the_mistake_of_a_pipe_are_a_whole_document(tako: Tako) -> None:
    told = tako.json("enqueue", "resize", "--jsonl", "-", code=2)

    assert told["ids"] == [run["id"] for run in reversed(tako.json("runs")["runs"])]


def test_an_empty_file_of_lines_enqueues_nothing(tako: Tako, project: Path) -> None:
    (project / "none.jsonl").write_text("\n")

    assert tako.json("enqueue", "resize", "--jsonl", "none.jsonl")["ids"] == []
    assert tako("enqueue", "resize", "--jsonl", "none.jsonl") == "0 runs enqueued\n"


def test_workflows_are_listed_from_the_files(tako: Tako) -> None:
    assert tako.json("workflows")["workflows"] == [
        {
            "name": "resize",
            "group": "media",
            "file": "workflows/jobs.py",
            "line": 10,
            "schedule": None,
            "retries": 2,
            "payload": None,
        },
        {
            "name": "send-mail",
            "group": "email",
            "file": "workflows/jobs.py",
            "line": 5,
            "schedule": "@daily",
            "retries": 4,
            "payload": "dict | None",
        },
    ]
    assert "workflows/jobs.py:10" in tako("workflows")


def test_check_passes_with_warnings_and_names_tables_without_a_workflow(tako: Tako, project: Path) -> None:
    (project / "tako.toml").write_text(TOML + "\n[workflows.medai]\nworkers = 1\n")
    told = tako.json("check")

    assert told["mistakes"] == []
    assert ["medai" in warning["message"] for warning in told["warnings"]] == [True]
    assert "0 mistakes, 1 warning" in tako("check")


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("tako.toml", "[workflows.email]\nworkres = 1\nconcurrency = 0\n", 2),
        ("workflows/jobs.py", "from tako_lite import workflow\nn = 'x'\n@workflow(n)\ndef f(p): pass\n", 1),
    ],
    ids=["configuration", "catalog"],
)
def test_check_prints_every_mistake_with_its_place_and_exits_3(
    file: str, text: str, expected: int, tako: Tako, project: Path
) -> None:
    (project / file).write_text(text)
    told = tako.json("check", code=3)

    assert len(told["mistakes"]) == expected
    assert all(mistake["line"] > 0 and mistake["file"] == file for mistake in told["mistakes"])
    assert tako("check", code=3).count(f"{file}:") == expected


def test_mistakes_in_the_configuration_stop_other_commands_with_3(tako: Tako, project: Path) -> None:
    (project / "tako.toml").write_text("[workflows.email]\nworkres = 1\n\x1b = 1\n")
    tako("enqueue", "resize", code=3)

    assert tako.err.startswith("error: 1 mistake in the configuration\ntako.toml:3")
    assert "\x1b" not in tako.err


def test_config_shows_values_with_their_sources(tako: Tako) -> None:
    told = tako.json("config")

    assert told["groups"]["email"]["workers"] == {"value": 1, "source": "[workflows.email]"}
    assert told["groups"]["media"]["concurrency"] == {"value": 5, "source": "[workflows]"}
    assert "[workflows.email]" in tako("config")


def test_config_shows_a_scale_that_the_queue_holds(tako: Tako, project: Path) -> None:
    tako.enqueue("resize")
    with sqlite3.connect(project / ".tako/queue.db") as connection:
        connection.execute("INSERT INTO groups (name, scale) VALUES ('media', 6)")
    connection.close()

    assert tako.json("config")["groups"]["media"]["max_workers"] == {"value": 6, "source": "tako-lite scale"}


def test_scale_save_changes_one_number_and_keeps_the_rest(tako: Tako, project: Path) -> None:
    tako("scale", "email", "2", "--save")

    assert (project / "tako.toml").read_text() == TOML.replace("workers = 1  # always on", "workers = 2  # always on")
    assert "no daemon is running" in tako.err
    assert tako.json("config")["groups"]["email"]["workers"]["value"] == 2


def test_scale_save_adds_a_table_for_a_group_without_one(tako: Tako, project: Path) -> None:
    tako("scale", "media", "0", "--save")

    assert (project / "tako.toml").read_text().startswith(TOML.rstrip("\n"))
    assert tako.json("config")["groups"]["media"]["workers"] == {"value": 0, "source": "[workflows.media]"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a remark",
        "[workflows]\nmedia = { concurrency = 2 }\n",
        "workflows.media.concurrency = 2\n",
        "[workflows.media]\r\nconcurrency = 2\r\n",
        '[queue]\ndurability = "disk"\n\n[workflows.media.env]\nA = "1"\n',
        "[servers.lax.workflows.media]\nworkers = 9\n",
    ],
    ids=["empty", "remark", "inline", "dotted", "crlf", "env", "server"],
)
def test_scale_save_copes_with_every_way_to_write_a_table(text: str, tako: Tako, project: Path) -> None:
    (project / "tako.toml").write_bytes(text.encode())
    tako("scale", "media", "3", "--save")

    assert tako.json("config")["groups"]["media"]["workers"] == {"value": 3, "source": "[workflows.media]"}
    after = (project / "tako.toml").read_bytes()
    assert all(line in after.decode() for line in text.splitlines() if not line.startswith("media = {"))
    assert (b"\r\n" in after) == ("\r\n" in text)


def test_scale_save_leaves_a_file_alone_that_it_would_make_wrong(tako: Tako, project: Path) -> None:
    tako("scale", "email", "7", "--save", code=3)

    assert (project / "tako.toml").read_text() == TOML
    assert "max_workers" in tako.err
    assert sorted(path.name for path in project.iterdir()) == ["tako.toml", "workflows"]


def test_scale_save_refuses_a_group_that_does_not_exist(tako: Tako, project: Path) -> None:
    tako("scale", "emial", "2", "--save", code=5)

    assert "email" in tako.err
    assert (project / "tako.toml").read_text() == TOML


def test_scale_save_writes_through_a_link_and_keeps_the_mode(tako: Tako, project: Path) -> None:
    (project / "real.toml").write_text(TOML)
    (project / "real.toml").chmod(0o640)
    (project / "tako.toml").unlink()
    (project / "tako.toml").symlink_to("real.toml")
    tako("scale", "email", "2", "--save")

    assert (project / "tako.toml").is_symlink()
    assert "workers = 2" in (project / "real.toml").read_text()
    assert stat.S_IMODE((project / "real.toml").stat().st_mode) == 0o640


def test_scale_save_warns_where_a_table_of_this_server_wins(tako: Tako, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKO_SERVER", "lax")
    (project / "tako.toml").write_text(TOML + "\n[servers.lax.workflows.email]\nworkers = 3\n")
    tako("scale", "email", "2", "--save")

    assert "[servers.lax.workflows.email] overrides it on server lax" in tako.err


def test_a_backup_is_a_queue_file_of_its_own(tako: Tako, project: Path) -> None:
    id = tako.enqueue("resize")
    told = tako.json("backup", "copy.db")

    copy = project / "copy.db"
    assert told["file"] == str(copy)
    assert told["bytes"] == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    (project / "tako.toml").write_text('[queue]\nurl = "sqlite:///copy.db"\n')
    assert tako.json("show", id)["workflow"] == "resize"


def test_a_backup_never_overwrites_a_file(tako: Tako, project: Path) -> None:
    tako.enqueue("resize")
    (project / "copy.db").write_text("precious")
    tako("backup", "copy.db", code=2)

    assert (project / "copy.db").read_text() == "precious"


def test_a_backup_of_no_queue_says_so(tako: Tako, project: Path) -> None:
    tako("backup", "copy.db", code=5)

    assert not (project / "copy.db").exists()


def test_a_file_that_is_no_queue_is_an_error_without_a_traceback(tako: Tako, project: Path) -> None:
    (project / ".tako").mkdir()
    (project / ".tako/queue.db").write_text("not a database at all, " * 100)
    for words in (("runs",), ("status",), ("schedules",), ("config",)):
        tako(*words, code=1)
        assert tako.err.splitlines()[-2].startswith("error: ")
        assert "damaged" in tako.err
