"""What waits at the same time shares a transaction, and one bad operation spoils no other."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction, signature
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import pytest

from tako_lite.errors import NotFound, StorageFull, StoreBusy, StoreDamaged, StoreError, StoreGone
from tako_lite.store import group_commit as module
from tako_lite.store.base import Effects
from tako_lite.store.counts import StoreCounts
from tako_lite.store.group_commit import GroupCommit
from tako_lite.store.sqlite import connection as connection_module
from tako_lite.store.sqlite import file
from tako_lite.store.sqlite.connection import SqliteSession, on_thread, open_thread
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.store import SqliteStore
from tako_lite.store.sqlite.transaction import SqliteTransaction as Transaction
from tests.support.store_bench import LARGEST, WORKER, Bench, HandClock, failed_with

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite]

Operation = Callable[[Transaction], Any]


class Writer:
    """A writing connection with its group commit; `statements` are those that SQLite ran."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.statements: list[str] = []
        self.told: list[Effects] = []
        self.commits = GroupCommit(SqliteSession(connection, path), HandClock(), self.told.append, StoreCounts())

    async def submit_all(self, *operations: Operation, keep: bool = False) -> list[Any]:
        """Submit operations in one moment; each result, or the exception in its place."""
        futures = [self.commits.submit(operation, keep=keep) for operation in operations]
        return await asyncio.gather(*futures, return_exceptions=True)

    async def pragma(self, text: str) -> Any:
        return await on_thread(self.connection, lambda raw: raw.execute(f"PRAGMA {text}").fetchone()[0])

    def stored(self) -> list[str]:
        """The signals that another connection sees."""
        reader = sqlite3.connect(self.path)
        try:
            return [event for (event,) in reader.execute("SELECT event FROM signals ORDER BY sent_at, rowid")]
        finally:
            reader.close()


def send(event: str, payload: str = "null") -> Operation:
    """Store a signal; the answer is its name."""

    def operation(transaction: Transaction) -> str:
        transaction.connection.execute("INSERT INTO signals VALUES (?, ?, ?)", (event, payload, transaction.now))
        return event

    return operation


def raising(error: BaseException) -> Operation:
    """An operation that writes and then fails."""

    def operation(transaction: Transaction) -> None:
        send("half done")(transaction)
        raise error

    return operation


@pytest.fixture(params=["thread", "loop"])
async def writer(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Writer]:
    """A writer whose transactions the thread runs, or the loop as long as they do not wait."""
    async with opened(tmp_path / "queue.db", monkeypatch, 0.0 if request.param == "thread" else 1e6) as writer:
        yield writer


@pytest.fixture
async def thread(tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    """A writer whose transactions the thread runs."""
    async with opened(tmp_path / "queue.db", monkeypatch, 0.0) as writer:
        yield writer


@asynccontextmanager
async def opened(path: Path, monkeypatch: pytest.MonkeyPatch, short: float) -> AsyncIterator[Writer]:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT", 0.02)
    monkeypatch.setattr(file, "BUSY_TIMEOUT", 0.02)
    monkeypatch.setattr(module, "RETRY_AFTER", 0.01)
    monkeypatch.setattr(module, "SHORT", short)
    connection = await open_thread(partial(connect, path, "process"))
    writer = Writer(connection, path)
    await writer.commits.submit(lambda transaction: None)  # the first one is always the thread's
    writer.told.clear()
    await on_thread(connection, lambda raw: raw.set_trace_callback(writer.statements.append))
    try:
        yield writer
        await writer.commits.stop()
    finally:
        await connection.close()


async def test_operations_of_one_moment_share_a_transaction(writer: Writer) -> None:
    names = [f"e{number}" for number in range(100)]
    assert await writer.submit_all(*map(send, names)) == names
    assert (writer.statements.count("BEGIN IMMEDIATE"), writer.statements.count("COMMIT")) == (1, 1)
    assert len(writer.told) == 1
    assert writer.stored() == names


async def test_what_comes_while_a_transaction_runs_shares_the_next(thread: Writer) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        running.set()
        assert go_on.wait(10)

    first = thread.commits.submit(slow)
    await asyncio.to_thread(running.wait, 10)
    others = [thread.commits.submit(send(f"e{number}")) for number in range(10)]
    go_on.set()
    await asyncio.gather(first, *others)
    assert thread.statements.count("COMMIT") == 2


class Slow:
    """An operation that takes as long as a test likes."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._begun, self._go_on = threading.Event(), threading.Event()

    def __call__(self, transaction: Transaction) -> Any:
        self._begun.set()
        assert self._go_on.wait(10)
        return self._operation(transaction)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 10)

    def go_on(self) -> None:
        self._go_on.set()


async def test_what_comes_later_is_stored_after_those_that_a_bad_operation_held_up(thread: Writer) -> None:
    slow = Slow(failed_with)
    futures = [thread.commits.submit(operation) for operation in (slow, send("a"), send("b"))]
    await slow.begun()
    futures.append(thread.commits.submit(send("later")))
    await asyncio.sleep(0)
    slow.go_on()
    await asyncio.gather(*futures, return_exceptions=True)
    assert thread.stored() == ["a", "b", "later"]


async def test_what_comes_later_is_stored_after_what_is_kept_over_a_full_disk(thread: Writer) -> None:
    await fill_up(thread)
    slow = Slow(send("kept", LARGEST))
    kept = thread.commits.submit(slow, keep=True)
    await slow.begun()
    later = thread.commits.submit(send("later"), keep=True)
    await asyncio.sleep(0)
    slow.go_on()
    await asyncio.sleep(0.1)
    assert not later.done()
    await make_room(thread)
    with anyio.fail_after(2):
        assert await asyncio.gather(kept, later) == ["kept", "later"]
    assert thread.stored() == ["kept", "later"]


async def test_what_waits_for_the_thread_is_not_written_once_the_file_is_known_to_be_damaged(thread: Writer) -> None:
    slow = Slow(send("first"))
    first = thread.commits.submit(slow)
    await slow.begun()
    waiting = thread.commits.submit(send("waiting"), keep=True)
    await asyncio.sleep(0)
    same_turn = thread.commits.submit(send("same turn"))
    thread.commits.stop_writing(StoreDamaged("somebody read a page"))
    slow.go_on()
    assert await first == "first"
    for future in (waiting, same_turn):
        with pytest.raises(StoreDamaged):
            await future
    assert thread.stored() == ["first"]
    await thread.commits.stop()


async def test_what_an_acknowledgement_causes_at_once_shares_a_transaction(writer: Writer) -> None:
    async def client(number: int) -> None:
        await writer.commits.submit(send(f"first{number}"))
        await writer.commits.submit(send(f"second{number}"))

    async with anyio.create_task_group() as clients:
        for number in range(20):
            clients.start_soon(client, number)
    assert writer.statements.count("COMMIT") == 2


async def test_after_a_long_transaction_the_thread_runs_the_next(thread: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORT", 0.05)
    ran_on: list[int] = []

    def operation(transaction: Transaction) -> None:
        ran_on.append(threading.get_ident())

    def long(transaction: Transaction) -> None:
        operation(transaction)
        time.sleep(1)

    here = threading.get_ident()
    with anyio.fail_after(10):
        while here not in ran_on:
            await thread.commits.submit(operation)
    for each in (long, operation):
        await thread.commits.submit(each)
    assert (ran_on[-2] == here, ran_on[-1] == here) == (True, False)


async def test_a_transaction_of_many_rows_and_one_that_nobody_waits_for_are_for_the_thread(
    thread: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORT", 1e6)
    ran_on: list[int] = []

    def operation(transaction: Transaction) -> None:
        ran_on.append(threading.get_ident())

    await thread.commits.submit(operation)
    await thread.commits.submit(operation, size=1_000)
    await thread.commits.submit(operation, urgent=False)
    assert [ident == threading.get_ident() for ident in ran_on] == [True, False, False]


async def test_the_loop_does_not_wait_for_a_program_that_holds_the_file(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT", 20)
    other = sqlite3.connect(writer.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = writer.commits.submit(send("e"), keep=True)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not waiting.done()
    other.execute("ROLLBACK")
    other.close()
    with anyio.fail_after(10):
        assert await waiting == "e"


async def test_an_operation_is_acknowledged_after_its_commit(writer: Writer) -> None:
    seen: list[list[str]] = []
    future = writer.commits.submit(send("e"))
    future.add_done_callback(lambda _: seen.append(writer.stored()))
    await future
    await asyncio.sleep(0)
    assert seen == [["e"]]


async def test_an_idle_writer_runs_no_statement(writer: Writer) -> None:
    await writer.submit_all(send("e"))
    before = len(writer.statements)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(writer.statements) == before


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), TypeError("bad"), OverflowError("bad"), NotFound("bad"), KeyError("bad"), AssertionError("bad"),
     RecursionError("bad")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_one_bad_operation_does_not_spoil_the_others(writer: Writer, error: Exception) -> None:
    with anyio.fail_after(2):
        answers = await writer.submit_all(send("before"), raising(error), send("after"))
    assert (answers[0], answers[2]) == ("before", "after")
    assert isinstance(answers[1], NotFound if isinstance(error, NotFound) else StoreError)
    assert writer.stored() == ["before", "after"]


async def test_text_that_cannot_be_stored_does_not_spoil_the_others(writer: Writer) -> None:
    answers = await writer.submit_all(send("before"), send("\ud800"), send("after"))
    assert isinstance(answers[1], StoreError)
    assert writer.stored() == ["before", "after"]


async def test_a_row_that_the_file_refuses_does_not_spoil_the_others(writer: Writer) -> None:
    answers = await writer.submit_all(send("e"), send("e"), send("after"), keep=True)
    assert answers[0] == "e"
    assert isinstance(answers[1], StoreError)
    assert writer.stored() == ["e", "after"]


async def test_the_writer_continues_after_a_lone_bad_operation(writer: Writer) -> None:
    with anyio.fail_after(2):
        (answer,) = await writer.submit_all(raising(LookupError("bad")))
        assert isinstance(answer, StoreError)
        assert await writer.submit_all(send("next")) == ["next"]


async def test_operations_run_in_the_order_in_which_they_came(writer: Writer) -> None:
    order: list[int] = []
    await writer.submit_all(*[lambda transaction, number=number: order.append(number) for number in range(50)])
    assert order == list(range(50))


async def test_a_waiter_that_gave_up_spoils_nothing(writer: Writer) -> None:
    given_up, other = writer.commits.submit(send("a")), writer.commits.submit(send("b"))
    given_up.cancel()
    assert await other == "b"
    assert await writer.submit_all(send("c")) == ["c"]
    assert {"b", "c"} <= set(writer.stored())


async def fill_up(writer: Writer) -> None:
    """From now on the file cannot grow."""
    await writer.pragma(f"max_page_count = {await writer.pragma('page_count')}")


async def make_room(writer: Writer) -> None:
    await writer.pragma("max_page_count = 1000000")


async def test_on_a_full_disk_what_must_be_kept_waits_and_the_rest_is_refused(writer: Writer) -> None:
    await fill_up(writer)
    kept = writer.commits.submit(send("kept", LARGEST), keep=True)
    refused = writer.commits.submit(send("refused", LARGEST))
    with pytest.raises(StorageFull) as raised:
        await refused
    assert raised.value.hint is not None
    assert not kept.done()
    assert writer.stored() == []
    await make_room(writer)
    with anyio.fail_after(2):
        assert await kept == "kept"
        assert await writer.submit_all(send("next")) == ["next"]
    assert writer.stored() == ["kept", "next"]


async def test_what_is_kept_over_a_full_disk_is_stored_in_its_order(writer: Writer) -> None:
    await fill_up(writer)
    kept = [writer.commits.submit(send(f"e{number}", LARGEST), keep=True) for number in range(3)]
    (refused,) = await writer.submit_all(send("refused", LARGEST))
    assert isinstance(refused, StorageFull)
    late = writer.commits.submit(send("late"), keep=True)
    await make_room(writer)
    with anyio.fail_after(2):
        await asyncio.gather(*kept, late)
    assert writer.stored() == ["e0", "e1", "e2", "late"]


async def test_stopping_on_a_full_disk_does_not_wait_for_room(writer: Writer) -> None:
    await fill_up(writer)
    kept = writer.commits.submit(send("kept", LARGEST), keep=True)
    await writer.submit_all(send("refused", LARGEST))
    with anyio.fail_after(2):
        await writer.commits.stop()
    assert isinstance(kept.exception(), StorageFull)


async def test_while_another_process_holds_the_file_required_writes_wait_and_the_rest_is_busy(writer: Writer) -> None:
    other = sqlite3.connect(writer.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    kept = writer.commits.submit(send("kept"), keep=True)
    refused = writer.commits.submit(send("refused"))
    with pytest.raises(StoreBusy):
        await refused
    assert not kept.done()
    other.execute("ROLLBACK")
    other.close()
    with anyio.fail_after(2):
        assert await kept == "kept"
    assert writer.stored() == ["kept"]


async def test_a_file_that_is_moved_away_or_replaced_takes_nothing_until_it_is_back(writer: Writer, tmp_path: Path) -> None:
    await writer.commits.submit(send("before"))
    away = writer.path.rename(tmp_path / "away.db")
    kept = writer.commits.submit(send("kept"), keep=True)
    with pytest.raises(StoreGone, match="was moved or deleted"):
        await writer.commits.submit(send("refused"))
    writer.path.write_bytes(b"another file")
    with pytest.raises(StoreGone, match="was replaced by another file"):
        await writer.commits.submit(send("refused too"))
    assert not kept.done()
    away.replace(writer.path)
    assert await kept == "kept"
    assert writer.stored() == ["before", "kept"]


async def test_a_check_reports_a_file_that_is_gone_and_another_in_its_place_is_never_read(bench: Bench) -> None:
    store = bench.store
    assert isinstance(store, SqliteStore)
    run_id = await bench.add()
    away = store.path.rename(store.path.with_name("away.db"))
    gone = store.check_file()
    assert isinstance(gone, StoreGone)
    assert store.trouble is gone
    with pytest.raises(StoreGone):  # nobody has read before: the reader is to be opened now
        await store.get_run(run_id)
    store.path.write_bytes(b"another file")
    assert store.check_file() is not None
    with pytest.raises(StoreGone):
        await store.get_run(run_id)
    away.replace(store.path)
    assert (store.check_file(), store.trouble) == (None, None)
    assert (await bench.show(run_id)).state == "pending"


async def test_on_a_damaged_file_nothing_is_kept_or_tried_again_and_nothing_more_is_written(writer: Writer) -> None:
    await writer.submit_all(*[send(f"e{number}", LARGEST[:2_000] + '"') for number in range(20)])
    await writer.pragma("wal_checkpoint(TRUNCATE)")
    await on_thread(writer.connection, lambda raw: raw.execute("PRAGMA shrink_memory").fetchall())
    content = writer.path.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    writer.path.write_bytes(b"".join(b"\xff" * 4096 if page[0] == 0x0D and b"e1" in page else page for page in pages))
    kept = writer.commits.submit(lambda transaction: transaction.connection.execute("DELETE FROM signals").rowcount, keep=True)
    with anyio.fail_after(2):
        with pytest.raises(StoreDamaged, match="damaged"):
            await kept
        assert writer.commits.damaged.result() is kept.exception()
        with pytest.raises(StoreDamaged):
            await writer.commits.submit(send("late"))


async def test_stopping_commits_what_is_left_and_takes_no_more(writer: Writer) -> None:
    left = [writer.commits.submit(send(f"e{number}")) for number in range(3)]
    await writer.commits.stop()
    assert [future.result() for future in left] == ["e0", "e1", "e2"]
    with pytest.raises(StoreError, match="closed"):
        await writer.commits.submit(send("late"))
    await writer.commits.stop()
    assert writer.stored() == ["e0", "e1", "e2"]


async def test_the_shape_of_aiosqlite_that_the_connection_relies_on_is_there(writer: Writer) -> None:
    connection = writer.connection
    assert isinstance(connection._conn, sqlite3.Connection)
    assert isinstance(connection._thread, threading.Thread)
    assert connection._thread.daemon
    assert list(signature(connection._execute).parameters)[:2] == ["fn", "args"]
    assert iscoroutinefunction(connection._execute)
    ran = threading.Event()
    SqliteSession(connection, writer.path).start(ran.set)
    assert await asyncio.to_thread(ran.wait, 5)
    assert await on_thread(connection, lambda raw: (raw, threading.current_thread())) == (
        connection._conn,
        connection._thread,
    )


async def test_the_thread_of_a_connection_ends_with_it(writer: Writer) -> None:
    connection = await open_thread(partial(sqlite3.connect, ":memory:", check_same_thread=False))
    thread = connection._thread
    await connection.close()
    thread.join(5)
    assert not thread.is_alive()


async def test_a_connection_that_cannot_be_opened_leaves_no_thread() -> None:
    def failing() -> sqlite3.Connection:
        raise StoreError("no")

    before = set(threading.enumerate())
    with pytest.raises(StoreError):
        await open_thread(failing)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "write", ["complete", "save_steps", "try_again", "finish", "charge_crash", "invoke", "signal", "enqueue"]
)
async def test_only_what_workers_report_is_kept_over_a_full_disk(
    bench: Bench, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_AFTER", 0.01)
    store, run, now = bench.store, await bench.running(), bench.clock.now()
    assert isinstance(store, SqliteStore)
    failure = failed_with("x" * 1_000_000)
    writes: dict[str, Callable[[], Any]] = {
        "complete": lambda: bench.complete(run, LARGEST),
        "save_steps": lambda: store.save_steps([bench.step(run, "a", LARGEST)]),
        "try_again": lambda: store.reschedule_run(run.id, run.token, failure, now, WORKER, charged=True),
        "finish": lambda: store.finish_run(run.id, run.token, "dead", failure, WORKER, charged=True),
        "charge_crash": lambda: store.charge_crash(run.id, run.token, failure, 3, WORKER),
        "invoke": lambda: store.invoke_child(run.id, run.token, "call", bench.new(payload=LARGEST)),
        "signal": lambda: store.store_signal("go", LARGEST),
        "enqueue": lambda: store.enqueue_runs([bench.new(payload=LARGEST)]),
    }

    async def pages(text: str) -> int:
        connection = store._connection
        assert connection is not None
        return int(await on_thread(connection, lambda raw: raw.execute(f"PRAGMA {text}").fetchone()[0]))

    await pages(f"max_page_count = {await pages('page_count')}")
    writing = asyncio.ensure_future(writes[write]())
    probe = store.enqueue_runs([bench.new(payload=LARGEST)])
    with pytest.raises(StorageFull):
        await probe
    if write in ("signal", "enqueue"):
        with pytest.raises(StorageFull):
            await writing
        return
    assert not writing.done()
    await pages("max_page_count = 1000000")
    with anyio.fail_after(2):
        await writing
    assert await bench.show(run.id)
