"""The throw-away PostgreSQL server of the tests: shared, and gone with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.postgres import Cluster, Database, Server
from tests.support.project import REPOSITORY, is_gone, wait_until

ONE_TEST = """
    import os, sys, time

    def test_it(postgres):
        os.write(2, (postgres.dsn + chr(10)).encode())
        time.sleep(60)
"""


def inner_run(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A test run of its own with one test on PostgreSQL, which writes the URL to standard error and waits."""
    test = folder / "test_inner.py"
    test.write_text(textwrap.dedent(ONE_TEST))
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-sra", "--rootdir", folder, test],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.postgres
def test_every_test_of_a_process_has_the_same_database_and_a_schema_of_its_own(database: Database, schema: str) -> None:
    database.execute(f"CREATE SCHEMA {schema}")
    assert (schema,) in database.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tako_%'")


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_server_is_gone_after_a_run_that_was_ended_by(postgres: Server, tmp_path: Path, number: signal.Signals) -> None:
    run = inner_run(tmp_path, TAKO_TEST_DSN="")
    assert run.stderr is not None
    folder = Path(run.stderr.readline().strip().partition("host=")[2]).parent
    pid = int((folder / "shared/data/postmaster.pid").read_text().split()[0])
    run.send_signal(number)
    run.communicate()
    wait_until(lambda: not folder.exists() and is_gone(pid), "the server is gone")


@pytest.mark.postgres
def test_a_missing_server_skips_the_test_with_one_line_and_fails_it_where_it_is_required(tmp_path: Path) -> None:
    nowhere = {"PATH": "/nowhere", "TAKO_TEST_PGBIN": "/nowhere", "TAKO_TEST_DSN": ""}
    skipped = inner_run(tmp_path, TAKO_TEST_POSTGRES="", **nowhere)
    lines = skipped.communicate()[0].splitlines()
    assert (skipped.returncode, ["no test runs on PostgreSQL" in line for line in lines].count(True)) == (0, 1), lines
    required = inner_run(tmp_path, TAKO_TEST_POSTGRES="required", **nowhere)
    said = required.communicate()[0]
    assert (required.returncode, "TAKO_TEST_POSTGRES=required, but" in said) == (1, True), said


@pytest.mark.postgres
def test_a_crash_of_a_server_of_ones_own_keeps_what_was_committed(cluster: Cluster) -> None:
    database = cluster.server.make_database("app")
    database.execute("CREATE TABLE orders AS SELECT 1 AS id")
    cluster.restart("immediate")
    assert database.execute("SELECT id FROM orders") == [(1,)]
    cluster.kill()
    cluster.start()
    assert database.execute("SELECT id FROM orders") == [(1,)]


def test_the_gate_requires_postgresql() -> None:
    assert "TAKO_TEST_POSTGRES=required make test-postgres" in (REPOSITORY / ".ci/run").read_text()
