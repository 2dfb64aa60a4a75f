"""The password of the database: where it may not be seen, and what happens when it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.backends import SqliteBackend
from tests.support.postgres import Cluster, connected
from tests.support.project import Project, wait_until

USER = "shop"
OLD, NEW = "t0p-s3cret-one", "t0p-s3cret-two"
WORKFLOW = """
    @workflow("look")
    async def look(payload):
        return dict(os.environ)
"""


@pytest.fixture
def locked(cluster: Cluster) -> Cluster:
    """A server that asks the user `shop` for a password."""
    rules = cluster.data / "pg_hba.conf"
    rules.write_text(f"local all {USER} scram-sha-256\n{rules.read_text()}")
    with connected(cluster.server.dsn) as admin:
        admin.execute("SELECT pg_reload_conf()")
        admin.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{OLD}'")
        admin.execute(f"CREATE DATABASE app OWNER {USER}")
    return cluster


@pytest.fixture
def project(tmp_path: Path, locked: Cluster) -> Iterator[Project]:
    made = Project(tmp_path, SqliteBackend())
    (made.root / "password").write_text(f"{OLD}\n")
    url = f"postgresql://{USER}@/app?host={urlsplit(locked.server.dsn).query.removeprefix('host=')}"
    made.configure(f'[queue]\nurl = "{url}"\npassword = "file:password"\n')
    made.workflow("a.py", WORKFLOW)
    yield made
    made.close()


def processes(project: Project) -> list[Path]:
    """Every process of a project's daemon."""
    assert project.process is not None
    session = [Path(f"/proc/{pid}") for pid in {project.process.pid, *project.survivors()}]
    return [path for path in session if path.exists()]


def test_the_password_is_in_no_argument_list_log_status_error_or_worker(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.configure((project.root / "tako.toml").read_text().partition("\n")[2].replace("file:password", "env:SHOP_PASSWORD"))
    for name, value in {"SHOP_PASSWORD": OLD, "PGAPPNAME": OLD, "PGPASSFILE": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    project.serve(SHOP_PASSWORD=OLD, PGAPPNAME=OLD)
    seen = project.run("look")["result"]
    assert OLD not in json.dumps(seen)
    assert [name for name in seen if name.startswith("PG") or name == "SHOP_PASSWORD"] == []
    for process in processes(project):
        assert OLD.encode() not in (process / "cmdline").read_bytes()
        if project.process is not None and process.name != str(project.process.pid):
            assert b"SHOP_PASSWORD" not in (process / "environ").read_bytes()
    texts = [project.daemon_log()]
    commands = (["status", "--json"], ["config", "--json"], ["doctor", "--json"], ["config"], ["check"], ["migrate", "--sql"])
    for command in commands:
        done = project.command(*command)
        texts += [done.stdout, done.stderr]
    project.stop()
    monkeypatch.setenv("SHOP_PASSWORD", NEW)
    refused = project.command("status")
    assert (refused.returncode, "refuses the login" in refused.stderr) == (4, True), refused
    assert "check `password` in [queue]" in refused.stderr
    texts += [refused.stdout, refused.stderr, project.command("doctor").stdout, project.daemon_log()]
    for file in (project.root / ".tako").rglob("*"):
        texts += [file.read_text(errors="replace")] if file.is_file() else []
    assert [text for text in texts if OLD in text or NEW in text] == []


def test_a_password_that_was_changed_is_told_with_what_to_do_and_read_again(project: Project, locked: Cluster) -> None:
    project.serve()
    assert project.run("look")["state"] == "succeeded"
    with connected(locked.server.dsn) as admin:
        admin.execute(f"ALTER ROLE {USER} PASSWORD '{NEW}'")
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
    wait_until(lambda: "refuses the login" in project.daemon_log(), "the log tells it", 30)
    assert "check `password` in [queue]" in project.daemon_log()
    fresh = project.root / "password.new"
    fresh.write_text(NEW)
    os.replace(fresh, project.root / "password")
    wait_until(lambda: project.command("enqueue", "look").returncode == 0, "enqueues are stored again", 30)
    assert project.run("look")["state"] == "succeeded"
    assert OLD not in project.daemon_log()


def test_a_url_from_the_environment_may_hold_the_password(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (project.root / "tako.toml").read_text()
    url = text.partition('url = "')[2].partition('"')[0].replace(f"{USER}@", f"{USER}:{OLD}@")
    (project.root / "tako.toml").write_text('name = "test"\n[queue]\nurl = "env:SHOP_URL"\n')
    monkeypatch.setenv("SHOP_URL", url)
    assert project.command("migrate").returncode == 0
    for command in (["status", "--json"], ["config", "--json"], ["config"], ["doctor"]):
        done = project.command(*command)
        assert OLD not in done.stdout + done.stderr
    assert f"postgresql://{USER}@/app" in project.command("config").stdout


def test_the_variables_and_the_service_file_of_libpq_are_used(
    project: Project, locked: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", OLD)
    monkeypatch.setenv("PGUSER", USER)
    monkeypatch.setenv("PGHOST", str(locked.folder))
    (project.root / "tako.toml").write_text('name = "test"\n[queue]\nurl = "postgresql:///app"\n')
    assert project.command("migrate").returncode == 0
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.delenv("PGHOST")
    services, passwords = project.root / "services", project.root / "passwords"
    services.write_text(f"[shop]\nhost={locked.folder}\ndbname=app\nuser={USER}\n")
    passwords.write_text(f"*:*:app:{USER}:{OLD}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    (project.root / "tako.toml").write_text('name = "test"\n[queue]\nurl = "postgresql:///?service=shop"\n')
    assert project.command("migrate").stdout.startswith("postgresql://")
