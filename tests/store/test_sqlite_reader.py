"""The connection of the dashboard: it sees every commit, and never stands in the way of the daemon."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tako_lite.clock import SystemClock
from tako_lite.errors import ReadTimeout, StoreDamaged
from tako_lite.new_run import NewRun
from tako_lite.records import new_id
from tako_lite.store import reading
from tako_lite.store.base import RunFilter
from tako_lite.store.sql import Statement
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.offline import SqliteOfflineStore
from tako_lite.store.sqlite.reader import SqliteReader
from tako_lite.store.transitions.transaction import Snapshot

FOREVER = Statement("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def reader(file: Path) -> Iterator[SqliteReader]:
    made = SqliteReader(file)
    yield made
    made.close()


def enqueue(file: Path) -> None:
    store = SqliteOfflineStore(file, "process", SystemClock())
    store.enqueue_run(NewRun(new_id(), "a", "default", "workflow", "1", 0, 0, 1))


def count(reader: SqliteReader) -> int:
    return len(reader.read(lambda snapshot: reading.list_runs(snapshot, RunFilter(), None), [], 5))


def test_before_there_is_a_queue_nothing_is_read_and_no_file_is_made(file: Path, reader: SqliteReader) -> None:
    assert reader.version() is None
    assert count(reader) == 0
    file.touch()
    assert (reader.version(), count(reader)) == (None, 0), "its tables are not created yet"
    enqueue(file)
    assert count(reader) == 1


def test_the_version_changes_with_every_commit_of_others_and_only_then(file: Path, reader: SqliteReader) -> None:
    enqueue(file)
    first = reader.version()
    assert count(reader) == 1
    assert reader.version() == first
    enqueue(file)
    assert reader.version() != first


def test_a_file_that_was_replaced_is_opened_again(file: Path, reader: SqliteReader) -> None:
    enqueue(file)
    enqueue(file)
    before = reader.version()
    assert count(reader) == 2
    for each in file.parent.glob("queue.db*"):
        each.unlink()
    enqueue(file)
    assert count(reader) == 1
    assert reader.version() != before


def test_a_read_that_takes_too_long_is_stopped_and_the_next_one_works(file: Path, reader: SqliteReader) -> None:
    enqueue(file)
    with pytest.raises(ReadTimeout, match="took longer than 10ms"):
        reader.read(lambda snapshot: snapshot.value(FOREVER), 0, 0.01)
    assert count(reader) == 1


def test_nothing_stays_open_that_would_stop_a_checkpoint(file: Path, reader: SqliteReader) -> None:
    enqueue(file)
    with closing(connect(file, "process")) as writer:
        for _ in range(3):
            writer.execute("UPDATE runs SET priority = priority + 1")
            assert count(reader) == 1
            busy, pages, moved = writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            assert (busy, pages) == (0, moved)


def test_it_cannot_write(file: Path, reader: SqliteReader) -> None:
    def write(snapshot: Snapshot) -> None:
        snapshot.value(Statement("DELETE FROM runs"))

    enqueue(file)
    with pytest.raises(Exception, match="readonly"):
        reader.read(write, None, 5)
    assert count(reader) == 1


def test_a_file_of_another_program_is_refused(file: Path, reader: SqliteReader) -> None:
    file.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreDamaged):
        count(reader)
    assert sqlite3.threadsafety == 3, "threads share the connection"
