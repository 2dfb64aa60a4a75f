"""`restore`: a queue is replaced by a sound backup only, and is kept."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tako_lite.client import Client
from tako_lite.states import RUN_STATES
from tests.support.project import command_in
from tests.support.queue_file import make_older


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with one run in its queue, and a backup without it."""
    root = tmp_path / "shop"
    (root / "workflows").mkdir(parents=True)
    (root / "tako.toml").touch()
    (root / "workflows/a.py").write_text("from tako_lite import workflow\n@workflow('greet')\nasync def greet(payload): ...\n")
    with Client(root) as client:
        client.enqueue("greet", "before")
        client.call("backup", file=str(root / "backup.db"))
        client.enqueue("greet", "after")
    return root


def payloads(root: Path) -> list[str]:
    with Client(root) as client:
        return sorted(run["payload"] for run in client.call("runs")["runs"])


def restored(root: Path, *words: str) -> dict[str, str]:
    done = command_in(root, "restore", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_old_queue_is_kept_beside_the_restored_one_and_can_be_restored_itself(shop: Path) -> None:
    old = restored(shop, "backup.db")["replaced"]
    assert payloads(shop) == ["before"]
    assert old.startswith(f"{shop}/.tako/queue.db.replaced-")
    said = command_in(shop, "restore", old).stdout
    assert payloads(shop) == ["after", "before"]
    assert said.count("queue.db.replaced-") == 3
    assert len(list((shop / ".tako").glob("queue.db.replaced-*"))) == 2
    assert {file.stat().st_mode & 0o777 for file in (shop / ".tako").glob("queue.db*")} == {0o600}


def test_without_a_queue_the_backup_becomes_it(shop: Path) -> None:
    for file in (shop / ".tako").glob("queue.db*"):
        file.unlink()
    (shop / ".tako").rename(shop / "elsewhere")
    assert restored(shop, "backup.db")["replaced"] is None
    assert payloads(shop) == ["before"]


def test_a_backup_of_an_older_release_and_a_copy_with_its_log_are_restored_whole(shop: Path, tmp_path: Path) -> None:
    make_older(tmp_path / "older.db")
    restored(shop, str(tmp_path / "older.db"))
    with Client(shop) as client:
        client.enqueue("greet", "now")  # brings the file up to date
        assert client.call("count")["count"] == len(RUN_STATES) + 1
    with closing(sqlite3.connect(shop / "backup.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE runs SET payload = '\"in the log\"'")
        restored(shop, "backup.db")
    assert payloads(shop) == ["in the log"]


def damage(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096 * 2)
        opened.write(b"\xff" * 4096)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def make_another_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE somebody (els)")


def make_newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as newer:
        newer.execute("PRAGMA user_version = 9999")


REFUSED: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "damaged": (damage, 1, "is damaged"),
    "cut off": (truncate, 1, "is damaged"),
    "no database": (lambda file: file.write_text("not a database, but text " * 100), 1, "file is not a database"),
    "another database": (make_another_database, 1, "not a queue of tako-lite"),
    "empty": (lambda file: file.write_bytes(b""), 1, "is an empty database"),
    "of a newer release": (make_newer, 1, "newer"),
    "missing": (Path.unlink, 2, "does not exist"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), 2, "is not a file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_backup_that_is_no_sound_queue_changes_nothing(kind: str, shop: Path) -> None:
    spoil, code, message = REFUSED[kind]
    spoil(shop / "backup.db")
    before = sorted((file.name, file.stat().st_ino) for file in (shop / ".tako").iterdir())
    refused = command_in(shop, "restore", "backup.db")
    assert (refused.returncode, message in refused.stderr) == (code, True), refused.stderr
    assert sorted((file.name, file.stat().st_ino) for file in (shop / ".tako").iterdir()) == before
    assert payloads(shop) == ["after", "before"]


def test_the_queue_is_no_backup_of_itself(shop: Path) -> None:
    refused = command_in(shop, "restore", ".tako/queue.db")
    assert (refused.returncode, "is the queue itself" in refused.stderr) == (2, True)
