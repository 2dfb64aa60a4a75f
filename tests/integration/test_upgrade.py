"""A queue file of version 0.1.0, killed while today's release brings it up to date."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.project import Project, wait_until
from tests.support.queue_file import make_0_1_0, queue_file

pytestmark = pytest.mark.sqlite

KILLED = """
import os, signal, sys
from pathlib import Path
import tako_lite.store.migrate as migrate
from tako_lite.store.sqlite.file import connect

file, statement, operations = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

class Killed(migrate._Progress):
    left = None

    def begin(self, step, done):
        super().begin(step, done)
        self.left = operations if done == statement else None
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self):
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().tell()

migrate.OPERATIONS = 100
migrate._Progress = Killed
connect(file, "disk")
"""
BEFORE_OR_IN = ((0, 0), (2, 20), (13, 10), (18, 30), (20, 0), (26, 0))
"""Statements, and after how many hundred operations of one the process is killed; 0 is before it."""


def test_a_large_upgrade_that_is_killed_anywhere_starts_over_and_its_runs_continue(project: Project) -> None:
    file = queue_file(project)
    file.parent.mkdir(mode=0o700)
    make_0_1_0(file, 1_000)
    for statement, operations in BEFORE_OR_IN:
        command = [sys.executable, "-c", KILLED, str(file), str(statement), str(operations)]
        ended = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert ended.returncode == -signal.SIGKILL, (statement, operations, ended.stderr)
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1_000,)
    project.configure("[workflows]\nconcurrency = 100\n")
    source = "from tako_lite import workflow\n@workflow('greet')\nasync def greet(payload): ...\n"
    (project.root / "workflows" / "a.py").write_text(source)
    project.serve()
    wait_until(lambda: counts(file) == {"succeeded": 750, "dead": 250}, "the runs of the older file have ended")


def counts(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall())
