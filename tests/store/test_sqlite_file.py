"""The queue file: making it, bringing it up to date, and refusing what is not one."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tako_lite.errors import StoreBusy, StoreDamaged, StoreError, StoreGone, StoreTooNew, TakoError
from tako_lite.states import RUN_STATES
from tako_lite.store.migrate import migrate, migrations
from tako_lite.store.sqlite import file
from tako_lite.store.sqlite.file import (
    APPLICATION_ID,
    PACKAGE,
    connect,
    connect_reading,
    gone,
    is_there,
    refuse_orphan_wal,
    translate,
)
from tako_lite.store.sqlite.store import SqliteStore
from tests.support.store_bench import HandClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "queue.db"


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def make(path: Path, *statements: str) -> bytes:
    """An SQLite file that these statements made; its bytes."""
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()
    return path.read_bytes()


def test_a_fresh_file_has_the_newest_schema(path: Path) -> None:
    connection = connect(path, "disk")
    assert pragma(connection, "user_version") == migrations(PACKAGE)[-1].number
    assert pragma(connection, "application_id") == APPLICATION_ID
    assert pragma(connection, "quick_check") == "ok"
    connection.close()


def test_migrations_are_numbered_without_gaps_and_named_by_what_they_do() -> None:
    steps = migrations(PACKAGE)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(re.fullmatch(r"\d{4}(_[a-z]+){2,}", step.name) for step in steps)


def test_opening_again_changes_nothing(path: Path) -> None:
    connect(path, "disk").close()
    before = path.read_bytes()
    connect(path, "disk").close()
    assert path.read_bytes() == before


def test_starts_that_an_older_release_counted_for_a_rate_still_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = [step for step in migrations(PACKAGE) if step.number < 3]
    with monkeypatch.context() as patched:
        patched.setattr("tako_lite.store.migrate.migrations", lambda package: older)
        connection = connect(path, "disk")
    connection.execute("INSERT INTO starts VALUES ('greet', 7, 'a')")
    connection.close()
    connection = connect(path, "disk")
    assert connection.execute("SELECT workflow, key, at, run_id FROM starts").fetchall() == [("greet", "", 7, "a")]
    connection.close()


def test_the_states_in_the_file_are_those_of_the_code(path: Path) -> None:
    connection = connect(path, "process")
    (schema,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'runs'").fetchone()
    connection.close()
    match = re.search(r"CHECK \((state = [^)]*)\)", schema)
    assert match is not None
    assert tuple(re.findall(r"state = '(\w+)'", match[1])) == RUN_STATES


def test_no_check_makes_a_table_of_words_for_each_row(path: Path) -> None:
    connection = connect(path, "process")
    schemas = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    connection.close()
    assert [text for (text,) in schemas if re.search(r"CHECK \(\w+ IN \([^)]*,[^)]*,", text)] == []


def test_every_table_is_strict(path: Path) -> None:
    connection = connect(path, "process")
    tables = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    connection.close()
    assert tables
    assert all("STRICT" in sql.rpartition(")")[2] for (sql,) in tables)


@pytest.mark.parametrize(("durability", "synchronous"), [("disk", 2), ("process", 1)])
def test_durability_is_what_the_file_is_opened_with(path: Path, durability: file.Durability, synchronous: int) -> None:
    connection = connect(path, durability)
    assert (pragma(connection, "synchronous"), pragma(connection, "journal_mode")) == (synchronous, "wal")
    connection.close()


@pytest.mark.usefixtures("usual_umask")
def test_the_file_and_those_beside_it_are_for_their_owner_only(path: Path) -> None:
    connection = connect(path, "disk")
    connection.execute("INSERT INTO signals VALUES ('e', '1', 0)")
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    folder = stat.S_IMODE(path.parent.stat().st_mode)
    connection.close()
    assert modes == {"queue.db": 0o600, "queue.db-wal": 0o600, "queue.db-shm": 0o600}
    assert folder == 0o700


def newer(path: Path, journal: str) -> bytes:
    """A file of a later release; its bytes."""
    connect(path, "disk").close()
    return make(path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE later (x)", "PRAGMA user_version = 9999")


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_file_of_a_newer_release_is_refused_and_not_touched(path: Path, journal: str) -> None:
    before = newer(path, journal)
    with pytest.raises(StoreTooNew, match="9999") as raised:
        connect(path, "disk")
    assert raised.value.hint is not None
    assert path.read_bytes() == before


def test_a_newer_file_that_was_not_checkpointed_keeps_all_that_is_in_it(path: Path, tmp_path: Path) -> None:
    connection = connect(path, "disk")
    connection.execute("PRAGMA user_version = 9999")
    connection.execute("INSERT INTO signals VALUES ('e', '1', 0)")
    copy = tmp_path / "killed" / "queue.db"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    connection.close()
    with pytest.raises(StoreTooNew):
        connect(copy, "disk")
    reader = sqlite3.connect(copy)
    assert reader.execute("SELECT event FROM signals").fetchall() == [("e",)]
    reader.close()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_an_sqlite_file_of_another_program_is_refused_and_not_touched(path: Path, journal: str) -> None:
    before = make(path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE runs (x)", "INSERT INTO runs VALUES (1)")
    with pytest.raises(StoreDamaged, match="not a queue") as raised:
        connect(path, "disk")
    assert raised.value.hint is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["xy", "name = 'my-app'\n", "word " * 2_000])
def test_a_text_file_is_refused_and_not_touched(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StoreDamaged) as raised:
        connect(path, "disk")
    assert "tako-lite doctor --rescue rescued.db" in str(raised.value.hint)
    assert path.read_text() == text


def test_a_file_with_a_smashed_header_is_refused_and_not_touched(path: Path) -> None:
    connect(path, "disk").close()
    smashed = b"\xff" * 100 + path.read_bytes()[100:]
    path.write_bytes(smashed)
    with pytest.raises(StoreDamaged):
        connect(path, "disk")
    assert path.read_bytes() == smashed


def test_a_folder_in_the_place_of_the_file_is_an_error_of_ours(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError):
        connect(path, "disk")


@pytest.mark.parametrize("migrated", [False, True])
def test_a_file_whose_making_was_cut_short_opens(path: Path, monkeypatch: pytest.MonkeyPatch, migrated: bool) -> None:
    def cut_short(connection: sqlite3.Connection, package: str) -> None:
        if migrated:
            migrate(connection, package)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(file, "migrate", cut_short)
        connect(path, "disk")
    connection = connect(path, "disk")
    assert pragma(connection, "application_id") == APPLICATION_ID
    assert pragma(connection, "user_version") == migrations(PACKAGE)[-1].number
    connection.close()


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tako_lite.store import migrate as module

    monkeypatch.setattr(
        module,
        "migrations",
        lambda package: [module.Migration(1, "0001_make_tables", "CREATE TABLE a (x);\nCREATE TABLE a (x);\n")],
    )
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, PACKAGE)
    assert not connection.in_transaction
    assert pragma(connection, "user_version") == 0
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    connection.close()


def test_a_statement_of_a_migration_may_hold_semicolons_and_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    from tako_lite.store import migrate as module

    script = "-- one; two\nCREATE TABLE a (\n    x TEXT DEFAULT 'a;b' -- it's; fine\n);\n\nCREATE TABLE b (y);\n"
    monkeypatch.setattr(module, "migrations", lambda package: [module.Migration(1, "0001_make_tables", script)])
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, PACKAGE)
    assert [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")] == ["a", "b"]
    connection.close()


def open_all(folder: Path, count: int, together: Barrier) -> None:
    """Open so many fresh files, each in the same moment as the other processes."""
    try:
        for number in range(count):
            together.wait(30)
            connect(folder / f"{number}.db", "process").close()
    except BaseException:
        together.abort()
        raise


def test_processes_that_migrate_one_file_at_once_all_succeed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    processes = [spawn.Process(target=open_all, args=(tmp_path / "state", 12, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    connection = connect(tmp_path / "state" / "0.db", "process")
    assert pragma(connection, "quick_check") == "ok"
    connection.close()


class Interrupted(type(Path())):  # type: ignore[misc]
    """A path at which somebody else acts just after the first look at a name that begins with it."""

    act: Callable[[Path], object]
    seen: set[str]

    def with_name(self, name: str) -> Interrupted:
        other = Interrupted(super().with_name(name))
        other.act, other.seen = self.act, self.seen
        return other

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        try:
            return super().stat(follow_symlinks=follow_symlinks)
        finally:
            if not self.seen:
                self.seen.add(str(self))
                self.act(Path(str(self).removesuffix("-wal")))


def interrupted(path: Path, act: Callable[[Path], object]) -> Interrupted:
    found = Interrupted(path)
    found.act, found.seen = act, set()
    return found


def test_a_queue_that_another_process_makes_between_two_looks_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    made: list[sqlite3.Connection] = []
    path = tmp_path / "queue.db"
    refuse_orphan_wal(interrupted(path, lambda path: made.append(connect(path, "disk"))))
    assert path.with_name("queue.db-wal").stat().st_size > 0
    made[0].close()


def test_a_queue_that_goes_with_its_log_between_two_looks_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "queue.db"
    connection = connect(path, "disk")
    assert path.with_name("queue.db-wal").stat().st_size > 0
    refuse_orphan_wal(interrupted(path, lambda path: shutil.rmtree(path.parent)))
    connection.close()


def test_a_log_that_was_left_without_its_queue_is_refused_however_the_queue_went(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    connection = connect(path, "disk")
    refuse_orphan_wal(path)
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreGone, match=r"its log queue\.db-wal was left"):
        refuse_orphan_wal(path)
    connection.close()


def test_a_name_below_something_that_is_no_folder_has_no_file(tmp_path: Path) -> None:
    file = tmp_path / "a-file" / "queue.db"
    (tmp_path / "a-file").write_text("")
    refuse_orphan_wal(file)
    assert not is_there(file)
    assert "was moved or deleted" in gone(file).message


def test_a_reading_connection_cannot_write(path: Path) -> None:
    connect(path, "disk").close()
    reader = connect_reading(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM runs")
    reader.close()


def test_a_reading_connection_makes_no_file(path: Path) -> None:
    path.parent.mkdir()
    with pytest.raises(StoreError):
        connect_reading(path)
    assert not path.exists()


def test_a_release_of_sqlite_that_is_too_old_is_refused_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreError, match=r"3\.37") as raised:
        connect(path, "disk")
    assert "\n" not in str(raised.value)
    assert not path.exists()


def test_a_file_that_may_not_be_written_or_opened_says_what_to_check(path: Path) -> None:
    connect(path, "disk").close()
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reading,
        pytest.raises(sqlite3.OperationalError) as read_only,
    ):
        reading.execute("DELETE FROM runs")
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect(f"file:{path.parent / 'none.db'}?mode=ro", uri=True)
    for error, message in ((read_only.value, f"cannot write {path}: "), (missing.value, f"cannot open {path}: ")):
        told = file.translate(error, path)
        assert str(told).startswith(message)
        assert told.hint == "check the owner and the mode of the file and its folder: tako-lite doctor"


def test_an_error_that_is_ours_already_stays_as_it_is(path: Path) -> None:
    error = TakoError("ours")
    assert translate(error, path) is error


def test_a_locked_file_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BUSY_TIMEOUT", 0.01)
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy):
        connect(path, "disk")
    other.close()


@pytest.fixture
def store(path: Path) -> SqliteStore:
    return SqliteStore(path, "process", HandClock(), "lax", "boot-1", lambda effects: None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_stopping_before_starting_is_safe(store: SqliteStore, path: Path) -> None:
    await store.stop()
    await store.stop()
    assert not path.exists()


@pytest.mark.anyio
async def test_stopping_twice_is_safe(store: SqliteStore, path: Path) -> None:
    await store.start()
    assert await store.count_by_group() == {}
    await store.stop()
    await store.stop()
    assert [entry.name for entry in path.parent.iterdir()] == ["queue.db"]


@pytest.mark.anyio
async def test_stopping_after_a_start_that_failed_is_safe(store: SqliteStore, path: Path) -> None:
    newer(path, "wal")
    with pytest.raises(StoreTooNew):
        await store.start()
    await store.stop()


@pytest.mark.anyio
async def test_a_store_may_be_started_again(store: SqliteStore) -> None:
    for _ in range(3):
        await store.start()
        await store.store_signal("go", "null")
        assert await store.count_by_group() == {}
        await store.stop()


@pytest.mark.anyio
@pytest.mark.parametrize("started", [True, False])
async def test_a_store_that_is_not_open_says_so(store: SqliteStore, started: bool) -> None:
    if started:
        await store.start()
        await store.stop()
    for call in (
        partial(store.store_signal, "go", "null"),
        store.get_next_due,
        store.list_group_overrides,
        store.count_by_group,
    ):
        with pytest.raises(StoreError):
            await call()
    await store.stop()
