"""The single file, as somebody uses it who has only that, and workflows with an environment of their own."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Database

pytestmark = pytest.mark.binary

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "dist/tako-lite.pyz"
LIMIT = 60

CONFIG = """\
name = "binary"

[workflows.away]
python = "{python}"
"""
WORKFLOW = """\
import sys

import only_there
from tako_lite import Step, workflow


@workflow("greet", worker="away")
async def greet(payload: dict, step: Step) -> dict:
    text = await step.run("text", only_there.greeting, payload["name"])
    return {"text": text, "prefix": sys.prefix, "ours": [name for name in ("click", "rich") if name in sys.modules]}
"""
PACKAGE = """\
def greeting(name):
    return f"hello, {name}"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is not there; `make binary` builds it")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The least that a user has; nothing of this checkout can be imported through it."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """The interpreter of another virtual environment, which has the package `only_there`."""
    home = tmp_path / "elsewhere"
    venv.create(home, symlinks=True, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "only_there").mkdir()
    (packages / "only_there/__init__.py").write_text(PACKAGE)
    return home / "bin/python"


@pytest.fixture
def project(tmp_path: Path, other_python: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "workflows").mkdir(parents=True)
    (folder / "tako.toml").write_text(CONFIG.format(python=other_python))
    (folder / "workflows/greet.py").write_text(WORKFLOW)
    return folder


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Runs the single file with these arguments to its end."""

    def run(*arguments: str, folder: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(BINARY), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)

    return run


@contextmanager
def serving(project: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A daemon in a session of its own, from its first line of output on; the whole session goes at the end."""
    daemon = subprocess.Popen(
        [sys.executable, "-I", str(BINARY), "serve"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield daemon
    finally:
        if daemon.poll() is None:
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.communicate()


def first_output(daemon: subprocess.Popen[str]) -> str:
    """The first line that the daemon prints, waited for with a limit."""
    assert daemon.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(daemon.stdout, selectors.EVENT_READ)
        assert selector.select(LIMIT), "the daemon printed nothing"
    return daemon.stdout.readline()


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command printed as JSON, after it succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_it_can_be_executed_and_names_its_interpreter() -> None:
    assert BINARY.stat().st_mode & stat.S_IXUSR
    with BINARY.open("rb") as file:
        assert file.readline() == b"#!/usr/bin/env python3\n"


def test_it_has_nothing_compiled_and_nothing_of_the_machine_that_built_it() -> None:
    with zipfile.ZipFile(BINARY) as archive:
        names = archive.namelist()
        texts = [archive.read(name) for name in names if name.endswith(("METADATA", "direct_url.json", "RECORD"))]

    assert [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".pyc"))] == []
    assert str(ROOT).encode() not in b"".join(texts)


def test_it_carries_the_licence_of_everything_that_it_bundles() -> None:
    with zipfile.ZipFile(BINARY) as archive:
        names = archive.namelist()
    bundled = {name.split("/")[0] for name in names if ".dist-info/" in name}
    licensed = {name.split("/")[0] for name in names if ".dist-info/" in name and "LICEN" in name.upper()}

    assert bundled
    assert bundled == licensed


def test_it_says_its_version(run: Run) -> None:
    done = run("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] in done.stdout


def test_it_works_by_a_relative_path_from_another_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "link.pyz").symlink_to(BINARY)
    command = [sys.executable, "-I", "link.pyz", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_python_that_is_too_old_is_refused_in_one_line(tmp_path: Path, environment: dict[str, str]) -> None:
    # Runs the entry point of the file under a version number that is not this interpreter's.
    code = f"import runpy, sys; sys.version_info = (3, 10, 13); runpy.run_path({str(BINARY)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tako-lite needs Python 3.11 or newer, and this is 3.10 ")
    assert done.stderr.count("\n") == 1


def test_a_workflow_runs_with_the_dependencies_of_another_environment(
    project: Path, environment: dict[str, str], other_python: Path, run: Run
) -> None:
    with serving(project, environment) as daemon:
        first_output(daemon)
        finished = answer(run("enqueue", "greet", '{"name": "ada"}', "--wait", "--timeout", "30s", "--json", folder=project))
        status = answer(run("status", "--json", folder=project))
        daemon.terminate()
        output, _ = daemon.communicate(timeout=LIMIT)

    assert finished["state"] == "succeeded"
    assert finished["result"] == {"text": "hello, ada", "prefix": str(other_python.parents[1]), "ours": []}
    assert [step["name"] for step in finished["steps"]] == ["text"]
    assert status["daemon"]["pid"] == daemon.pid
    assert "away" in {group["name"] for group in status["groups"]}
    assert daemon.returncode == 0, output


def test_the_queue_outlives_the_daemon(project: Path, environment: dict[str, str], run: Run) -> None:
    queued = answer(run("enqueue", "greet", '{"name": "grace"}', "--json", folder=project))
    assert queued["state"] == "pending"

    with serving(project, environment) as daemon:
        first_output(daemon)
        waited = run("enqueue", "greet", '{"name": "ada"}', "--wait", "--timeout", "30s", "--json", folder=project)
        assert answer(waited)["state"] == "succeeded"
        daemon.terminate()
        daemon.communicate(timeout=LIMIT)

    assert answer(run("show", queued["id"], "--json", folder=project))["result"]["text"] == "hello, grace"


def test_its_daemon_starts_the_dashboard_from_the_file(project: Path, environment: dict[str, str]) -> None:
    with (project / "tako.toml").open("a") as file:
        file.write('\n[web]\nlisten = "unix:web.sock"\nauth = "none"\n')
    with serving(project, environment) as daemon, socket.socket(socket.AF_UNIX) as client:
        first_output(daemon)
        client.settimeout(LIMIT)
        client.connect(str(project / "web.sock"))
        client.sendall(b"GET /runs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = b"".join(iter(lambda: client.recv(65_536), b""))
    assert reply.startswith(b"HTTP/1.1 200")
    assert "<title>Runs · binary</title>" in reply.decode()


@pytest.fixture
def in_database(project: Path, database: Database, schema: str) -> Path:
    """The project, with its queue in PostgreSQL."""
    (project / "tako.toml").write_text(
        (project / "tako.toml").read_text() + f'\n[queue]\nurl = "{database.url}"\nschema = "{schema}"\n'
    )
    return project


def test_it_brings_the_driver_of_postgresql_and_uses_the_libpq_of_the_system(
    in_database: Path, environment: dict[str, str], run: Run
) -> None:
    environment["PSYCOPG_IMPL"] = "python"  # the environment of the tests has the compiled part, which a bare Python lacks
    with serving(in_database, environment) as daemon:
        first_output(daemon)
        finished = answer(
            run("enqueue", "greet", '{"name": "ada"}', "--wait", "--timeout", "30s", "--json", folder=in_database)
        )
        findings = json.loads(run("doctor", "--json", folder=in_database).stdout)["findings"]
        daemon.terminate()
        daemon.communicate(timeout=LIMIT)

    assert (finished["state"], finished["result"]["text"]) == ("succeeded", "hello, ada")
    assert "database" in {finding["check"] for finding in findings if finding["level"] == "ok"}


def test_without_libpq_it_says_what_to_install(in_database: Path, environment: dict[str, str]) -> None:
    # The entry point of the file, on a machine that has neither libpq nor the compiled part.
    code = (
        "import ctypes.util, runpy, sys; ctypes.util.find_library = lambda name: None;"
        f"sys.modules |= dict.fromkeys(('psycopg_c', 'psycopg_binary')); sys.argv[1:] = ['status'];"
        f"runpy.run_path({str(BINARY)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=in_database, env=environment, capture_output=True, text=True, timeout=LIMIT
    )

    assert (done.returncode, done.stdout) == (4, "")
    assert "error: url is postgresql://…, which needs libpq" in done.stderr
    assert "hint: pip install 'tako-lite[postgres]', or psycopg with the system's libpq: apt install libpq5" in done.stderr
