"""The command line as far as it goes without a daemon: help, usage errors, exit codes, and what a start imports."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from tako_lite import __version__
from tako_lite.cli.app import COMMANDS, app
from tako_lite.cli.main import BROKEN_PIPE, main
from tako_lite.lock import daemon_lock
from tako_lite.records import new_id
from tako_lite.wire import decode_frame, encode_frame

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("rich", "asyncio", "anyio", "aiosqlite", "tomlkit", "sqlite3", "tako_lite.catalog", "cronsim")
SHELL_LIMIT = 60
NEVER = "never"
"""The state in which a run ends that never ends."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one workflow, which is the current folder."""
    (tmp_path / "tako.toml").write_text('name = "shop"\n\n[workflows.email]\nworkers = 1\n')
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/mail.py").write_text(
        "from tako_lite import workflow\n\n\n"
        '@workflow("send-mail", worker="email")\ndef send_mail(payload) -> None:\n    pass\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.delenv("TAKO_SERVER", raising=False)
    return tmp_path


def ended_run(id: str, state: str) -> dict[str, Any]:
    moment = "2030-01-31T08:00:00.000Z"
    error = {"type": "ValueError", "message": "no stamp", "traceback": None, "reason": None}
    names = ("unique_key", "parent", "server", "worker_pid", "progress", "progress_note")
    times = dict.fromkeys(("created_at", "run_at", "started_at", "finished_at"), moment)
    counts = {"attempts": 1, "max_attempts": 1, "crashes": 0, "priority": 0}
    outcome = {"result": {"sent": 1}, "error": None} if state == "succeeded" else {"result": None, "error": error}
    known = {"id": id, "workflow": "send-mail", "group": "email", "state": state, "payload": None, "steps": [], "waits": []}
    return {**dict.fromkeys(names), **times, **counts, **outcome, **known}


class Daemon(threading.Thread):
    """Speaks the protocol on the project's socket, and answers every enqueue."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(daemon=True)
        state_dir.mkdir(mode=0o700, exist_ok=True)
        self.asked: list[dict[str, Any]] = []
        self.state = "succeeded"
        self.waited_for = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(state_dir / "tako.sock"))
        self._listener.listen()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                connection.sendall(encode_frame({"hello": "tako-lite", "version": "0", "protocol": 1, "pid": 1, "server": "s"}))
                for line in lines:
                    request = decode_frame(line)
                    if request["command"] == "wait" and self.state == NEVER:
                        self.waited_for.set()
                    else:
                        connection.sendall(encode_frame(self._reply(request)))

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "workflows":
            return {"id": request["id"], "ok": {"workflows": []}}
        self.asked.append(request)
        if request["command"] == "enqueue":
            ok = {"id": request["run_id"], "state": "pending", "group": "email", "deduplicated": False, "warning": "slow"}
        elif request["command"] == "wait":
            ok = {"run": ended_run(request["run_id"], self.state)}
        else:
            return {"id": request["id"], "error": {"type": "unknown_group", "message": "no such group", "hint": "look"}}
        return {"id": request["id"], "ok": ok}

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


@pytest.fixture
def daemon(project: Path) -> Iterator[Daemon]:
    running = Daemon(project / ".tako")
    lock = daemon_lock(project / ".tako")
    assert lock.acquire()
    running.start()
    yield running
    running.stop()
    lock.release()


def shell(*words: str, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    program = ["-m", "tako_lite"] if code is None else ["-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *program, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SHELL_LIMIT, check=False, **options)


IMPORTED = (
    "import sys; from tako_lite.cli.main import main; code = main(); print(*sys.modules, file=sys.stderr); sys.exit(code)"
)


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(app, info_name="tako-lite")
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for child, child_command in command.commands.items():
                yield f"{name} {child}", child_command


@pytest.mark.parametrize(
    ("options", "left_out"), [((), {"click", "dataclasses", "tomllib", *HEAVY}), (("--priority", "5"), HEAVY)]
)
def test_an_enqueue_that_a_daemon_answers_imports_nothing_heavy(
    options: Sequence[str], left_out: Iterable[str], daemon: Daemon
) -> None:
    done = shell("enqueue", "send-mail", '{"to": "ann"}', *options, code=IMPORTED)

    assert done.returncode == 0
    assert "pending in email" in done.stdout
    imported = set(done.stderr.split())
    assert "tako_lite.cli.enqueue_one" in imported
    assert imported.isdisjoint(left_out)


@pytest.mark.parametrize(
    "words",
    [("send-mail", "{"), ("send-mail", ""), ("send-mail", "@nowhere"), ("", "1"), ("send-male",), ("send-mail", "\udcff")],
)
def test_an_enqueue_without_options_fails_as_one_that_is_parsed(words: Sequence[str], project: Path) -> None:
    plain, parsed = shell("enqueue", *words), shell("enqueue", "--", *words)

    assert plain.returncode != 0
    assert (plain.returncode, plain.stdout, plain.stderr) == (parsed.returncode, parsed.stdout, parsed.stderr)


def test_help_imports_no_command() -> None:
    done = shell("--help", code=IMPORTED)

    assert {name for name in done.stderr.split() if name.startswith("tako_lite.cli.")} == {
        "tako_lite.cli.app",
        "tako_lite.cli.lazy",
        "tako_lite.cli.main",
        "tako_lite.cli.options",
    }
    assert set(done.stderr.split()).isdisjoint(HEAVY)


def test_help_lists_every_command_with_its_own_first_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out

    for name, (module, summary) in COMMANDS.items():
        command = getattr(import_module(module), name.replace("-", "_"))
        assert re.search(rf"^  {name} +{re.escape(summary)}$", listing, re.MULTILINE)
        first = (command.help or "").split("\n\n")[0].replace("\n", " ")
        assert first.startswith(summary.removesuffix(".")), name


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: tako-lite")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_a_configuration(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "--config" in capsys.readouterr().out


def test_every_command_and_option_is_in_the_documentation() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    missing = []
    for name, command in every_command():
        section = re.search(rf"^### `{name}[ `].*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        if section is None:
            missing.append(name)
            continue
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        flags = [flag for option in options for flag in option.opts if flag not in ("-c", "--config")]
        missing += [f"{name} {flag}" for flag in flags if f"`{flag}" not in section.group()]

    assert missing == []


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tako-lite {__version__}\n"


USAGE_ERRORS = [
    ("enqeue",),
    ("status", "--nope"),
    ("enqueue",),
    ("enqueue", "send-mail", "{}", "{}"),
    ("enqueue", "send-mail", "--delay", "5"),
    ("enqueue", "send-mail", "--delay", "-5s"),
    ("enqueue", "send-mail", "--at", "tomorrow"),
    ("enqueue", "send-mail", "--at", "1969-12-31T00:00:00Z"),
    ("enqueue", "send-mail", "--at", "0001-01-01"),
    ("enqueue", "send-mail", "--delay", "5s", "--at", "2030-01-01"),
    ("enqueue", "send-mail", "--retries", "-1"),
    ("enqueue", "send-mail", "--priority", "high"),
    ("enqueue", "send-mail", "--timeout", "5s"),
    ("enqueue", "send-mail", "{}", "--jsonl", "-"),
    ("enqueue", "send-mail", "--jsonl", "-", "--wait"),
    ("enqueue", "send-mail", "--jsonl", "-", "--id", "x"),
    ("enqueue", "send-mail", "--jsonl", "-", "--unique-key", "x"),
    ("enqueue", "send-mail", "hello"),
    ("enqueue", "send-mail", "NaN"),
    ("enqueue", "send-mail", '{"a": 1, "a": 2}'),
    ("enqueue", "send-mail", "[" * 100 + "]" * 100),
    ("enqueue", "send-mail", "@nowhere.json"),
    ("enqueue", "send-mail", "@."),
    ("enqueue", "send-mail", "--jsonl", "nowhere.jsonl"),
    ("runs", "--state", "happy"),
    ("runs", "--limit", "0"),
    ("runs", "--since", "yesterday"),
    ("show", "abc"),
    ("why", ""),
    ("logs", "abc"),
    ("logs", "-n", "-1"),
    ("cancel",),
    ("cancel", "abc"),
    ("cancel", "--dry-run"),
    ("cancel", "deadbeef", "--all"),
    ("cancel", "--state", "dead"),
    ("retry",),
    ("retry", "--fresh"),
    ("retry", "--state", "succeeded"),
    ("scale", "email"),
    ("scale", "email", "many"),
    ("scale", "email", "-1"),
    ("scale", "email", "auto", "--save"),
    ("schedules", "stop", "x"),
    ("triggers", "stop", "x"),
    ("triggers", "run"),
    ("pause",),
    ("backup",),
]


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
def test_what_cannot_be_meant_exits_2_with_an_error_and_does_nothing(
    words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()

    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert not (project / ".tako").exists()


@pytest.mark.parametrize("words", [("enqueue", "send-mail", "-5"), ("signal", "go", "-42.5")], ids=" ".join)
def test_a_payload_that_begins_with_a_minus_gets_a_hint_where_to_put_the_two(
    words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    hint = f"hint: write -- before a payload that begins with a minus: `tako-lite {words[0]} … -- -5`"
    assert hint in capsys.readouterr().err

    assert main(["enqueue", "send-mail", "--nope"]) == 2
    assert "--help` lists" in capsys.readouterr().err


def test_a_path_of_no_file_is_said_to_be_none_without_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", "/nowhere/tako.toml", "status"]) == 3
    assert capsys.readouterr().err.startswith("error: /nowhere/tako.toml: the file does not exist\n")


def test_with_json_an_error_is_json_on_stderr(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enqueue", "send-mail", "hello", "--json"]) == 2
    printed = capsys.readouterr()

    told = json.loads(printed.err)
    assert printed.out == ""
    assert told["schema"] == 1
    assert told["error"]["type"] == "bad_input"
    assert "not JSON" in told["error"]["message"]
    assert told["error"]["hint"]


def test_an_error_of_the_daemon_keeps_its_exit_code_message_and_hint(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pause", "media"]) == 5
    assert capsys.readouterr().err == "error: no such group\nhint: look\n"


@pytest.mark.parametrize(
    "words",
    [
        ("pause", "email"),
        ("resume", "email"),
        ("scale", "email", "2"),
        ("reload",),
        ("stop",),
        ("prune",),
        ("schedules", "run", "send-mail"),
        ("triggers", "run", "new-mail"),
        ("triggers", "pause", "new-mail"),
    ],
    ids=" ".join,
)
def test_what_only_a_daemon_can_do_exits_4_without_one(
    words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 4
    assert "no daemon" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("-c", "gone.toml", "check"), ("check", "-c", "gone.toml")], ids=["before", "after"])
def test_the_configuration_is_taken_before_and_after_the_command(
    words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 3
    assert "gone.toml" in capsys.readouterr().out


def test_the_configuration_after_the_command_wins(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", "gone.toml", "check", "-c", str(project)]) == 0
    assert "0 mistakes" in capsys.readouterr().out


def test_tako_config_names_the_configuration(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("TAKO_CONFIG", str(project))

    assert main(["workflows", "--json"]) == 0
    assert [workflow["name"] for workflow in json.loads(capsys.readouterr().out)["workflows"]] == ["send-mail"]


def test_options_of_an_enqueue_reach_the_daemon(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    id = new_id()
    words = ["enqueue", "send-mail", '{"to": "ann"}', "--worker", "media", "--unique-key", "k", "--delay", "1h30m"]
    assert main([*words, "--priority", "5", "--retries", "0", "--id", id, "--json"]) == 0

    (asked,) = daemon.asked
    expected = {"workflow": "send-mail", "payload": {"to": "ann"}, "run_id": id, "worker": "media", "unique_key": "k"}
    assert {**asked, **expected, "delay": 5400.0, "priority": 5, "retries": 0} == asked
    told = json.loads(capsys.readouterr().out)
    assert told == {"schema": 1, "id": id, "state": "pending", "group": "email", "deduplicated": False, "warning": "slow"}


def test_a_time_without_a_zone_is_local_and_one_with_a_zone_is_not(daemon: Daemon) -> None:
    main(["enqueue", "send-mail", "--at", "2030-01-31T08:30:00+01:00"])

    assert daemon.asked[0]["at"] == 1_896_075_000_000
    assert daemon.asked[0]["payload"] is None


def test_a_warning_goes_to_stderr_and_the_id_to_stdout(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    id = new_id()
    assert main(["enqueue", "send-mail", "--id", id]) == 0
    printed = capsys.readouterr()

    assert printed.out == f"{id} pending in email\n"
    assert printed.err == "warning: slow\n"


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("dead", 1), ("cancelled", 1)])
def test_with_wait_the_run_is_printed_however_it_ended(
    state: str, code: int, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.state = state
    assert main(["enqueue", "send-mail", "--wait", "--timeout", "30s", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["state"], told["steps"]) == (1, state, [])

    assert main(["enqueue", "send-mail", "--wait"]) == code
    assert ("no stamp" in capsys.readouterr().out) == (code == 1)


def test_a_payload_comes_from_a_file_or_stdin(daemon: Daemon, project: Path) -> None:
    (project / "payload.json").write_text('{"from": "file"}\n')
    main(["enqueue", "send-mail", "@payload.json"])
    done = shell("enqueue", "send-mail", "-", input='{"from": "stdin"}\n')

    assert done.returncode == 0
    assert [request["payload"]["from"] for request in daemon.asked] == ["file", "stdin"]


def test_a_payload_over_its_limit_is_refused_before_it_is_read_to_its_end(project: Path) -> None:
    code = "import sys; from tako_lite.cli.main import main; sys.stdin = open('/dev/zero'); sys.exit(main())"
    done = shell("enqueue", "send-mail", "-", code=code)

    assert done.returncode == 2
    assert "the limit is 1,048,576" in done.stderr


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    assert main(["status"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tako_lite", "config", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with os.fdopen(writing, "w") as out:
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, env=environment, timeout=SHELL_LIMIT, check=False, text=True
        )

    assert done.returncode == BROKEN_PIPE
    assert done.stderr == ""


def test_closed_stdout_and_stderr_are_no_error(project: Path) -> None:
    command = f"exec {sys.executable} -m tako_lite check >&- 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, timeout=SHELL_LIMIT, check=False)

    assert done.returncode == 0


def test_a_terminal_without_utf_8_gets_escapes_instead_of_a_crash(project: Path) -> None:
    (project / "tako.toml").write_text('[workflows.email]\ndescription = "grüße 名"\n', encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    for words in (["config"], ["config", "--json"]):
        command = [sys.executable, "-m", "tako_lite", *words]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=SHELL_LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
    assert json.loads(done.stdout)["groups"]["email"]["description"]["value"] == "grüße 名"


def ctrl_c_after(words: Sequence[str], ready: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str]:
    """The exit code and stderr of a command that is interrupted once it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tako_lite", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, process_group=0
    ) as running:
        assert ready(running)
        running.send_signal(signal.SIGINT)
        code = running.wait(SHELL_LIMIT)
        assert running.stderr is not None
        return code, running.stderr.read()


def test_ctrl_c_ends_a_watch_with_0(project: Path) -> None:
    code, err = ctrl_c_after(["status", "--watch", "--json"], lambda running: running.stdout and running.stdout.readline())

    assert code == 0
    assert "Traceback" not in err


def test_ctrl_c_ends_a_wait_with_130_and_names_the_run_which_continues(daemon: Daemon) -> None:
    daemon.state = NEVER
    code, err = ctrl_c_after(["enqueue", "send-mail", "--wait"], lambda _: daemon.waited_for.wait(SHELL_LIMIT))

    assert code == 130
    warning, error, hint = err.splitlines()
    assert warning == "warning: slow"
    found = re.fullmatch("error: interrupted; run ([0-9a-f-]{36}) continues", error)
    assert found is not None
    assert hint == f"hint: `tako-lite show {found[1]}` shows its progress, `tako-lite cancel {found[1]}` cancels it"


@pytest.mark.parametrize(
    ("option", "message"),
    [("--listen", "'nonsense' is not an address to listen on"), ("--base-path", "'nonsense' is not a base path")],
)
def test_an_invalid_value_for_the_dashboard_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    (tmp_path / "tako.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["web", option, "nonsense"]) == 2
    assert f"{option} {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["enqueue", "send-mail", "--retries", "1.5"], "'1.5' is not a whole number\n"),
        (["enqueue", "send-mail", "--priority", "x"], "'x' is not a whole number\n"),
        (["enqueue", "send-mail", "--priority", "99999999999999999999"], "hint: -1000000000 to 1000000000\n"),
        (["schedules", "nope"], "error: there is no command 'nope'\n"),
    ],
)
def test_numbers_and_commands_that_click_refuses_are_named_in_our_words(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
