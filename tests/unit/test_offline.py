"""What clients do while no daemon runs: real files, real locks, real other processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tako_lite.client import AsyncClient, Client
from tako_lite.clock import SystemClock
from tako_lite.config import load
from tako_lite.enqueue_options import OPTIONS, OPTIONS_OF_MANY, EnqueueOptions
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import (
    BadInput,
    CatalogError,
    ConfigError,
    DaemonUnreachable,
    NotFound,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreTooNew,
    WaitTimeout,
)
from tako_lite.lock import daemon_lock
from tako_lite.protocol.arguments import Enqueue, EnqueueMany
from tako_lite.records import NewRun, Schedule, new_id
from tako_lite.store.base import NewWait, RunFilter
from tako_lite.store.sqlite.offline import SqliteOfflineStore
from tako_lite.store.sqlite.queue import SqliteQueue
from tako_lite.store.sqlite.store import SqliteStore

ROOT = Path(__file__).resolve().parents[2]
TOML = '[queue]\ndurability = "process"\n[workflows.media]\nworkers = 2\nmax_workers = 4\nconcurrency = 3\n'
WORKFLOWS = """
from tako_lite import workflow

@workflow("resize", worker="media", retries=4, priority=7)
def resize(payload): ...

@workflow("mail", worker="email")
def mail(payload): ...

@workflow("plain")
def plain(payload): ...
"""
HOLD = """
import sys
from pathlib import Path
from tako_lite.lock import daemon_lock
from tako_lite.store.sqlite.queue import SqliteQueue
path = Path(sys.argv[2])
lock = daemon_lock(path) if sys.argv[1] == "daemon_lock" else SqliteQueue(path).write_lock()
print(lock.acquire(), flush=True)
input()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tako.toml").write_text(TOML)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "all.py").write_text(WORKFLOWS)
    return tmp_path


@pytest.fixture
def client(project: Path) -> Iterator[Client]:
    with Client(project) as made:
        yield made


def queue_of(project: Path) -> SqliteOfflineStore:
    return SqliteOfflineStore(Path(load(project).queue.location.address), "process", SystemClock())


def by_a_daemon(project: Path, work: Callable[[SqliteStore], Awaitable[object]]) -> None:
    """What a daemon of before did to the file."""

    async def life() -> None:
        store = SqliteStore(
            Path(load(project).queue.location.address), "process", SystemClock(), "lax", "boot", lambda effects: None
        )
        await store.start()
        await work(store)
        await store.stop()

    asyncio.run(life())


@contextmanager
def held_by_another(path: Path, lock: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, lock, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


# enqueue


def test_a_run_is_stored_with_what_the_catalog_says_of_its_workflow(client: Client, project: Path) -> None:
    made = client.enqueue("resize", {"key": "a"})
    assert (made.state, made.group, made.deduplicated) == ("pending", "media", False)
    assert made.warning == "no daemon is running; the run starts when `tako-lite serve` does"
    run = client.get(made.id)
    assert (run["workflow"], run["group_source"], run["payload"]) == ("resize", "workflow", {"key": "a"})
    assert (run["max_attempts"], run["priority"], run["state"]) == (5, 7, "pending")


def test_options_of_the_enqueue_win_over_the_decorator(client: Client) -> None:
    id = new_id()
    made = client.enqueue(
        "resize", unique_key="k", at="2030-01-01T00:00:00Z", priority=-5, retries=0, worker="email", id=id
    )  # fmt: skip
    run = client.get(id)
    assert made.id == id
    assert (run["group"], run["group_source"], run["unique_key"]) == ("email", "enqueue", "k")
    assert (run["max_attempts"], run["priority"], run["run_at"]) == (1, -5, "2030-01-01T00:00:00.000Z")


def test_a_workflow_may_be_given_by_its_handle(client: Client) -> None:
    from tako_lite.workflow import workflow

    @workflow("mail", worker="ignored-here")
    def mail(payload: Any) -> None: ...

    assert client.enqueue(mail, 1).group == "email"


@pytest.mark.parametrize("at", [datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T01:00:00+01:00"])
def test_a_time_may_be_a_datetime_or_text(client: Client, at: Any) -> None:
    assert client.get(client.enqueue("plain", at=at).id)["run_at"] == "2030-01-01T00:00:00.000Z"


def test_a_delay_counts_from_now(client: Client) -> None:
    run = client.get(client.enqueue("plain", delay="1h").id)
    created, due = (datetime.fromisoformat(run[key]) for key in ("created_at", "run_at"))
    assert 3590 < (due - created).total_seconds() <= 3600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "2030-01-01T00:00:00"}, "has no time zone"),
        ({"at": datetime(2030, 1, 1)}, "has no time zone"),
        ({"at": "soon"}, "'soon' is not a time"),
        ({"at": 5}, "must be a datetime or ISO text"),
        ({"at": datetime(1969, 1, 1, tzinfo=UTC)}, "1970 to 9999"),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1}, "both a delay and a time"),
        ({"delay": -1}, "negative"),
        ({"priority": True}, "priority must be an integer"),
        ({"priority": 1 << 20_000}, "out of range"),
        ({"retries": "3"}, "retries must be an integer"),
        ({"retries": -1}, "retries = -1 is out of range"),
        ({"unique_key": ""}, "a unique key must have 1 to"),
        ({"unique_key": "\ud800"}, "lone surrogate"),
        ({"id": "7"}, "is not a run id"),
        ({"worker": 3}, "worker must be text"),
        ({"colour": "a"}, "colour is not an option here"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_option_is_refused_and_nothing_is_stored(client: Client, project: Path, options: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        client.enqueue("plain", 1, **options)
    assert queue_of(project).list_run_ids(RunFilter()) == []


def test_the_options_are_those_that_the_handles_promise() -> None:
    assert set(OPTIONS) == EnqueueOptions.__annotations__.keys()


def test_the_record_of_a_request_has_the_same_options() -> None:
    assert {field.name for field in fields(EnqueueRequest)} == set(OPTIONS_OF_MANY)
    assert {field.name for field in fields(Enqueue)} == {*OPTIONS, "workflow", "payload", "run_id", "again_of"} - {"id"}
    assert {field.name for field in fields(EnqueueMany)} == {*OPTIONS_OF_MANY, "workflow", "payloads", "run_ids"}


def test_unknown_workflows_and_groups_are_refused_with_a_suggestion(client: Client) -> None:
    with pytest.raises(NotFound, match="resise") as unknown:
        client.enqueue("resise")
    assert (unknown.value.type, unknown.value.exit_code) == ("unknown_workflow", 5)
    assert "resize" in (unknown.value.hint or "")
    with pytest.raises(NotFound, match="emial") as group:
        client.enqueue("resize", worker="emial")
    assert group.value.type == "unknown_group"


def test_mistakes_in_the_files_are_reported_and_nothing_is_stored(client: Client, project: Path) -> None:
    (project / "workflows" / "all.py").write_text("from tako_lite import workflow\n@workflow(1)\ndef f(): ...\n")
    with pytest.raises(CatalogError):
        client.enqueue("plain")
    (project / "tako.toml").write_text("workfows = 1")
    with pytest.raises(ConfigError):
        client.enqueue("plain")
    assert not (project / ".tako" / "queue.db").exists()


def test_a_workflow_added_later_is_seen_by_the_same_client(client: Client, project: Path) -> None:
    client.enqueue("plain")
    (project / "workflows" / "new.py").write_text("from tako_lite import workflow\n@workflow('new')\ndef new(p): ...\n")
    assert client.enqueue("new").group == "default"


def test_one_unique_key_makes_one_run(client: Client) -> None:
    first = client.enqueue("plain", 1, unique_key="k")
    second = client.enqueue("plain", 2, unique_key="k")
    assert (second.id, second.deduplicated) == (first.id, True)


def test_the_same_id_again_makes_no_second_run(client: Client, project: Path) -> None:
    id = new_id()
    assert [client.enqueue("plain", 1, id=id).deduplicated for _ in range(3)] == [False, True, True]
    assert queue_of(project).list_run_ids(RunFilter()) == [id]


def test_many_payloads_are_stored_in_order(client: Client, project: Path) -> None:
    ids = client.enqueue_many("plain", ({"n": n} for n in range(2_500)), priority=3)
    assert ids == queue_of(project).list_run_ids(RunFilter())
    assert len(ids) == 2_500
    assert client.get(ids[-1])["payload"] == {"n": 2_499}
    assert client.get(ids[0])["priority"] == 3
    assert ids.warning is not None


def test_an_error_among_many_says_what_is_stored_before_it(client: Client, project: Path) -> None:
    payloads = [*range(1_000), *range(5), b"no"]
    with pytest.raises(BadInput, match=r"payloads\[1005\]") as refused:
        client.enqueue_many("plain", payloads)
    assert "1,000 of the payloads before are stored" in (refused.value.hint or "")
    assert len(queue_of(project).list_run_ids(RunFilter())) == 1_000


@pytest.mark.parametrize("payloads", ["abc", b"abc", {"a": 1}])
def test_what_is_one_payload_is_not_taken_for_many(client: Client, payloads: Any) -> None:
    with pytest.raises(BadInput, match="payloads are a list"):
        client.enqueue_many("plain", payloads)


# the file


def test_the_file_is_made_for_its_owner_alone(client: Client, project: Path) -> None:
    client.enqueue("plain")
    assert stat.S_IMODE((project / ".tako").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (project / ".tako").iterdir()} == {0o600}


def test_a_file_of_a_newer_release_is_left_alone(client: Client, project: Path) -> None:
    id = client.enqueue("plain").id
    path = Path(load(project).queue.location.address)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for attempt in (lambda: client.enqueue("plain"), lambda: client.get(id), client.status):
        with pytest.raises(StoreTooNew):
            attempt()
    assert path.read_bytes() == before


def test_a_file_that_is_not_a_database_is_reported_and_left_alone(client: Client, project: Path) -> None:
    path = project / ".tako" / "queue.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    before = path.read_bytes()
    for attempt in (lambda: client.enqueue("plain"), client.status):
        with pytest.raises(StoreDamaged, match="damaged"):
            attempt()
    assert path.read_bytes() == before


def test_a_file_whose_maker_died_before_the_tables_holds_nothing(client: Client, project: Path) -> None:
    path = project / ".tako" / "queue.db"
    path.parent.mkdir()
    path.touch()
    assert client.status()["queue"] == {"file_bytes": 0, "pruned": {}}
    assert client.enqueue("plain").state == "pending"


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(client: Client, project: Path) -> None:
    (project / ".tako").write_text("in the way")
    with pytest.raises(DaemonUnreachable, match="Not a directory"):
        client.enqueue("plain")


# the other writing commands


def test_a_pending_run_is_cancelled_and_a_cancelled_one_can_be_retried(client: Client) -> None:
    id, unknown = client.enqueue("plain").id, new_id()
    assert client.cancel(id, unknown) == {id: "cancelled", unknown: "unknown"}
    assert client.cancel(id) == {id: "ended"}
    assert client.get(id)["error"]["reason"] == "cancelled"
    assert client.retry(id[-12:]) == {id: "pending"}
    assert client.retry(id) == {id: "live"}
    assert client.get(id)["state"] == "pending"


def test_a_run_that_was_running_when_the_daemon_ended_is_marked_for_cancelling(client: Client, project: Path) -> None:
    id = client.enqueue("plain").id
    by_a_daemon(project, lambda store: store.claim_runs("default", 1))
    assert client.cancel(id) == {id: "cancelling"}
    run = client.get(id)
    assert (run["state"], run["cancel_requested"]) == ("running", True)


def test_a_signal_ends_the_waits_that_are_there_and_the_first_one_stays(client: Client, project: Path) -> None:
    id = client.enqueue("plain").id

    async def wait_for_approval(store: SqliteStore) -> None:
        await store.claim_runs("default", 1)
        await store.add_wait(NewWait(id, 1, "approval", "signal", "go", None))
        await store.park_run(id, 1, ["approval"])

    by_a_daemon(project, wait_for_approval)
    (wait,) = client.get(id)["waits"]
    assert wait.pop("started_at")
    assert wait == {"name": "approval", "kind": "signal", "key": "go", "wake_at": None}
    assert client.signal("go", {"by": "ann"}) == 1
    assert client.signal("go", "later") == 0
    run = client.get(id)
    assert (run["state"], run["steps"][0]["result"]) == ("pending", {"by": "ann"})


def test_a_signal_needs_a_sound_name(client: Client) -> None:
    with pytest.raises(BadInput, match="is not a name for a signal"):
        client.signal("a\nb")


# reading


def test_reading_makes_no_file(client: Client, project: Path) -> None:
    with pytest.raises(NotFound):
        client.get(new_id())
    with pytest.raises(NotFound):
        client.get("abcd")
    assert client.call("runs") == {"runs": []}
    assert client.status()["daemon"] is None
    assert not (project / ".tako").exists()


def test_an_ending_finds_its_run(client: Client) -> None:
    id = client.enqueue("plain", "x").id
    assert client.get(id[-6:])["id"] == id
    with pytest.raises(BadInput, match="too short"):
        client.get(id[-3:])


def test_status_shows_groups_of_the_file_of_decorators_and_of_the_queue(client: Client, project: Path) -> None:
    client.enqueue("resize")
    client.enqueue("mail", delay="1h")

    async def leave_traces(store: SqliteStore) -> None:
        await store.enqueue_runs([NewRun(new_id(), "old", "gone", "workflow", "null", 0, 0, 1)])
        await store.pause_group("email", True)
        await store.scale_group("gone", 0)

    by_a_daemon(project, leave_traces)
    status = client.status()
    groups = {group["name"]: group for group in status["groups"]}
    assert list(groups) == ["default", "email", "gone", "media"]
    media = groups["media"]
    assert (media["state"], media["workers"], media["min_workers"], media["max_workers"]) == ("zero", [], 2, 4)
    assert (media["concurrency"], media["pending"], media["busy"]) == (3, 1, 0)
    assert (groups["email"]["state"], groups["email"]["pending"], groups["email"]["oldest_wait_s"]) == ("paused", 1, None)
    assert (groups["gone"]["min_workers"], groups["gone"]["max_workers"]) == (0, 1)
    assert groups["gone"]["oldest_wait_s"] > 0
    assert status["queue"]["file_bytes"] > 0


def test_status_works_with_mistakes_in_the_workflow_files(client: Client, project: Path) -> None:
    client.enqueue("resize")
    (project / "workflows" / "all.py").write_text("import tako_lite\ndef broken(:")
    status = client.status()
    assert {group["name"]: group["pending"] for group in status["groups"]} == {"default": 0, "media": 1}
    assert "1 mistake in the workflow files" in status["warnings"][0]


def test_waiting_reads_the_file_until_the_run_ends(client: Client, project: Path) -> None:
    id = client.enqueue("plain").id
    with pytest.raises(WaitTimeout, match="did not end within 50ms") as over:
        client.wait(id, timeout="50ms")
    assert over.value.exit_code == 124
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, id[-8:], 30)
        assert Client(project).cancel(id) == {id: "cancelled"}
        assert waiting.result()["state"] == "cancelled"


def test_waiting_for_a_run_that_is_not_there_fails_at_once(client: Client) -> None:
    with pytest.raises(NotFound):
        client.wait(new_id())


def test_commands_that_need_a_daemon_say_so(client: Client) -> None:
    with pytest.raises(DaemonUnreachable, match="no daemon is running") as missing:
        client.call("reload")
    assert (missing.value.exit_code, missing.value.hint) == (4, "`tako-lite serve` starts one")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("cancel", {"run_ids": "abc"}, "cancel.run_ids: expected list[str]"),
        ("cancel", {}, "cancel.run_ids"),
        ("retry", {"run_ids": [], "fresh": "yes"}, "retry.fresh: expected bool"),
        ("runs", {"states": ["nope"]}, "there is no state 'nope'"),
        ("ids", {"states": ["succeded"]}, "there is no state 'succeded'"),
        ("runs", {"limit": "x"}, "runs.limit: expected int"),
        ("enqueue", {"workflow": "plain", "delay": "soon"}, "enqueue.delay: expected float"),
        ("enqueue", {"workflow": "plain", "bogus": 1}, "enqueue.bogus: not a field"),
        ("enqueue", {}, "enqueue.workflow"),
        ("enqueue_many", {"workflow": "plain", "payloads": [1, 2], "run_ids": ["a"]}, "have different lengths"),
        ("signal", {"event": 1}, "signal.event: expected str"),
        ("status", {"verbose": True}, "status.verbose: not a field"),
        ("backup", {"file": "copy.db"}, "absolute path"),
    ],
)
def test_arguments_that_the_daemon_would_refuse_are_refused(
    client: Client, project: Path, command: str, arguments: Any, message: str
) -> None:
    kept = client.enqueue("plain").id
    with pytest.raises(BadInput) as caught:
        client.call(command, **arguments)
    assert message in caught.value.message
    assert [(run["id"], run["state"]) for run in client.call("runs")["runs"]] == [(kept, "pending")]


def test_filters_take_what_becomes_a_list_on_the_wire(client: Client) -> None:
    id = client.enqueue("plain").id
    assert client.call("ids", states=("pending", "dead"))["ids"] == [id]
    assert client.call("ids", states=("dead",))["ids"] == []


def test_workflows_are_read_from_the_files(client: Client) -> None:
    shown = {workflow["name"]: workflow for workflow in client.call("workflows")["workflows"]}
    assert (shown["resize"]["group"], shown["resize"]["file"]) == ("media", "workflows/all.py")


def test_schedules_are_those_of_the_last_daemon_without_a_next_time(client: Client, project: Path) -> None:
    assert client.call("schedules") == {"schedules": []}
    nightly = Schedule("plain", "0 3 * * *", "UTC", "latest", None, None, False)
    by_a_daemon(project, lambda store: store.put_schedules([nightly], 1_893_456_000_000))
    (shown,) = client.call("schedules")["schedules"]
    assert (shown["workflow"], shown["cron"], shown["next_at"]) == ("plain", "0 3 * * *", None)


def test_why_explains_that_no_daemon_runs_for_a_due_run(client: Client) -> None:
    told = client.call("why", run_id=client.enqueue("resize").id)["sentence"]
    assert told == "It is due, but no daemon is running: start tako-lite serve and it runs in media."


def test_why_explains_a_run_that_was_running_when_the_daemon_ended(client: Client, project: Path) -> None:
    id = client.enqueue("plain").id
    by_a_daemon(project, lambda store: store.claim_runs("default", 1))
    assert client.call("why", run_id=id)["sentence"].endswith("the next daemon will re-queue it without charging an attempt.")
    client.cancel(id)
    assert client.call("why", run_id=id)["sentence"].endswith("the next daemon will cancel it, as requested.")


@pytest.mark.parametrize("stored", [False, True], ids=["no-file", "file"])
@pytest.mark.parametrize(("command", "name"), [("get", "run_id"), ("why", "run_id"), ("find", "ending")])
def test_an_unknown_run_is_reported_in_the_same_words(client: Client, command: str, name: str, stored: bool) -> None:
    if stored:
        client.enqueue("plain")
    with pytest.raises(NotFound, match="there is no run 'feedbeef'") as caught:
        client.call(command, **{name: "feedbeef"})
    assert caught.value.type == "unknown_run"


def test_a_backup_is_one_file_that_needs_no_other(client: Client, project: Path, tmp_path: Path) -> None:
    client.enqueue("plain")
    copy = tmp_path / "copy.db"
    told = client.call("backup", file=str(copy))
    assert told == {"file": str(copy), "bytes": copy.stat().st_size}
    with sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    connection.close()


def test_a_backup_of_no_queue_makes_no_file(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no queue to copy"):
        client.call("backup", file=str(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_that_fails_is_taken_away(client: Client, project: Path, tmp_path: Path) -> None:
    client.enqueue_many("plain", ["x" * 100_000] * 20)
    bound = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    code = bound + "from tako_lite import Client; Client(sys.argv[1]).call('backup', file=sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(project), str(tmp_path / "copy.db")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "StoreError" in done.stderr or "StorageFull" in done.stderr
    assert "copy.db" in done.stderr
    assert not (tmp_path / "copy.db").exists()


# locks


def test_a_daemon_that_does_not_answer_is_waited_for_and_then_given_up(project: Path) -> None:
    client = Client(project, patience="100ms")
    with held_by_another(project / ".tako", "daemon_lock"):
        for attempt in (lambda: client.enqueue("plain"), client.status, lambda: client.call("reload")):
            with pytest.raises(DaemonUnreachable, match="holds the lock, but it did not answer within 100ms"):
                attempt()
    assert queue_of(project).list_run_ids(RunFilter()) == []


def test_once_the_daemon_is_gone_the_run_is_written_to_the_file(project: Path) -> None:
    client = Client(project, patience=30)
    with held_by_another(project / ".tako", "daemon_lock") as daemon, ThreadPoolExecutor(1) as threads:
        enqueueing = threads.submit(client.enqueue, "plain")
        daemon.kill()
        assert enqueueing.result().warning is not None


def test_another_writer_is_waited_for(project: Path) -> None:
    impatient, patient = Client(project, patience="100ms"), Client(project, patience=30)
    with held_by_another(project / ".tako/queue.db", "write_lock") as writer, ThreadPoolExecutor(1) as threads:
        with pytest.raises(StoreBusy):
            impatient.enqueue("plain")
        assert impatient.status()["daemon"] is None
        enqueueing = threads.submit(patient.enqueue, "plain")
        writer.kill()
        assert enqueueing.result().state == "pending"


def test_no_lock_is_left_behind(client: Client, project: Path) -> None:
    client.enqueue("plain")
    with pytest.raises(NotFound):
        client.enqueue("nothing")
    for lock in (
        daemon_lock(project / ".tako"),
        SqliteQueue(project / ".tako/queue.db").serving_lock(),
        SqliteQueue(project / ".tako/queue.db").write_lock(),
    ):
        assert lock.acquire()
        lock.release()


def _enqueue_ten(project: str) -> list[str]:
    client = Client(project)
    return [client.enqueue("plain", n).id for n in range(10)]


def test_every_run_of_many_threads_and_processes_is_stored(client: Client, project: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as processes, ThreadPoolExecutor(4) as threads:
        elsewhere = processes.map_async(_enqueue_ten, [str(project)] * 3)
        here = [threads.submit(client.enqueue, "plain", n) for n in range(40)]
        ids = {made.result().id for made in here} | {id for part in elsewhere.get(60) for id in part}
        processes.close()
        processes.join()
    assert len(ids) == 70
    assert set(queue_of(project).list_run_ids(RunFilter())) == ids


def test_the_asyncio_client_does_the_same(project: Path) -> None:
    async def everything() -> None:
        async with AsyncClient(project) as client:
            made = await asyncio.gather(*(client.enqueue("plain", n) for n in range(30)))
            assert len({run.id for run in made}) == 30
            many = await client.enqueue_many("plain", range(3))
            assert await client.cancel(many[0]) == {many[0]: "cancelled"}
            assert (await client.wait(many[0]))["state"] == "cancelled"
            assert await client.retry(many[0]) == {many[0]: "pending"}
            assert await client.signal("go") == 0
            assert (await client.get(many[2][-8:]))["payload"] == 2
            assert (await client.status())["groups"][0]["pending"] == 33
            with pytest.raises(WaitTimeout):
                await client.wait(many[1], timeout=0)

    asyncio.run(everything())


def test_the_runs_that_match_are_read_page_by_page_the_newest_first(client: Client, project: Path) -> None:
    ids = client.enqueue_many("plain", range(230))
    client.cancel(*ids[:3])
    assert [run["id"] for run in client.runs()] == sorted(ids, reverse=True)
    assert [run["payload"] for run in client.runs(state="cancelled")] == [2, 1, 0]
    assert len(list(client.runs(workflow="plain", group="default", state=["pending", "cancelled"], since="1h"))) == 230
    assert list(client.runs(since=datetime.now(UTC) + timedelta(minutes=1))) == []
    assert list(client.runs(since=timedelta(0))) == []
    wrong_filters: list[dict[str, Any]] = [{"state": "failed"}, {"since": "yesterday"}, {"since": -1}, {"state": [5]}]
    for wrong in wrong_filters:
        with pytest.raises(BadInput):
            list(client.runs(**wrong))

    async def newest() -> str:
        async with AsyncClient(project) as asynchronous:
            async for run in asynchronous.runs(state="pending"):
                return str(run["id"])
        raise AssertionError("there are runs")

    assert asyncio.run(newest()) == max(ids)


def test_a_path_without_a_project_is_refused_at_once(tmp_path: Path) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(ConfigError):
            make(tmp_path / "missing")


def test_without_tako_toml_the_folder_of_the_start_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "all.py").write_text(WORKFLOWS)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    client = Client()
    monkeypatch.chdir("/")
    client.enqueue("plain")
    assert (tmp_path / ".tako" / "queue.db").exists()


# the queue itself


def test_a_failing_transaction_stores_nothing(project: Path) -> None:
    queue = queue_of(project)
    good = NewRun(new_id(), "w", "default", "default", "null", 0, 0, 1)
    with pytest.raises(StoreError):
        queue.enqueue_batches([(good, [(good.id, "null"), (None, "null")])])  # type: ignore[list-item]
    assert queue.list_run_ids(RunFilter()) == []


def test_the_writing_module_loads_no_asyncio_driver() -> None:
    program = "import sys, tako_lite.store.sqlite.offline, tako_lite.client.offline; print('aiosqlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_long_payloads_come_back_whole(client: Client) -> None:
    payload = {"text": "ü" * 200_000}
    assert client.get(client.enqueue("plain", payload).id)["payload"] == payload


def test_the_threads_of_a_forked_child_enqueue_too(client: Client, project: Path) -> None:
    client.enqueue("plain")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            worker = threading.Thread(target=client.enqueue, args=("plain",))
            worker.start()
            worker.join()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ids = queue_of(project).list_run_ids(RunFilter())
    assert len(ids) == len(set(ids)) == 2


def test_more_runs_than_a_request_holds_are_cancelled_in_parts(client: Client) -> None:
    ids = client.enqueue_many("plain", range(1_500))
    assert client.cancel(*ids) == dict.fromkeys(ids, "cancelled")
