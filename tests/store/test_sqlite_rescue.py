"""What can be read of a damaged queue file comes into a new one, and what is lost is told; the damaged one is left as it is."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from tako_lite.errors import BadInput, NotFound, StoreDamaged, StoreError, StoreGone, StoreTooNew
from tako_lite.records import new_id
from tako_lite.store.rescued import Rescued
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.rescue.copy import rescue
from tests.support.profiles import scaled
from tests.support.project import wait_until
from tests.support.queue_file import make_older

pytestmark = pytest.mark.long

PAGE: Final = 4096
NOW: Final = 1_800_000_000_000
TABLE_LEAF, INDEX_LEAF, INDEX_INNER = 0x0D, 0x0A, 0x02
TABLES: Final = (
    "runs", "large_values", "steps", "waits", "signals", "schedules", "groups", "ledger", "starts", "paces", "triggers", "code",
    "attempts", "minutes", "activity",
)  # fmt: skip
RUN: Final = (
    "INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, priority, run_at, due_order, max_attempts,"
    " created_at, payload, parent) VALUES (?, 'greet', 'default', 'default', ?, 1, 0, 5, 5, 3, 0, ?, ?)"
)
ATTEMPT: Final = "INSERT INTO attempts VALUES (?, 1, '', 1, 'parked', 0, 1, 1, 'one', 7, NULL, NULL)"
STEP: Final = "INSERT INTO steps VALUES (?, ?, 'run', 'succeeded', ?, NULL, 1, 0, 0)"
OTHERS: Final = """
    INSERT INTO signals VALUES ('sent', '{"by": "ann"}', 7);
    INSERT INTO schedules VALUES ('nightly', '0 0 * * *', 'UTC', 'latest', 9, NULL, 1, 1);
    INSERT INTO groups VALUES ('gpu', 1, 3, NULL);
    INSERT INTO ledger VALUES ('succeeded', 41);
    INSERT INTO minutes VALUES (7, 'default', 'greet', 1, 1, 0, 0, 0, 5, 6, '{}');
    INSERT INTO activity VALUES ('a', 7, 'ann', 'cli', 'pause', 'gpu', '{}');
    INSERT INTO starts VALUES ('greet', '', 3, 'a');
    INSERT INTO code VALUES ('here', 'greet', '0123456789abcdef');
    INSERT INTO paces VALUES ('greet', '', 4.5, 5);
    INSERT INTO triggers (name, worker_group, starts, every_ms, next_at) VALUES ('inbox', 'default', 'greet', 60, 1);
"""
RESCUE: Final = "import sys; from pathlib import Path; from tako_lite.store.sqlite.rescue.copy import rescue; " + (
    "rescue(Path(sys.argv[1]), Path(sys.argv[2]), 0)"
)


def is_large(number: int) -> bool:
    return number % 20 == 3


def make(queue: Path, runs: int = 300, steps: int = 3) -> list[str]:
    """A queue with a row in nearly every table; the ids of its runs. One in twenty has a payload of three pages."""
    made, ids = sample(runs, steps)
    queue.write_bytes(made)
    return list(ids)


@cache
def sample(runs: int, steps: int) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of such a file, and its runs."""
    ids = tuple(new_id() for _ in range(runs))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "queue.db"
        with closing(connect(file, "process")) as connection:
            connection.executescript(OTHERS)
            connection.execute("BEGIN")
            for number, id in enumerate(ids):
                connection.execute(RUN, (id, "pending", "" if is_large(number) else json.dumps("p" * (number % 7 * 30)), None))
                if is_large(number):
                    payload = json.dumps("é" * 5_000, ensure_ascii=False)
                    connection.execute("INSERT INTO large_values VALUES (?, 'payload', ?)", (id, payload))
                connection.execute(ATTEMPT, (id,))
                for step in range(steps):
                    connection.execute(STEP, (id, f"s{step}", json.dumps(number)))
            connection.execute("COMMIT")
        return file.read_bytes(), ids


def content(file: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Every row of a file, by table."""
    with closing(sqlite3.connect(file)) as connection:
        return {table: set(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}


def root(queue: Path, name: str) -> int:
    """The page at which a tree begins, counted from 0 as all pages are here."""
    with closing(sqlite3.connect(queue)) as connection:
        return int(connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]) - 1


class Book:
    """The pages of a file as they are now, and which of them has what."""

    def __init__(self, queue: Path) -> None:
        content = queue.read_bytes()
        self.pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]

    def with_text(self, text: str, *kinds: int) -> int:
        """The first page of these kinds that has a text in it."""
        wanted = text.encode()
        return next(number for number, page in enumerate(self.pages) if page[0] in kinds and wanted in page)

    def of_run(self, id: str) -> int:
        return self.with_text(f"{id}greet", TABLE_LEAF)

    def of_step(self, id: str, name: str = "s0") -> int:
        """The page of a step, also one that stands between two leaves."""
        return self.with_text(f"{id}{name}run", INDEX_LEAF, INDEX_INNER)


def smash(queue: Path, *numbers: int, by: bytes = b"\xff" * PAGE) -> None:
    with queue.open("r+b") as file:
        for number in numbers:
            file.seek(number * PAGE)
            file.write(by)


def rescued(queue: Path) -> tuple[Rescued, dict[str, set[tuple[Any, ...]]]]:
    """What a rescue says, and the rows of the new file; the damaged one is what it was before, to the byte."""
    before = {path.name: path.read_bytes() for path in queue.parent.iterdir()}
    file = queue.parent / "rescued.db"
    done = rescue(queue, file, NOW)
    assert {path.name: path.read_bytes() for path in queue.parent.iterdir() if path != file} == before
    assert (file.stat().st_mode & 0o777, done.size) == (0o600, file.stat().st_size)
    rows = content(file)
    assert {table: len(found) for table, found in rows.items()} == {name: t.rescued for name, t in done.tables.items()}
    return done, rows


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def test_all_of_a_sound_file_is_there_afterwards(queue: Path) -> None:
    make(queue)
    before = content(queue)
    done, rows = rescued(queue)
    assert rows == before
    assert all(rows[table] for table in TABLES if table != "waits")
    connect(queue.with_name("rescued.db"), "disk").close()
    assert (done.is_all, done.runs) == (True, set())


@pytest.mark.parametrize("by", [b"\xff" * PAGE, bytes(PAGE), random.Random(1).randbytes(PAGE)], ids=["ones", "zeros", "random"])
def test_a_destroyed_page_of_runs_loses_only_its_runs_and_their_steps_and_names_them(queue: Path, by: bytes) -> None:
    ids = make(queue)
    before, book = content(queue), Book(queue)
    page = book.of_run(ids[100])
    gone = {id for id in ids if book.of_run(id) == page}
    smash(queue, page, by=by)
    done, rows = rescued(queue)
    assert done.runs == gone
    assert {row[0] for row in before["runs"] - rows["runs"]} == gone
    assert {row[0] for row in before["steps"] - rows["steps"]} == gone
    assert rows["runs"] | rows["steps"] <= before["runs"] | before["steps"]
    assert (done.tables["runs"].lost, done.tables["runs"].is_complete) == (len(gone), True)
    assert (done.tables["steps"].lost, done.tables["steps"].is_complete, done.is_all) == (3 * len(gone), True, False)


def test_a_smashed_page_of_steps_loses_its_steps_and_no_run(queue: Path) -> None:
    ids = make(queue)
    before, page = content(queue), Book(queue).of_step(ids[100])
    smash(queue, page)
    done, rows = rescued(queue)
    lost = before["steps"] - rows["steps"]
    assert (rows["runs"], done.runs) == (before["runs"], set())
    assert 0 < len(lost) < 100
    assert not done.tables["steps"].is_complete


def test_good_pages_between_smashed_ones_of_a_long_run_are_read(queue: Path) -> None:
    make(queue, runs=3, steps=3_000)
    id = sorted(row[0] for row in content(queue)["runs"])[1]
    book = Book(queue)
    first, middle, last = (book.of_step(id, f"s{step}") for step in (1000, 1500, 2000))
    smash(queue, first, last)
    _, rows = rescued(queue)
    names = {row[1] for row in rows["steps"] if row[0] == id}
    assert middle not in (first, last)
    assert "s1500" in names
    assert not {"s1000", "s2000"} & names
    assert len(names) > 2_800


@pytest.mark.parametrize("table", ["runs", "large_values"])
def test_a_smashed_inner_page_loses_nothing_where_the_index_knows_the_rows(queue: Path, table: str) -> None:
    make(queue)
    before = content(queue)
    smash(queue, root(queue, table))
    done, rows = rescued(queue)
    assert rows == before
    assert done.is_all


def test_a_smashed_inner_page_of_steps_loses_the_steps_that_are_on_it(queue: Path) -> None:
    make(queue)
    before = content(queue)
    smash(queue, root(queue, "steps"))
    done, rows = rescued(queue)
    assert rows["runs"] == before["runs"]
    assert 0 < len(before["steps"] - rows["steps"]) < 60
    assert not done.tables["steps"].is_complete


@pytest.mark.parametrize("side", [-1, 1])
def test_beside_a_smashed_leaf_the_steps_of_the_inner_page_and_of_the_next_leaf_are_read(queue: Path, side: int) -> None:
    make(queue)
    before, book, inner = content(queue), Book(queue), root(queue, "steps")
    on = {step: book.of_step(*step) for step in sorted(row[:2] for row in before["steps"])}
    steps = list(on)
    between = [at for at, step in enumerate(steps) if on[step] == inner]
    page = on[steps[between[len(between) // 2] + side]]
    smash(queue, page)
    _, rows = rescued(queue)
    assert {row[:2] for row in before["steps"] - rows["steps"]} == {step for step in steps if on[step] == page}


def test_pages_that_are_free_by_now_bring_nothing_back(queue: Path) -> None:
    ids = make(queue)
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids[100:200]),))
        connection.execute("DELETE FROM steps WHERE run_id IN (SELECT value FROM json_each(?))", (json.dumps(ids[100:200]),))
        connection.execute("DELETE FROM large_values WHERE run_id NOT IN (SELECT id FROM runs)")
        connection.commit()
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 20
    before = content(queue)
    smash(queue, root(queue, "runs"), root(queue, "steps"))
    _, rows = rescued(queue)
    assert rows["runs"] == before["runs"]
    assert rows["steps"] < before["steps"]


def test_a_smashed_list_of_free_pages_loses_nothing(queue: Path) -> None:
    make(queue)
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("DELETE FROM steps")
        connection.commit()
    before = content(queue)
    trunk = int.from_bytes(queue.read_bytes()[32:36]) - 1
    assert trunk > 0
    smash(queue, trunk)
    done, rows = rescued(queue)
    assert rows == before
    assert done.is_all


@pytest.mark.parametrize("index", ["sqlite_autoindex_runs_1", "runs_ready", "sqlite_autoindex_signals_1"])
def test_a_smashed_page_of_an_index_loses_nothing(queue: Path, index: str) -> None:
    make(queue)
    before = content(queue)
    smash(queue, root(queue, index))
    done, rows = rescued(queue)
    assert rows == before
    assert done.is_all


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("by", [b"\xff" * PAGE, bytes(PAGE), b"x" * PAGE])
def test_a_smashed_page_of_a_long_payload_loses_that_run_and_names_it(queue: Path, by: bytes, is_last: bool) -> None:
    ids = make(queue)
    before = content(queue)
    chains = [number for number, page in enumerate(Book(queue).pages) if page[0] == 0 and "é".encode() * 500 in page]
    page = next(number for number in chains if (Book(queue).pages[number][:4] == bytes(4)) == is_last)
    smash(queue, page, by=by)
    done, rows = rescued(queue)
    (lost,) = done.runs
    assert is_large(ids.index(lost))
    assert {row[0] for row in before["runs"] - rows["runs"]} == {lost}
    assert {row[0] for row in before["large_values"] - rows["large_values"]} == {lost}


def test_a_row_of_the_right_form_whose_payload_is_no_json_is_lost(queue: Path) -> None:
    ids = make(queue)
    page = Book(queue).of_run(ids[6])
    text = Book(queue).pages[page]
    smash(queue, page, by=text.replace(b'"' + b"p" * 180 + b'"', b"?" * 182))
    done, rows = rescued(queue)
    assert ids[6] in done.runs
    assert done.runs == set(ids) - {row[0] for row in rows["runs"]}


def test_a_file_that_was_cut_off_loses_what_was_behind(queue: Path) -> None:
    make(queue)
    before = content(queue)
    with queue.open("r+b") as file:
        file.truncate(queue.stat().st_size - 10 * PAGE - 100)
    _, rows = rescued(queue)
    assert all(rows[table] <= before[table] for table in TABLES)
    assert len(rows["runs"]) > 200


@pytest.mark.parametrize("pages", [(0,), (21,), (0, 21, 22)])
def test_a_smashed_header_or_table_of_contents_loses_nothing(queue: Path, pages: tuple[int, ...]) -> None:
    make(queue)
    before = content(queue)
    smash(queue, *pages)
    done, rows = rescued(queue)
    assert rows == before
    assert done.is_all


@pytest.mark.parametrize("text", ["", "xy", "word " * 20_000])
def test_of_what_is_no_queue_nothing_can_be_read_and_the_last_resort_is_named(queue: Path, text: str) -> None:
    queue.write_text(text)
    with pytest.raises(StoreDamaged) as raised:
        rescued(queue)
    assert f"sqlite3 {queue} .recover | sqlite3 recovered.db" in str(raised.value.hint)
    assert [path.name for path in queue.parent.iterdir()] == ["queue.db"]


def test_a_file_of_another_program_is_refused_and_so_is_one_of_a_newer_release(queue: Path) -> None:
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("CREATE TABLE runs (x)")
    with pytest.raises(StoreDamaged, match="not a queue"):
        rescued(queue)
    queue.unlink()
    make(queue, runs=1)
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreTooNew):
        rescued(queue)


def test_a_file_of_an_older_release_comes_over_with_the_columns_that_it_has(queue: Path) -> None:
    ids = make_older(queue)
    done, rows = rescued(queue)
    assert {row[0] for row in rows["runs"]} == set(ids.values())
    assert done.is_all


@pytest.mark.parametrize("smashed", [False, True])
def test_what_only_the_log_has_is_read_too(queue: Path, smashed: bool) -> None:
    make(queue)
    kept = queue.parent / "killed"
    kept.mkdir()
    with closing(connect(queue, "process")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(RUN, (new_id(), "pending", '"only in the log"', None))
        for suffix in ("", "-wal"):
            (kept / f"queue.db{suffix}").write_bytes(Path(f"{queue}{suffix}").read_bytes())
    before = content(queue)
    if smashed:
        smash(kept / "queue.db", 0)
    done, rows = rescued(kept / "queue.db")
    assert rows == before
    assert done.is_all


@pytest.mark.parametrize(("at", "last"), [(0, 0), (32 + 2 * (24 + PAGE) + 100, 2), (32 + 8, 0)])
def test_a_damaged_log_is_reported_if_commits_follow_the_damage(queue: Path, at: int, last: int) -> None:
    make(queue)
    kept = queue.parent / "killed"
    kept.mkdir()
    with closing(connect(queue, "process")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for number in [*range(30), None, *range(20)]:
            if number is None:  # the log begins anew, with old commits behind the new ones
                connection.execute("PRAGMA wal_checkpoint(RESTART)")
            else:
                connection.execute("UPDATE ledger SET pruned = ?", (number,))
        for suffix in ("", "-wal"):
            (kept / f"queue.db{suffix}").write_bytes(Path(f"{queue}{suffix}").read_bytes())
    assert rescued(kept / "queue.db")[0].is_all
    (kept / "rescued.db").unlink()
    with (kept / "queue.db-wal").open("r+b") as log:
        log.seek(at)
        log.write(b"\xff" * 24)
    done, rows = rescued(kept / "queue.db")
    assert (done.log_is_whole, done.is_all) == (False, False)
    assert rows["ledger"] == {("succeeded", last - 1 if last else 29)}


def test_who_waited_for_what_was_lost_is_due(queue: Path) -> None:
    ids = make(queue)
    child, page = ids[100], Book(queue).of_run(ids[100])
    parent, sleeper = new_id(), new_id()
    with closing(connect(queue, "process")) as connection:
        for id in (parent, sleeper):
            connection.execute(RUN, (id, "waiting", "{}", None))
        connection.execute("INSERT INTO waits VALUES (?, 'c', 'child', ?, NULL, 0)", (parent, child))
        connection.execute("INSERT INTO waits VALUES (?, 'z', 'sleep', NULL, 99, 0)", (sleeper,))
    assert Book(queue).of_run(parent) != page
    smash(queue, page)
    _, rows = rescued(queue)
    assert {row[0]: (row[4], row[5]) for row in rows["runs"] if row[0] in (parent, sleeper)} == {
        parent: ("pending", 1), sleeper: ("waiting", 1)
    }  # fmt: skip
    assert {row[0] for row in rows["waits"]} == {sleeper}


FAMILY: Final = ("known", "unbegun", "begun", "enqueued", "retried")


def make_family(queue: Path) -> dict[str, str]:
    """A queue with a parent that waits for one child and knows of two others, and the waits for two are lost already."""
    make(queue, runs=1)
    ids = {name: new_id() for name in ("parent", *FAMILY)}
    parent = ids["parent"]
    with closing(connect(queue, "process")) as connection:
        connection.execute(RUN, (parent, "waiting", "{}", None))
        for name in FAMILY:
            connection.execute(RUN, (ids[name], "pending", "{}", parent))
        connection.execute("UPDATE runs SET claim_token = 1 WHERE id = ?", (ids["begun"],))
        connection.execute("INSERT INTO waits VALUES (?, 'c', 'child', ?, NULL, 0)", (parent, ids["known"]))
        enqueued, failed = json.dumps(ids["enqueued"]), json.dumps({"child_id": ids["retried"]})
        for kind, state, result, error in (("enqueue", "succeeded", enqueued, None), ("child", "failed", None, failed)):
            connection.execute(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, 1, 0, 0)", (parent, kind, kind, state, result, error)
            )
    return ids


def test_a_wait_for_a_child_that_only_its_index_has_is_there_again(queue: Path) -> None:
    ids = make_family(queue)
    smash(queue, root(queue, "waits"))
    _, rows = rescued(queue)
    assert {row[:4] for row in rows["waits"]} == {(ids["parent"], "c", "child", ids["known"])}
    assert ids["known"] in {row[0] for row in rows["runs"]}


def test_of_children_that_their_parent_forgot_unstarted_ones_are_removed_and_the_others_named(queue: Path) -> None:
    ids = make_family(queue)
    smash(queue, root(queue, "waits"), root(queue, "waits_key"))
    done, rows = rescued(queue)
    assert done.runs == {ids["known"], ids["unbegun"]}
    assert done.repeated == {ids["begun"]}
    assert done.tables["runs"].lost == 2
    assert {row[0] for row in rows["runs"]} >= {ids[name] for name in ("parent", "begun", "enqueued", "retried")}


def test_where_steps_are_lost_too_no_child_goes_and_all_that_may_be_done_twice_are_named(queue: Path) -> None:
    ids = make_family(queue)
    smash(queue, root(queue, "waits"), root(queue, "waits_key"), root(queue, "steps"))
    done, rows = rescued(queue)
    assert done.repeated == {ids[name] for name in FAMILY}
    assert done.repeated <= {row[0] for row in rows["runs"]}


def test_runs_that_an_old_page_brings_back_are_kept_and_named(queue: Path) -> None:
    ids = make(queue)
    page = Book(queue).of_run(ids[100])
    stale = Book(queue).pages[page]
    gone = [id for id in ids if Book(queue).of_run(id) == page][1:9]
    with closing(sqlite3.connect(queue)) as connection:
        for table, key in (("runs", "id"), ("steps", "run_id"), ("large_values", "run_id")):
            connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(id,) for id in gone])
        connection.commit()
    kept = [id for id in ids if id not in gone]
    assert rescued(queue)[0].is_all
    queue.with_name("rescued.db").unlink()
    smash(queue, page, by=stale)
    done, rows = rescued(queue)
    without_payload = {id for id in gone if is_large(ids.index(id))}
    assert (done.unlisted, done.runs) == (set(gone) - without_payload, without_payload)
    assert {row[0] for row in rows["runs"]} == {*kept, *done.unlisted}
    assert (done.is_all, done.tables["runs"].unlisted) == (False, len(done.unlisted))


def test_runs_whose_waits_cannot_be_read_go_through_their_steps_again(queue: Path) -> None:
    make(queue, runs=1)
    sleeper = new_id()
    with closing(connect(queue, "process")) as connection:
        connection.execute(RUN, (sleeper, "waiting", "{}", None))
        connection.execute("INSERT INTO waits VALUES (?, 'z', 'sleep', NULL, 99, 0)", (sleeper,))
    smash(queue, root(queue, "waits"))
    done, rows = rescued(queue)
    assert [(row[4], row[9]) for row in rows["runs"] if row[0] == sleeper] == [("pending", NOW)]
    assert not done.tables["waits"].is_complete


def test_a_row_that_no_queue_would_have_is_lost_and_no_crash(queue: Path) -> None:
    ids = make(queue)
    changed = queue.read_bytes().replace(
        f"{ids[5]}greetdefaultdefaultpending".encode(), f"{ids[5]}greetdefaultdefaultpondering"[:-2].encode()
    )
    queue.write_bytes(changed)
    done, rows = rescued(queue)
    assert done.tables["runs"].lost == 1
    assert done.runs == {ids[5]} == set(ids) - {row[0] for row in rows["runs"]}


@pytest.mark.full
@pytest.mark.parametrize("seed", [*range(scaled(2, 10)), 182, 226])  # the last two once met keys that were none
def test_whatever_pages_are_smashed_the_rows_of_the_others_are_there_as_they_were(queue: Path, seed: int) -> None:
    chance = random.Random(seed)
    ids = make(queue)
    before, book = content(queue), Book(queue)
    bad = set(chance.choices(range(len(book.pages)), k=chance.randint(1, 8)))
    large = {id for number, id in enumerate(ids) if is_large(number)}
    of_runs, of_steps = root(queue, "runs"), root(queue, "steps")
    there = {id for id in ids if id not in large and not {book.of_run(id), of_runs} & bad}
    on = {row[:2]: book.of_step(*row[:2]) for row in before["steps"] if row[0] in there}
    kept = {step for step, page in on.items() if of_steps not in bad and page not in bad and page != of_steps}
    for page in bad:
        smash(queue, page, by=chance.choice((chance.randbytes(PAGE), bytes(PAGE), b"\xff" * PAGE)))
    done, rows = rescued(queue)
    assert all(rows[table] <= before[table] for table in TABLES)
    assert there <= {row[0] for row in rows["runs"]}
    assert kept <= {row[:2] for row in rows["steps"]}
    lost = set(ids) - {row[0] for row in rows["runs"]}
    assert done.runs <= lost
    assert not done.unlisted
    assert done.runs == lost or not done.tables["runs"].is_complete


def test_a_name_that_is_taken_and_a_folder_that_is_not_there_are_refused(queue: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        rescue(queue, queue.with_name("new.db"), NOW)
    make(queue, runs=1)
    before = queue.read_bytes()
    with pytest.raises(BadInput, match="already exists"):
        rescue(queue, queue, NOW)
    with pytest.raises(BadInput, match="cannot make"):
        rescue(queue, queue.parent / "no/new.db", NOW)
    assert queue.read_bytes() == before


def test_an_unreadable_queue_is_reported_as_such_and_so_is_a_log_without_its_queue(queue: Path) -> None:
    queue.parent.joinpath("file").touch()
    for place in (queue.parent / "file/queue.db", queue.parent):  # neither depends on who runs this
        with pytest.raises(StoreError, match=f"{place} cannot be read: "):
            rescue(place, queue.with_name("new.db"), NOW)
    queue.with_name("queue.db-wal").touch()
    with pytest.raises(StoreGone, match="moved or deleted"):
        rescue(queue, queue.with_name("new.db"), NOW)
    assert sorted(path.name for path in queue.parent.iterdir()) == ["file", "queue.db-wal"]


def test_a_file_system_without_hard_links_gets_the_new_file_too(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(made: Path, file: Path) -> None:
        if taken:
            file.touch()
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)  # no such file system can be mounted here
    make(queue)
    file, taken = queue.with_name("new.db"), False
    assert rescue(queue, file, NOW).is_all
    assert content(file) == content(queue)
    file.unlink()
    taken = True
    with pytest.raises(BadInput, match="File exists"):
        rescue(queue, file, NOW)
    assert file.read_bytes() == b""


def test_a_rescue_that_is_killed_leaves_no_file_of_that_name_and_the_next_one_makes_it(queue: Path) -> None:
    make(queue, runs=3_000, steps=5)
    before, file = content(queue), queue.with_name("new.db")
    with subprocess.Popen([sys.executable, "-c", RESCUE, str(queue), str(file)]) as running:
        wait_until(lambda: list(queue.parent.glob(".tako-rescue-*/damaged.db")), "it has begun")
        running.send_signal(signal.SIGKILL)
        assert running.wait(10) == -signal.SIGKILL
    assert not file.exists()
    assert list(file.parent.glob(".tako-rescue-*"))
    rescue(queue, file, NOW)
    assert content(file) == before
    assert not list(file.parent.glob(".tako-rescue-*"))
