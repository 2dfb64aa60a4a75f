"""A queue is copied as a whole: from a file into a database, and back."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tako_lite.errors import BadInput, StoreError
from tako_lite.records import Activity, Failure, Schedule, StoredTrigger, new_id
from tako_lite.store.base import Effects, Limit, MinuteTotals
from tako_lite.store.copying import TABLES, copy
from tako_lite.store.opening import Queue, queue_at
from tako_lite.store.postgres.copying import PostgresSide
from tako_lite.units import Rate
from tests.support.backends import open_store
from tests.support.postgres import Database
from tests.support.store_bench import LARGE, LARGEST, WORKER, Bench, HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HOUR = 3_600_000
ONLY_THERE = {"lost", "delivered"}
"""Columns that only PostgreSQL has."""


@pytest.fixture
def in_database(database: Database, schema: str, tmp_path: Path) -> Queue:
    return queue_at(database.url, tmp_path, schema=schema)


@pytest.fixture
async def in_file(tmp_path: Path) -> AsyncIterator[Bench]:
    """A queue file with something in every table."""
    queue = file_queue(tmp_path / "queue.db")
    clock, effects = HandClock(), list[Effects]()
    store = open_store(queue, clock, effects.append)
    await store.start()
    bench = Bench(store, clock, effects, queue)
    await fill(bench)
    yield bench
    await store.stop()


def file_queue(path: Path) -> Queue:
    return queue_at(f"sqlite:///{path}", path.parent)


def copy_queue(source: Queue, target: Queue) -> dict[str, int]:
    with source.open_source() as left, target.open_target() as right:
        return copy(left, right).rows


def everything(queue: Queue) -> dict[str, list[str]]:
    """The rows of every table, in order; booleans are numbers, as in SQLite."""
    with queue.open_source() as source:
        columns = {table: [name for name in sorted(source.columns(table)) if name not in ONLY_THERE] for table in TABLES}
        return {table: sorted(repr([*map(plain, row)]) for row in source.read_rows(table, columns[table])) for table in TABLES}


def plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


async def fill(bench: Bench) -> None:
    store, now = bench.store, bench.clock.now()
    await store.set_limits({"one": Limit(1), "paced": Limit(rate=Rate(1, 60.0))})
    await store.put_schedules([Schedule("tick", "* * * * *", "UTC", "all", now, None, False)], now)
    await store.pause_schedule("tick", True, now)
    await store.put_triggers([StoredTrigger("files", "media", "greet", 30_000, cursor='{"é": "\\u0000"}')])
    assert await store.begin_evaluation("files", bench.new(workflow="@files", group="media", payload="null"))
    await store.pause_group("media", True)
    await store.scale_group("other", 7)
    await bench.ended("succeeded")
    bench.clock.move(HOUR)
    await store.prune_runs({"succeeded": HOUR // 2}, 10)
    for state in ("pending", "running", "waiting", "succeeded", "cancelled", "dead"):
        await bench.in_state(state)
    await bench.add(payload=LARGEST, run_at=bench.clock.now() + HOUR, unique_key="k", tenant="acme", priority=-3)
    run = await bench.running(payload=LARGE)
    await store.save_steps([bench.step(run, "one", LARGE), bench.step(run, "two"), bench.step(run, "bad", error='"no"')])
    await store.set_progress(run.id, run.token, 0.1 + 0.2, "half\tway")
    await bench.complete(run, LARGE)
    failing = await bench.running(max_attempts=9)
    failure = Failure("ValueError", "x" * 3_000, None, None, "1aaa")
    await store.reschedule_run(failing.id, failing.token, failure, bench.clock.now() + 5, WORKER, charged=True)
    await store.store_signal("early", LARGE)
    for workflow in ("one", "paced"):
        for _ in range(3):
            await bench.add(workflow=workflow, group=workflow, limit_key="", rate_key="" if workflow == "paced" else None)
        for claimed in (await store.claim_runs(workflow, 3)).runs:
            await store.mark_run_begun(claimed.id, claimed.token)
    await store.record_minutes([MinuteTotals(4, "g", "greet", 1, 1, 0, 0, 0, 5, 7, (1, 0), (0, 1))])
    await store.record_activity(Activity(new_id(), now, "ann", "cli", "cancel", "all", {"états": ["dead"]}))


async def test_everything_of_a_file_comes_into_a_database_and_back_unchanged(in_file: Bench, in_database: Queue) -> None:
    before = everything(in_file.queue)
    assert [table for table in TABLES if not before[table]] in ([], ["code"])
    rows = copy_queue(in_file.queue, in_database)
    assert rows == {table: len(found) for table, found in before.items()}
    assert everything(in_database) == before
    back = file_queue(Path(in_file.queue.address).with_name("back.db"))
    copy_queue(in_database, back)
    assert everything(back) == before
    with closing(sqlite3.connect(back.address)) as file, closing(sqlite3.connect(in_file.queue.address)) as first:
        question = "SELECT run_id, kind, length(value) FROM large_values ORDER BY 1, 2"
        assert file.execute(question).fetchall() == first.execute(question).fetchall() != []


def test_every_table_and_column_is_copied_but_those_about_servers(in_database: Queue, tmp_path: Path) -> None:
    with file_queue(tmp_path / "queue.db").open_target() as file, in_database.open_target() as target:
        assert isinstance(target, PostgresSide)
        found = target.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema").fetchall()
        only_here = {name for (name,) in found} - {*TABLES}
        assert only_here <= {"meta", "servers", "server_groups", "handlers", "limits", "chores", "progress", "awaited"}
        for table in TABLES:
            assert set(target.columns(table)) - set(file.columns(table)) <= ONLY_THERE
            assert set(file.columns(table)) <= set(target.columns(table))


async def test_a_database_copies_into_another_schema_with_what_only_databases_have(
    in_file: Bench, in_database: Queue, database: Database, tmp_path: Path
) -> None:
    copy_queue(in_file.queue, in_database)
    other = queue_at(database.url, tmp_path, schema="tako_other")
    database.drop_schema("tako_other")
    try:
        copy_queue(in_database, other)
        assert everything(other) == everything(in_database)
    finally:
        database.drop_schema("tako_other")


async def test_a_queue_with_anything_in_it_is_refused_and_left_alone(in_file: Bench, in_database: Queue) -> None:
    copy_queue(in_file.queue, in_database)
    before = everything(in_database)
    with pytest.raises(BadInput, match=r"\(schema tako_\w+\) is not empty: it has 16 runs"):
        copy_queue(in_file.queue, in_database)
    with pytest.raises(BadInput, match="is not empty"):
        copy_queue(in_database, in_file.queue)
    assert everything(in_database) == before


async def test_a_copy_that_fails_in_the_middle_leaves_the_target_empty(
    in_file: Bench, in_database: Queue, database: Database, schema: str
) -> None:
    with in_database.open_target():
        pass
    database.execute("ALTER TABLE activity ADD CONSTRAINT no CHECK (actor <> 'ann')", schema=schema)
    with pytest.raises(StoreError, match='violates check constraint "no"'):
        copy_queue(in_file.queue, in_database)
    with in_database.open_source() as source:
        assert {source.count(table) for table in TABLES} == {0}


async def test_a_copy_that_lost_a_row_is_not_committed(
    in_file: Bench, in_database: Queue, database: Database, schema: str
) -> None:
    with in_database.open_target():
        pass
    database.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER lose BEFORE INSERT ON signals FOR EACH ROW EXECUTE FUNCTION lose()",
        schema=schema,
    )
    with pytest.raises(StoreError, match=r"the copy has 0 rows of 1 in signals, so nothing was stored"):
        copy_queue(in_file.queue, in_database)
    with in_database.open_source() as source:
        assert source.count("runs") == 0


async def test_characters_that_a_database_cannot_hold_are_replaced_and_counted(in_file: Bench, in_database: Queue) -> None:
    await in_file.add(tenant="a\0b", payload='"\\u0000 stays: it is written out"')
    with in_file.queue.open_source() as left, in_database.open_target() as right:
        assert copy(left, right).replaced == 1
    assert any("a\ufffdb" in row for row in everything(in_database)["runs"])


async def test_a_backup_of_a_database_is_a_queue_file_that_only_its_owner_reads(
    in_file: Bench, in_database: Queue, tmp_path: Path
) -> None:
    copy_queue(in_file.queue, in_database)
    store, file = open_store(in_database, in_file.clock, lambda effects: None, "another"), tmp_path / "backup.db"
    await store.start()
    try:
        assert await store.back_up(file) == file.stat().st_size
        with pytest.raises(BadInput, match="already exists"):
            await store.back_up(file)
    finally:
        await store.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("backup.db*")] == ["backup.db"]
    assert everything(file_queue(file)) == everything(in_database)


def test_a_backup_of_nothing_leaves_no_file(in_database: Queue, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    assert in_database.open_offline("disk", HandClock()).back_up(file) is None
    assert not file.exists()
