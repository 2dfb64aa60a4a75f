"""A project outgrows its file: the queue moves into PostgreSQL with everything that is in it, and back."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import PostgresBackend, SqliteBackend
from tests.support.postgres import Database
from tests.support.project import Project, wait_until
from tests.support.restore import WORKFLOWS
from tests.support.runs import release

pytestmark = pytest.mark.postgres


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project whose queue is a file at first."""
    made = Project(tmp_path, SqliteBackend())
    yield made
    made.close()


@pytest.fixture
def there(database: Database, project: Project) -> Iterator[PostgresBackend]:
    backend = PostgresBackend(database)
    yield backend
    project.close()
    database.drop_schema(backend.schema(project.root))


def everything(project: Project) -> dict[str, Any]:
    """What a client can see of the queue."""
    with project.client() as client:
        runs = {run["id"]: client.get(run["id"]) for run in client.call("runs", limit=100)["runs"]}
        schedules = client.call("schedules")["schedules"]
        paused = {group["name"] for group in client.status()["groups"] if group["state"] == "paused"}
    for run in runs.values():
        run.pop("worker_pid"), run.pop("in_flight", None)
    return {"runs": runs, "schedules": [{**schedule, "next_at": None} for schedule in schedules], "paused": paused}


def copy_to(project: Project, there: PostgresBackend, *options: str) -> Any:
    schema = there.schema(project.root)
    return project.command("copy-queue", "--to", there.database.url, "--schema", schema, *options)


def test_a_queue_moves_into_a_database_with_runs_in_every_state_and_its_work_continues(
    project: Project, there: PostgresBackend
) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.run("quick", "kept")
    dead = project.run("fails")["id"]
    running, waiting = project.enqueue("hold"), project.enqueue("waits", "later")
    project.wait_for_fact("second")
    project.wait_for_state(waiting, "waiting")
    project.call("signal", event="sent", payload="in time")
    project.call("pause_schedule", workflow="yearly", paused=True)
    project.call("pause", group="other")
    pending = project.enqueue("quick", "p" * 5_000, unique_key="k")

    refused = copy_to(project, there)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (6, "hint: stop it: tako-lite stop")
    project.stop(signal.SIGKILL)
    wait_until(lambda: not project.survivors(), "its workers are gone")
    before = everything(project)
    assert before["runs"][running]["state"] == "running"

    copied = copy_to(project, there)
    assert copied.returncode == 0, copied.stderr
    assert "copied 5 runs to postgresql://" in copied.stdout
    assert "5 runs to " + there.database.url not in copied.stdout  # the options of the URL are not for reading
    written = copied.stdout.partition("[queue]\n")[2].splitlines()[:2]
    project.backend = there
    (project.root / "tako.toml").write_text("\n".join(['name = "test"', "[queue]", *written]))
    assert everything(project) == before

    project.serve()
    project.call("resume", group="other")
    release(project)
    assert project.wait(running)["result"] == 7
    assert [len(project.facts(kind)) for kind in ("first", "second")] == [1, 2]
    assert project.wait(pending)["result"] == "p" * 5_000
    project.call("signal", event="later", payload="found it")
    assert project.wait(waiting)["result"] == "found it"
    assert project.run("waits", "sent")["result"] == "in time"
    assert project.get(dead)["state"] == "dead"
    (yearly,) = project.call("schedules")["schedules"]
    assert yearly["paused"]


def test_the_way_back_is_a_backup_or_a_copy(project: Project, there: PostgresBackend) -> None:
    project.workflow("a.py", WORKFLOWS)
    ids = [project.enqueue("quick", "x" * 3_000), project.enqueue("waits", "go")]
    assert copy_to(project, there).returncode == 0
    project.backend = there
    project.configure("")
    before = everything(project)
    project.serve()
    asked = project.command("backup", "there.db", "--json")
    assert (project.root / "there.db").stat().st_mode & 0o777 == 0o600
    assert json.loads(asked.stdout)["bytes"] == (project.root / "there.db").stat().st_size
    assert project.wait(ids[0])["state"] == "succeeded"
    assert project.command("copy-queue", "--to", "sqlite:///back.db").returncode == 6
    project.stop()
    copied = project.command("copy-queue", "--to", "sqlite:///back.db")
    assert copied.returncode == 0, copied.stderr
    assert "# and remove the old one's schema\n" in copied.stdout
    for name in ("there.db", "back.db"):
        with closing(sqlite3.connect(project.root / name)) as file:
            assert {id for (id,) in file.execute("SELECT id FROM runs")} == set(ids)
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    refused = project.command("restore", "there.db")
    assert (refused.returncode, "is not empty: it has 2 runs" in refused.stderr) == (2, True)
    assert "ALTER SCHEMA" in refused.stderr
    there.database.drop_schema(there.schema(project.root))
    restored = project.command("restore", "there.db")
    assert restored.returncode == 0, restored.stderr
    assert set(everything(project)["runs"]) == set(before["runs"])


def test_what_cannot_be_copied_to_is_named(project: Project, there: PostgresBackend) -> None:
    for url, code, words in (
        ("mysql://db/app", 2, "--to is the URL of no queue"),
        ("postgresql://shop:secret@db/app", 2, "--to has a password in it"),
        ("sqlite:///.tako/queue.db", 2, "is the queue itself"),
        ("sqlite:///other.db", 5, "nothing was ever enqueued here"),
        ("postgresql://127.0.0.1:1/app", 4, "does not answer"),
    ):
        if url.endswith("1/app"):
            assert project.command("migrate").returncode == 0
        refused = project.command("copy-queue", "--to", url)
        assert (refused.returncode, words in refused.stderr) == (code, True), refused
        assert "secret" not in refused.stderr
    assert project.command("copy-queue", "--to", "sqlite:///other.db", "--schema", "x").returncode == 2
    assert project.command("copy-queue", "--to", "postgresql://db/app", "--schema", "public").returncode == 2
    assert project.command("copy-queue", "--to", "postgresql://db/app", "--password", "secret").returncode == 2


def test_people_read_of_a_database_where_the_queue_is_one(project: Project, there: PostgresBackend) -> None:
    project.backend = there
    project.configure("")
    assert project.command("migrate").returncode == 0
    offline, config = project.command("status"), project.command("config").stdout
    schema = there.schema(project.root)
    assert "queue file" not in offline.stdout + offline.stderr
    assert f"(schema {schema}), " in offline.stdout.splitlines()[-1]
    assert offline.stdout.splitlines()[-1].startswith("queue postgresql://tako@/")
    assert f"(schema{schema})(durabilitydisk)" in "".join(config.split())
    refused = project.command("doctor", "--rescue", "new.db")
    assert (refused.returncode, "only a queue file can be rescued" in refused.stderr) == (2, True)
    project.serve()
    assert json.loads(project.command("status", "--json").stdout)["queue"]["schema"] == schema
    assert "queue file" not in project.command("status").stdout + project.command("doctor").stdout


def test_migrate_says_what_it_did_or_prints_the_sql(project: Project, there: PostgresBackend) -> None:
    assert project.command("migrate").stdout.startswith(f"created {project.root / '.tako/queue.db'}: 0001_create_queue")
    assert "is up to date: version " in project.command("migrate").stdout
    assert project.command("migrate", "--sql").returncode == 2
    project.backend = there
    project.configure("")
    assert "CREATE TABLE runs" in project.command("migrate", "--sql").stdout
    assert json.loads(project.command("migrate", "--json").stdout)["applied"][0] == "0001_create_queue"
    assert "CREATE TABLE runs" not in project.command("migrate", "--sql").stdout
