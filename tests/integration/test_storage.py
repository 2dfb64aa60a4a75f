"""The queue file and the disk below it: synced, full, damaged, long, and opened by nobody but SQLite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tako_lite.errors import StoreError, StoreGone
from tako_lite.linux import resident_bytes
from tests.support.processes import no_room, sleeps
from tests.support.profiles import scaled
from tests.support.project import Project, wait_until
from tests.support.queue_file import queue_file, wal
from tests.support.runs import HOLD, charged, release

pytestmark = pytest.mark.sqlite

QUICK = "@workflow('quick')\nasync def quick(payload):\n    return 1\n"
LOGGED_LIMIT = 32 * 1024 * 1024
"""The WAL's `journal_size_limit`."""


AUDIT = """
import os, sys

def note(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, bytes)):
        return
    path = os.fsdecode(arguments[0])
    name = path.rpartition("/")[2]
    if name.startswith("queue.db") and not name.endswith(".lock") and not arguments[2] & os.O_EXCL:
        with open(os.environ["OPENED"], "a") as log:
            log.write(path + "\\n")

sys.addaudithook(note)
"""


@contextmanager
def syscalls(pid: int, wanted: str, log: Path) -> Iterator[None]:
    """Have strace write down these system calls of a process with the paths of their descriptors."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here")
    command = [strace, "-f", "-y", "-e", f"trace={wanted}", "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace is not allowed here: {said}")
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=15)


LONE = scaled(20, 1_000)


@pytest.mark.full
@pytest.mark.parametrize(("durability", "least", "most"), [("disk", LONE, 10_000), ("process", 0, 5 + LONE // 50)])
def test_each_run_that_is_enqueued_alone_is_synced_to_the_disk_unless_that_was_declined(
    project: Project, durability: str, least: int, most: int
) -> None:
    project.configure(f'[queue]\ndurability = "{durability}"\n')
    project.workflow("a.py", QUICK)
    pid = project.serve()
    project.call("pause", group="default")
    log = project.root / "strace.log"
    with syscalls(pid, "fsync,fdatasync", log), project.client() as client:
        for number in range(LONE):
            client.enqueue("quick", number)
    syncs = log.read_text().count("queue.db-wal>")
    print(f"{syncs} syncs for {LONE} lone enqueues, durability {durability}")
    assert least <= syncs <= most


def test_a_burst_of_a_thousand_enqueues_shares_its_syncs(project: Project) -> None:
    project.workflow("a.py", QUICK)
    pid = project.serve()
    project.call("pause", group="default")
    log = project.root / "strace.log"

    def enqueue(producer: int) -> None:
        with project.client() as client:
            for number in range(25):
                client.enqueue("quick", [producer, number])

    with syscalls(pid, "fsync,fdatasync", log), ThreadPoolExecutor(40) as producers:
        list(producers.map(enqueue, range(40)))
    assert project.group("default")["pending"] == 1_000
    syncs = log.read_text().count("queue.db-wal>")
    print(f"{syncs} syncs for 1,000 enqueues of 40 producers")
    assert 0 < syncs < 250


def test_a_disk_without_room_refuses_new_runs_keeps_what_workers_report_and_needs_no_restart(project: Project) -> None:
    project.workflow("a.py", HOLD)
    project.workflow("quick.py", QUICK)
    pid = project.serve()
    held = project.enqueue("hold", "y" * 5_000)
    (fact,) = project.wait_for_fact("hold")
    with project.client() as client, no_room(pid, max(wal(project).stat().st_size, 1)):
        with pytest.raises(StoreError, match="disk"):
            client.enqueue("quick", "z" * 5_000)
        release(project)
        project.wait_for_fact("over")
        wait_until(lambda: sleeps(fact["pid"]), "its worker has reported")
        for _ in range(3):
            with pytest.raises(StoreError, match="disk"):
                client.enqueue("quick", "z" * 5_000)
        assert charged(client.get(held)) == ("running", 0, 0)
        assert client.get(held)["steps"] == []
    assert project.wait(held, limit=5)["result"] == [20_000, "y" * 5_000]
    assert charged(project.get(held)) == ("succeeded", 1, 0)
    assert project.run("quick", "z" * 5_000)["state"] == "succeeded"
    assert project.status()["daemon"]["pid"] == pid
    assert len(project.facts("hold")) == 1
    with closing(sqlite3.connect(queue_file(project))) as queue:
        assert queue.execute("PRAGMA quick_check").fetchall() == [("ok",)]


def test_a_damaged_queue_file_stops_the_start_unchanged_with_the_command_that_rescues_it(project: Project) -> None:
    project.workflow("a.py", QUICK)
    project.enqueue("quick", "kept")
    file = queue_file(project)
    project.spoilt = "its header is smashed"
    file.write_bytes(b"\xff" * 100 + file.read_bytes()[100:])
    before = {entry.name: entry.read_bytes() for entry in file.parent.glob("queue.db*") if entry.suffix != ".lock"}
    served = project.cli("serve")
    assert (served.returncode, "Traceback" in served.stderr) == (1, False)
    assert "tako-lite doctor --rescue rescued.db" in served.stderr
    assert json.loads(project.cli("enqueue", "quick", "--json").stderr)["error"]["type"] == "damaged"
    assert {entry.name: entry.read_bytes() for entry in file.parent.glob("queue.db*") if entry.suffix != ".lock"} == before


def test_no_process_of_ours_opens_the_queue_file_but_through_sqlite(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    audit, opened = project.root / "audit", project.root / "opened"
    audit.mkdir()
    (audit / "sitecustomize.py").write_text(AUDIT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(audit), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("OPENED", str(opened))
    by_hand = "import os; os.close(os.open('queue.db', os.O_RDONLY | os.O_CREAT))"
    subprocess.run([sys.executable, "-c", by_hand], cwd=audit, check=True)
    assert opened.read_text() == "queue.db\n"
    opened.unlink()
    project.workflow("a.py", QUICK)
    assert project.cli("enqueue", "quick", "1").returncode == 0
    project.serve()
    for command in ("status", "prune", "reload", f"backup {project.root / 'online'}"):
        assert project.cli(*command.split()).returncode == 0, command
    project.stop(signal.SIGKILL)
    assert project.cli("backup", str(project.root / "offline")).returncode == 0
    project.serve()
    assert project.run("quick", 1)["state"] == "succeeded"
    assert project.stop() == 0
    assert not opened.exists(), opened.read_text()


@pytest.mark.parametrize("fate", ["moved", "deleted", "replaced"])
def test_a_queue_file_lost_while_runs_execute_is_reported_within_five_seconds(project: Project, fate: str) -> None:
    project.workflow("a.py", HOLD)
    project.serve()
    held = project.enqueue("hold", 1)
    project.wait_for_fact("hold")
    project.call("pause", group="default")
    queued = project.enqueue("hold", 2)
    file, away = queue_file(project), project.root / "away.db"
    file.rename(away)
    if fate == "replaced":
        shutil.copy(away, file)
    elif fate == "deleted":
        project.spoilt = "the queue is deleted"
        away.unlink()
    words = f"{file} was replaced by another file" if fate == "replaced" else f"{file} was moved or deleted"
    wait_until(lambda: words in project.daemon_log(), "it is noticed", limit=5)
    with project.client() as client:
        assert [warning.startswith(words) for warning in client.status()["warnings"]] == [True]
        assert words in client.call("why", run_id=queued)["sentence"]
        with pytest.raises(StoreGone, match=words) as refused:
            client.enqueue("hold", 3)
        assert ("delete queue.db-wal" in (refused.value.hint or "")) == (fate == "replaced")
        assert project.daemon_log().count(words) == 1
        if fate == "deleted":
            return
        away.replace(file)
        assert client.status()["warnings"] == []
        client.call("resume", group="default")
        release(project)
        assert [charged(client.wait(run_id, timeout=10)) for run_id in (held, queued)] == [("succeeded", 1, 0)] * 2
    assert project.stop() == 0
    with closing(sqlite3.connect(file)) as queue:
        assert queue.execute("PRAGMA quick_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("fate", ["moved", "deleted", "replaced", "with its folder"])
def test_a_queue_file_lost_at_idle_is_reported_and_work_continues_when_it_is_back(project: Project, fate: str) -> None:
    project.workflow("a.py", QUICK)
    pid = project.serve()
    file, away = queue_file(project), project.root / "away.db"
    if fate == "deleted":
        project.spoilt = "the queue is deleted"
        file.unlink()
    elif fate == "moved":
        file.rename(away)
    elif fate == "replaced":
        shutil.copy(file, away)
        file.rename(project.root / "first.db")
        away.rename(file)
    else:
        file.parent.rename(away)
    words = f"{file} was replaced by another file" if fate == "replaced" else f"{file} was moved or deleted"
    wait_until(lambda: words in project.daemon_log(), "it is noticed", limit=5)
    if fate == "moved":
        away.rename(file)
    elif fate == "replaced":
        (project.root / "first.db").rename(file)
    elif fate == "with its folder":
        away.rename(file.parent)
    else:
        return
    assert project.run("quick", "again")["state"] == "succeeded"
    assert project.status()["daemon"]["pid"] == pid
    assert project.daemon_log().count(words) == 1


def test_a_log_that_was_left_without_its_queue_is_not_thrown_away(project: Project) -> None:
    project.workflow("a.py", QUICK)
    project.serve()
    project.enqueue("quick", delay=3600)
    file, away = queue_file(project), project.root / "away.db"
    project.stop(signal.SIGKILL)
    file.rename(away)
    log = wal(project).read_bytes()
    for command in (("serve",), ("enqueue", "quick"), ("doctor",)):
        refused = project.cli(*command)
        said = refused.stdout + refused.stderr
        assert (refused.returncode, "its log queue.db-wal was left" in said.replace("\n", " ")) == (1, True), said
    assert wal(project).read_bytes() == log
    assert not file.exists()
    away.rename(file)
    assert project.cli("doctor").returncode == 0


def test_requests_after_the_loss_of_the_queue_file_get_an_error(project: Project) -> None:
    project.workflow("a.py", QUICK)
    project.serve()
    project.spoilt = "the queue is moved away"
    file = queue_file(project)
    file.rename(project.root / "away.db")
    with project.client() as client:
        assert [warning.partition(" was moved")[0] for warning in client.status()["warnings"]] == [str(file)]
    assert "was moved or deleted" in project.cli("doctor").stdout.replace("\n", " ")
    shown = project.cli("status")
    assert (shown.returncode, "was moved or deleted" in shown.stdout.replace("\n", " ")) == (0, True)


@pytest.mark.full
def test_the_wal_shrinks_to_its_limit_once_a_reader_that_held_it_back_is_gone(project: Project) -> None:
    project.workflow("a.py", QUICK)
    project.serve()
    project.call("pause", group="default")
    large = "x" * 1_000_000
    with project.client() as client:
        with closing(sqlite3.connect(queue_file(project), isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM runs").fetchall()
            over = time.monotonic() + scaled(0, 120)
            for _ in range(40):
                client.enqueue("quick", large)
            wait_until(lambda: client.enqueue("quick") and time.monotonic() > over, "it was held for so long", 130)
            length = wal(project).stat().st_size
            print(f"the WAL had {length:,} bytes beside a reader and {client.status()['groups'][0]['pending']} runs")
            assert length > LOGGED_LIMIT

        def shrunk() -> bool:
            client.enqueue("quick", large)
            return wal(project).stat().st_size <= LOGGED_LIMIT

        wait_until(shrunk, "the WAL is short again")
        assert client.status()["groups"][0]["pending"] > 40


def test_the_memory_of_the_daemon_does_not_grow_with_the_length_of_the_queue(project: Project) -> None:
    project.workflow("a.py", QUICK)
    pid = project.serve()
    project.call("pause", group="default")
    payloads = ["x" * 1_000] * 15_000
    with project.client() as client:
        client.enqueue_many("quick", payloads)  # what is needed once: caches, buffers
        before = resident_bytes(pid)
        for _ in range(2):
            client.enqueue_many("quick", payloads)
        after = resident_bytes(pid)
        assert client.status()["groups"][0]["pending"] == 45_000
    assert before is not None and after is not None
    assert after - before < 10_000_000  # 30 MB of payloads were added
