"""A queue file of an older release: whoever writes brings it up to date, and nothing in it is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tako_lite.clock import SystemClock
from tako_lite.errors import StoreTooOld
from tako_lite.records import NewRun, new_id
from tako_lite.states import RUN_STATES
from tako_lite.store import migrate
from tako_lite.store.base import RunFilter
from tako_lite.store.migrate import migrations
from tako_lite.store.sqlite.file import APPLICATION_ID, PACKAGE, connect
from tako_lite.store.sqlite.offline import SqliteOfflineStore
from tests.support.queue_file import make_0_1_0, make_older


@pytest.fixture
def older(tmp_path: Path) -> Path:
    file = tmp_path / "queue.db"
    make_older(file)
    return file


def test_reading_an_older_file_says_what_brings_it_up_to_date_and_changes_nothing(older: Path) -> None:
    before = older.read_bytes()
    with pytest.raises(StoreTooOld, match="schema 1") as caught:
        SqliteOfflineStore(older, "disk", SystemClock()).get_totals()
    assert "tako-lite serve" in str(caught.value.hint)
    assert older.read_bytes() == before


def test_writing_to_an_older_file_brings_it_up_to_date_with_all_of_its_runs(older: Path) -> None:
    queue = SqliteOfflineStore(older, "disk", SystemClock())
    made = queue.enqueue_run(NewRun(new_id(), "greet", "default", "default", "{}", 0, 0, 3, fallback="fail", limit_key=""))
    runs = queue.list_runs(RunFilter(), None)
    assert sorted(run.state for run in runs if run.id != made.id) == sorted(RUN_STATES)
    assert {run.fallback for run in runs if run.id != made.id} == {None}
    assert queue.get_totals().counts["default"].pending == 2


def test_what_began_before_the_file_was_brought_up_to_date_counts_for_the_rate(tmp_path: Path) -> None:
    file = tmp_path / "queue.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for step in migrations(PACKAGE)[:2]:
            connection.executescript(step.script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "INSERT INTO starts (workflow, at, run_id) VALUES ('send-sms', 1000, 'one'), ('send-sms', 2000, 'two')"
        )

    SqliteOfflineStore(file, "disk", SystemClock()).enqueue_run(NewRun(new_id(), "greet", "default", "default", "{}", 0, 0, 3))

    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT workflow, key, at, run_id FROM starts ORDER BY at").fetchall()
    assert rows == [("send-sms", "", 1000, "one"), ("send-sms", "", 2000, "two")]


def test_an_upgrade_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_0_1_0(tmp_path / "queue.db", 2_000)
    for name, value in (("QUIET", 0.0), ("EVERY", 0.0), ("OPERATIONS", 1_000)):
        monkeypatch.setattr(migrate, name, value)
    with caplog.at_level("INFO", "tako_lite"):
        connect(tmp_path / "queue.db", "process").close()
    first, *_, last = caplog.messages
    newest = migrations(PACKAGE)[-1].number
    assert first.startswith(f"the upgrade of the queue file from schema 2 to {newest}: statement ")
    assert last.startswith(f"the upgrade of the queue file from schema 2 to {newest} is complete, after ")
