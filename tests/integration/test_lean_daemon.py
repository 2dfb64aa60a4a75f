"""What an idle daemon and its fork server have in memory: nothing that they do not need, and much of it once for both."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite.linux import read_process
from tests.support.project import Project, wait_until

LOOK = """
    import sys
    imported = sorted(sys.modules)

    @workflow("look")
    async def look(payload):
        return {"imported": imported, "argv": sys.argv, "main": sys.modules["__main__"].__file__}
"""
NOT_IN_THE_DAEMON = {
    *("rich", "click", "tomlkit", "anyio", "psycopg", "jinja2", "uvicorn"),  # packages for other commands
    *("cronsim", "zoneinfo", "calendar"),  # for schedules, of which the project has none
    *("email", "http", "urllib.request", "importlib.metadata", "importlib.resources", "zipfile", "tempfile", "secrets"),
    *("tako_lite.cli.app", "tako_lite.web", "tako_lite.tui", "tako_lite.dev", "tako_lite.step", "tako_lite.daemon.monitor"),
}
NOT_IN_THE_FORK_SERVER = NOT_IN_THE_DAEMON - {"tako_lite.step"} | {
    *("aiosqlite", "sqlite3", "tomllib", "importlib.resources"),
    *("tako_lite.cli", "tako_lite.daemon", "tako_lite.store", "tako_lite.config", "tako_lite.catalog", "tako_lite.routing"),
}


@pytest.fixture(scope="module")
def cold(live: Project) -> Iterator[Project]:
    """The shared project, served by a program that was started as people start it."""
    live.workflow("look.py", LOOK)
    live.stop()
    live.serve(PYTHONPROFILEIMPORTTIME="1", PASSWORD="sesame")
    yield live


def fork_server(project: Project) -> int | None:
    pid: int | None = project.status()["daemon"]["zygote_pid"]
    return pid


@pytest.mark.sqlite
def test_an_idle_daemon_has_not_imported_what_only_other_commands_need(cold: Project) -> None:
    log = cold.daemon_log().split("| encodings\n")[-1]  # the import that comes first in each program
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}
    assert {"tako_lite.daemon.daemon", "aiosqlite"} <= imported
    assert imported & NOT_IN_THE_DAEMON <= {"tako_lite.step"}  # the fork server needs this one


def test_a_worker_begins_with_the_worker_s_runtime_and_nothing_of_the_daemon(cold: Project) -> None:
    seen = cold.run("look")["result"]
    assert "tako_lite.worker.main" in seen["imported"]
    assert set(seen["imported"]) & NOT_IN_THE_FORK_SERVER == set()
    assert Path(seen["main"]).name == "boot.py" and seen["argv"] == [seen["main"]]


def test_the_fork_server_of_a_daemon_that_was_just_started_is_a_fork_of_it(cold: Project) -> None:
    daemon, zygote = cold.status()["daemon"]["pid"], fork_server(cold)
    assert zygote is not None
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in (daemon, zygote)]
    assert b"tako_lite" in shown[0] and b"serve" in shown[0] and b"serve" not in shown[1]
    assert shown[0][:3] == shown[1][:3]  # the interpreter, boot.py, the package
    process = read_process(zygote)
    assert process is not None and (process.parent, process.session) == (daemon, zygote)
    for pid in (daemon, zygote):
        assert b"PASSWORD" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.readlink(f"/proc/{zygote}/cwd") == str(cold.root)
    open_files = {number: os.readlink(f"/proc/{zygote}/fd/{number}") for number in os.listdir(f"/proc/{zygote}/fd")}
    assert {open_files.pop(str(stream)) for stream in range(3)} == {"/dev/null"}
    assert all(target.startswith("socket:") for target in open_files.values())


def test_a_fork_server_that_was_a_fork_is_replaced_by_a_new_process_when_it_dies(cold: Project) -> None:
    before = fork_server(cold)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: fork_server(cold) is None, "the dead fork server is noticed")
    cold.call("scale", group="default", workers=2)
    wait_until(lambda: fork_server(cold) not in (before, None), "a new one forks the second worker")
    assert "tako_lite.worker.main" in cold.run("look")["result"]["imported"]
