"""Clients that flood, names that are weapons, and text that would steer a terminal."""

from __future__ import annotations

import array
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tako_lite.cli.main import main
from tako_lite.errors import BadInput
from tako_lite.linux import resident_bytes
from tests.support import clock_daemon
from tests.support.processes import descriptors
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.raw_client import SLOW_CLIENTS, connect, read_line
from tests.support.teardown import tear_down
from tests.support.terminal import environment, read_to_end

QUICK = "@workflow('quick')\nasync def quick(payload):\n    return payload\n"
NOBODY = 65534


@pytest.fixture
def served(live: Project) -> Iterator[Project]:
    """A project whose daemon must work as before when the test is over, with as many descriptors."""
    live.add("quick.py", QUICK)
    assert live.run("quick", 1)["result"] == 1
    before = descriptors(live)
    yield live
    assert live.run("quick", 2)["result"] == 2
    wait_until(lambda: descriptors(live) <= before, "every descriptor of a client is given back")
    assert "Traceback" not in live.daemon_log()


# Floods


def test_ten_thousand_requests_at_once_are_answered_in_order_beside_other_clients(served: Project) -> None:
    count = 10_000
    requests = b"".join(b'{"id":%d,"command":"find","ending":"abcd"}\n' % number for number in range(count))
    with connect(served) as client:
        client.settimeout(60)
        sender = threading.Thread(target=client.sendall, args=[requests])
        sender.start()
        assert served.run("quick", "meanwhile")["result"] == "meanwhile"
        answers = client.makefile("rb")
        assert [json.loads(answers.readline())["id"] for _ in range(count)] == list(range(count))
        sender.join()


def test_a_line_that_never_ends_is_hung_up_on_and_costs_no_memory(served: Project) -> None:
    assert served.process is not None
    before = resident_bytes(served.process.pid)
    endless, sent = b'{"command":"' + b"x" * 1_000_000, 0
    with connect(served) as client:
        with pytest.raises(OSError):
            while sent < 2 << 30:
                sent += client.send(endless)
        assert sent < 16_000_000
    after = resident_bytes(served.process.pid)
    assert before is not None and after is not None
    assert after - before < 32_000_000


def test_descriptors_that_a_client_passes_along_are_not_kept(served: Project) -> None:
    before = descriptors(served)
    with connect(served) as client, open(os.devnull, "rb") as device:
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [device.fileno()] * 200))]
        for _ in range(5):
            client.sendmsg([b'{"id":1,"command":"workflows"}\n'], passed)
            assert "ok" in read_line(client)
        assert descriptors(served) <= before + 1


@pytest.mark.full
def test_a_hundred_slow_clients_leave_the_loop_free(project: Project) -> None:
    project.workflow("quick.py", QUICK)
    clock_daemon.serve(project, watched=True)
    request = b'{"id":1,"command":"workflows"}\n'
    assert project.run("quick", 0)["result"] == 0
    with ExitStack() as held:
        slow = [held.enter_context(connect(project)) for _ in range(SLOW_CLIENTS)]
        over = time.monotonic() + scaled(1.5, 10)
        while time.monotonic() < over:
            for place in range(len(request)):
                for client in slow:
                    client.send(request[place : place + 1])
                if place % 10 == 0:
                    assert project.run("quick", place)["result"] == place
            assert ["ok" in read_line(client) for client in slow] == [True] * SLOW_CLIENTS
    assert project.stop() == 0
    p99, worst = clock_daemon.p99(project), clock_daemon.lags(project)[-1]
    print(f"loop lag beside {SLOW_CLIENTS} slow clients: p99 {p99 * 1000:.1f} ms, worst {worst * 1000:.1f} ms")
    assert p99 < clock_daemon.LONG_LAG


# Names

NAMES = {
    "path": "../../x",
    "absolute": "/etc/passwd",
    "empty": "",
    "long": "x" * 10_000,
    "right to left": "\u202egnp.exe",
    "composed": unicodedata.normalize("NFC", "é"),
    "decomposed": unicodedata.normalize("NFD", "é"),
    "sql": "'; DROP TABLE runs; --",
    "wildcard": "%_*[a-z]",
    "escape": "\x1b[2J\x9b31m\x07",
    "newline": "a\nb",
    "option": "--help-me",
}


def files(project: Project) -> set[Path]:
    """All that is in the project and where `../../x` would be, but for what comes and goes by itself."""
    beside = {folder / "x" for folder in project.root.parents if (folder / "x").exists()}
    passing = {"workers", "__pycache__", "queue.db-wal", "queue.db-shm"}
    return beside | {file for file in project.root.rglob("*") if not passing & set(file.parts)}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_a_weapon_finds_nothing_changes_nothing_and_reaches_no_terminal(
    served: Project, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(served.root)
    toml = served.root / "tako.toml"
    before = served.call("ids")["ids"], files(served), toml.read_bytes()
    for words, codes in [
        (["enqueue", "--", name], (5,)),
        (["enqueue", "quick", "--worker", name], (5,)),
        (["enqueue", "quick", "--id", name], (2,)),
        (["pause", "--", name], (5,)),
        (["scale", "--", name, "1"], (5,)),
        (["schedules", "pause", "--", name], (5,)),
        (["show", "--", name], (2, 5)),
        (["why", "--", name], (2, 5)),
        (["logs", "--", name], (2, 5)),
        (["logs", "--group", name], (0, 2, 5)),
        (["cancel", "--", name], (2, 5)),
        (["runs", "--workflow", name, "--group", name], (0, 5)),
        (["enqueue", "quick", "--tenant", name], (5,)),
        (["enqueue", "quick", "--fallback", name], (2,)),
        *((["triggers", verb, "--", name], (5,)) for verb in ("pause", "resume", "run")),
        (["groups", "list", "--", name], (5,)),
        (["groups", "add", "--", name], (2,)),
        (["groups", "add", "fine", f"--fallback=x{name}"], (2,)),
        (["groups", "add", "fine", f"--allowed-tenants=x{name}"], (2, 3)),
        (["groups", "set", "--", name, "concurrency=2"], (5,)),
        (["groups", "set", "default", "--", f"{name}=2"], (2,)),
        (["groups", "set", "default", "--unset", name], (2,)),
        (["groups", "rm", "--", name], (5,)),
        (["groups", "rm", "default", "--to", name], (2, 5)),
    ]:
        assert main(words) in codes, words
        printed = capsys.readouterr()
        assert not re.search("[\x1b\x9b\x07]", printed.out + printed.err), words
        assert "Traceback" not in printed.err
        assert len(printed.err) < 1_000, "nobody reads so much"
    assert (served.call("ids")["ids"], files(served), toml.read_bytes()) == before


def test_names_that_may_be_anything_are_kept_apart_to_the_letter(served: Project) -> None:
    free = [name for name in NAMES.values() if 0 < len(name) <= 256 and name.isprintable()]
    assert {NAMES["composed"], NAMES["decomposed"], NAMES["sql"], NAMES["path"]} <= set(free)
    with served.client() as client:
        client.call("pause", group="default")
        runs = {name: client.enqueue("quick", name, unique_key=name).id for name in free}
        assert len(set(runs.values())) == len(free)
        assert {name: client.enqueue("quick", name, unique_key=name).id for name in free} == runs
        assert [client.signal(name, name) for name in free] == [0] * len(free)
        for run in client.call("runs", workflow="quick", states=["pending"])["runs"]:
            assert run["unique_key"] == run["payload"]
        client.call("resume", group="default")
        assert [client.wait(id, timeout=15)["result"] for id in runs.values()] == free
        for name in ("", "x" * 257, "\x1b", "a\nb", "\x00"):
            with pytest.raises(BadInput, match="signal"):
                client.signal(name)


@pytest.mark.parametrize(
    "payload", [r'"\u0000"', r'"\u2028\u001b\u009b"', '"\\ud83d\\ude00"', "-0.0", "1e308", "9007199254740993"]
)
def test_odd_but_lawful_json_comes_back_to_the_letter(served: Project, payload: str) -> None:
    run = served.run("quick", json.loads(payload))
    assert repr(run["result"]) == repr(json.loads(payload))


def test_a_backup_goes_nowhere_but_to_a_new_file(served: Project) -> None:
    before = (served.root / "tako.toml").read_bytes()
    for file in (
        "relative.db",
        "",
        str(served.root / "tako.toml"),
        str(served.root),
        "/proc/none/x",
        str(served.root / "a\0b"),
    ):
        with pytest.raises(BadInput):
            served.call("backup", file=file)
    assert (served.root / "tako.toml").read_bytes() == before


# Terminals

EVIL = "\x1b[99;7mEVIL\x9b99mEVIL\x1b]0;EVIL\x07"
HOSTILE = f"""
from tako_lite import poll

EVIL = {EVIL!r}

@workflow("evil", retries=0)
async def evil(payload, step: Step):
    print(EVIL)
    sys.stderr.write(EVIL + "\\n")
    step.log.warning("%s", EVIL)
    step.progress(0.5, EVIL)
    await step.run(EVIL, lambda: EVIL)
    class Evil(Exception):
        pass
    Evil.__name__ = Evil.__qualname__ = EVIL
    raise Evil(EVIL)

@workflow("waits", retries=0)
async def waits(payload, step: Step):
    await step.sleep(EVIL, "1h")

@poll("evil-cursor", every="1h", starts="evil")
def evil_cursor(cursor):
    return [], EVIL

@poll("evil-error", every="1h", starts="evil")
def evil_error(cursor):
    raise ValueError(EVIL)
"""
RAW = re.compile(rb"\x1b\[99|\xc2\x9b|\x9b99|\x1b\]0;EVIL|\x07")
READING = [
    "runs",
    "show {evil}",
    "show {waits}",
    "why {evil}",
    "why {waits}",
    "logs",
    "status",
    "enqueue evil --wait",
    "enqueue EVIL",
    "enqueue evil --tenant EVIL",
    "triggers",
    "groups",
    "groups evil-group",
    "groups add evil-other description=EVIL --dry-run",
    "groups set evil-group description=EVIL-again --dry-run",
    "groups rm evil-group --dry-run",
]


@pytest.fixture(scope="module")
def hostile(live: Project) -> dict[str, str]:
    """Runs and a group whose every text is hostile; the ids by name."""
    live.configure(f"[workflows.evil-group]\ndescription = {json.dumps(EVIL)}\n")
    live.add("evil.py", HOSTILE)
    live.add(
        "broken.py", f"@workflow('broken', worker='broken')\nasync def broken(p):\n    pass\nraise ImportError({EVIL!r})\n"
    )
    assert live.run("evil", EVIL, unique_key=EVIL)["state"] == "dead"
    waits = live.enqueue("waits", {EVIL: EVIL})
    live.wait_for_state(waits, "waiting")
    live.enqueue("broken")
    wait_until(lambda: live.group("broken")["last_error"], "the group cannot start")
    wait_until(lambda: all(told["evaluated_at"] for told in live.call("triggers")["triggers"]), "both triggers were evaluated")
    return {"evil": live.call("ids", workflow="evil")["ids"][0], "waits": waits}


def on_a_terminal(project: Project, words: list[str], *, until: bytes | None = None) -> bytes:
    """What a command writes to a terminal, to its end or until it shows something."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "tako_lite", *words],
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**environment(), "COLUMNS": "200", "LINES": "50"},
        ) as running:
            os.close(theirs)
            shown = b""
            while until is not None and until not in shown:
                shown += os.read(ours, 65536)
            if until is not None:
                running.terminate()
            shown += read_to_end(ours)
            running.wait(30)
        return shown
    finally:
        os.close(ours)


@pytest.mark.parametrize("line", READING)
def test_what_a_command_shows_of_others_text_never_steers_the_terminal(
    live: Project, hostile: dict[str, str], line: str
) -> None:
    words = [word.replace("EVIL", EVIL) for word in line.format(**hostile).split()]
    shown = on_a_terminal(live, words)
    assert RAW.search(shown) is None, shown
    assert b"Traceback" not in shown or "evil" in line
    assert b"evil" in shown.lower() or line == "runs", shown


def test_a_watched_status_never_steers_the_terminal_by_an_error_of_others(live: Project, hostile: dict[str, str]) -> None:
    shown = on_a_terminal(live, ["status", "--watch"], until=b"EVIL")
    assert RAW.search(shown) is None, shown


# Another user

STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.settimeout(10)
try:
    client.connect(sys.argv[1])
    client.sendall(b'{"id":1,"command":"status"}\\n')
    heard = client.recv(100)
except (BrokenPipeError, ConnectionResetError):
    heard = b""
except PermissionError:
    heard = b"closed door"
print(heard)
"""


def ask_as_a_stranger(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(path)], cwd="/", capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_kept_out_by_the_folder_and_where_that_is_open_by_the_daemon() -> None:
    root = Path(tempfile.mkdtemp())
    project = Project(root)
    try:
        project.workflow("quick.py", QUICK)
        project.serve()
        door = root / ".tako/tako.sock"
        assert ask_as_a_stranger(door) == "b'closed door'"
        for folder in (root, root / ".tako"):
            folder.chmod(0o711)
        assert ask_as_a_stranger(door) == "b'closed door'"
        door.chmod(0o666)
        assert ask_as_a_stranger(door) == "b''"
        assert project.run("quick", 1)["result"] == 1
        assert "Traceback" not in project.daemon_log()
    finally:
        tear_down(project)
        shutil.rmtree(root)
