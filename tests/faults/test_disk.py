"""The disk below a real daemon: full, failing, slow, cut short and smashed, and kills in the middle of what it does there."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tako_lite.errors import NotFound, StorageFull, StoreDamaged, StoreError
from tako_lite.records import new_id
from tako_lite.states import TERMINAL
from tako_lite.store.migrate import migrations
from tako_lite.store.sqlite import file
from tako_lite.store.sqlite.file import connect
from tests.support import clock_daemon
from tests.support.disk_shim import FOREVER, QUEUE, READ, SYNC, TRUNCATE, WAL, WRITE, Shim
from tests.support.profiles import scaled
from tests.support.project import Project, is_gone, wait_until
from tests.support.queue_file import make_older, queue_file, wal
from tests.support.restore import WORKFLOWS, run_commands
from tests.support.runs import HOLD, charged, release

pytestmark = [pytest.mark.sqlite, pytest.mark.long]

RESUMES: Final = 5.0
"""Seconds in which service resumes once a fault is over."""
PAGE: Final = 4096
TABLE_LEAF: Final = 0x0D
"""The first byte of a page with rows of a table."""
TOLD: Final = """
    @workflow("told")
    async def told(payload, step: Step):
        witness("ran", run=step.run_id)
        return len(payload)
"""
FAULTS: Final = {
    "a full disk": (WRITE, errno.ENOSPC, StorageFull),
    "a write that fails": (WRITE, errno.EIO, StoreError),
    "a sync that fails": (SYNC, errno.EIO, StoreError),
}


def sound(project: Project) -> bool:
    with closing(sqlite3.connect(queue_file(project))) as queue:
        return queue.execute("PRAGMA quick_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("fault", FAULTS)
def test_one_failure_at_any_place_loses_nothing_and_what_was_refused_can_be_asked_again(
    project: Project, shim: Shim, fault: str
) -> None:
    operation, error, kind = FAULTS[fault]
    project.workflow("a.py", TOLD)
    pid = project.serve(**shim.environment())
    ids, refused = [new_id() for _ in range(10)], []
    with project.client() as client:
        for after, run_id in enumerate(ids):
            shim.fail(operation, error, after=after, part=100 * after)
            for _ in range(2):  # the second time, the daemon knows the run or does not: "an error" left that open
                try:
                    assert client.enqueue("told", "x" * 3_000, id=run_id).id == run_id
                except kind as raised:
                    refused.append(raised)
                else:
                    break
            assert client.wait(run_id, timeout=RESUMES)["result"] == 3_000
        assert client.status()["daemon"]["pid"] == pid
    assert refused
    assert all(raised.hint for raised in refused)
    assert sorted(fact["run"] for fact in project.facts("ran")) == sorted(ids)
    assert project.stop() == 0
    assert sound(project)


@pytest.mark.parametrize("fault", FAULTS)
def test_while_all_fail_nothing_is_acknowledged_and_service_resumes_by_itself(project: Project, shim: Shim, fault: str) -> None:
    operation, error, kind = FAULTS[fault]
    project.workflow("a.py", HOLD)
    project.workflow("told.py", TOLD)
    pid = project.serve(**shim.environment())
    held = project.enqueue("hold", "y")
    project.wait_for_fact("hold")
    with project.client() as client:
        shim.fail(operation, error, times=FOREVER)
        for _ in range(3):
            with pytest.raises(kind, match="disk"):
                client.enqueue("told", "x")
        release(project)
        project.wait_for_fact("over")
        fired = shim.fired
        wait_until(lambda: shim.fired > fired + 1, "what the worker reports is tried again")
        assert client.get(held)["steps"] == []
        shim.heal()
        over = time.monotonic()
        last = client.enqueue("told", "x").id
        assert client.wait(last, timeout=RESUMES)["state"] == "succeeded"
        assert charged(client.wait(held, timeout=RESUMES)) == ("succeeded", 1, 0)
        assert time.monotonic() - over < RESUMES
        assert client.status()["daemon"]["pid"] == pid
    assert len(project.facts("hold")) == 1
    project.stop(signal.SIGKILL)
    project.serve()
    assert charged(project.get(held)) == ("succeeded", 1, 0)
    assert project.stop() == 0
    assert sound(project)


@pytest.mark.full
def test_syncs_of_half_a_second_hold_up_neither_answers_nor_heartbeats(project: Project, shim: Shim) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow("a.py", HOLD)
    project.workflow("told.py", TOLD)
    clock_daemon.serve(project, watched=True, **shim.environment())
    held = project.enqueue("hold", "y")
    project.wait_for_fact("hold")
    shim.delay(SYNC, 0.5)
    syncs = scaled(3, 30)
    ids: list[str] = []

    def enqueue() -> None:
        with project.client() as client:
            ids.extend(client.enqueue("told", "x").id for _ in range(syncs))

    enqueuer = threading.Thread(target=enqueue)
    enqueuer.start()
    slowest = 0.0
    with project.client() as client:
        while enqueuer.is_alive():
            asked = time.monotonic()
            client.status()
            slowest = max(slowest, time.monotonic() - asked)
            enqueuer.join(0.02)
        print(f"status took {slowest * 1000:.0f} ms at most while {shim.fired} syncs took 500 ms")
        assert shim.fired >= syncs
        assert slowest < 0.45
        shim.heal()
        release(project)
        assert charged(client.wait(held, timeout=10)) == ("succeeded", 1, 0)
        assert [client.wait(run_id, timeout=10)["state"] for run_id in ids] == ["succeeded"] * syncs
    assert len(project.facts("hold")) == 1
    assert project.stop() == 0
    p99 = clock_daemon.p99(project)
    print(f"loop lag beside slow syncs: p99 {p99 * 1000:.1f} ms")
    assert p99 < clock_daemon.LONG_LAG


PACED: Final = """
    from tako_lite import poll

    @workflow("paced", limit={limit}, schedule="0 {hour} * * *")
    async def paced(payload, step: Step):
        witness("paced")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)

    @poll("look", every="{hour}h", starts="paced")
    def look(cursor):
        return [], cursor
"""


def in_force(project: Project) -> tuple[object, ...]:
    """What a reload may change: schedules, triggers and settings."""
    schedules, triggers = project.call("schedules")["schedules"], project.call("triggers")["triggers"]
    return [one["cron"] for one in schedules], [one["every_s"] for one in triggers], project.group("default")["concurrency"]


def test_a_reload_that_cannot_be_stored_changes_nothing_and_the_next_changes_all(project: Project, shim: Shim) -> None:
    project.workflow("a.py", PACED.format(limit=1, hour=3))
    project.workflow("told.py", TOLD)
    pid = project.serve(**shim.environment())
    wait_until(lambda: project.call("triggers")["triggers"][0]["evaluated_at"], "the trigger has looked")
    before = in_force(project)
    project.workflow("a.py", PACED.format(limit=2, hour=4))
    project.workflow("new.py", TOLD.replace("told", "new"))
    project.configure("[workflows.default]\nconcurrency = 7\n")
    shim.fail(WRITE, errno.ENOSPC, times=FOREVER)
    with pytest.raises(StorageFull):
        project.call("reload")
    shim.heal()
    assert in_force(project) == before
    with pytest.raises(NotFound, match="new"):
        project.enqueue("new", "x")
    ids = [project.enqueue("paced") for _ in range(3)]
    project.run("told", "x")
    assert len(project.wait_for_fact("paced")) == 1
    project.call("reload")
    assert in_force(project) == (["0 4 * * *"], [4 * 3600], 7)
    project.wait_for_fact("paced", 2)
    release(project)
    assert project.run("new", "x")["state"] == "succeeded"
    assert [project.wait(run_id)["state"] for run_id in ids] == ["succeeded"] * 3
    assert project.status()["daemon"]["pid"] == pid


# Small file systems


def mounted(project: Project, *mounts: tuple[str, str]) -> None:
    """Have the daemon see small disks at some folders, with a file of a third of their size on each."""
    unshare = shutil.which("unshare")
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && head -c "$3" /dev/zero > "$2/ballast"'
    trial = [unshare or "false", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if unshare is None or subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip("a user namespace with a file system of its own is not allowed here")
    for folder, size in mounts:
        (project.root / folder).mkdir(parents=True, exist_ok=True)
        project.wrapper += [unshare, "-rm", "sh", "-ec", f'{script}; shift 3; exec "$@"', "sh", size, folder]
        project.wrapper += [str(int(size.rstrip("k")) * 1024 // 3)]


def seen_by(pid: int, path: Path) -> Path:
    """A file as a process sees it that has mounts of its own."""
    return Path(f"/proc/{pid}/root{path}")


def test_a_full_file_system_of_two_megabytes_refuses_until_there_is_room_again(project: Project) -> None:
    project.spoilt = "only the daemon sees the file system that its queue is on"
    project.configure('[queue]\nurl = "sqlite:///disk/queue.db"\n')
    mounted(project, ("disk", "2048k"))
    project.workflow("a.py", HOLD)
    project.workflow("told.py", TOLD)
    pid = project.serve()
    held = project.enqueue("hold", "y" * 5_000)
    project.wait_for_fact("hold")
    project.call("pause", group="default")
    acked: list[str] = []
    with project.client() as client:
        with pytest.raises(StorageFull):
            acked.extend(client.enqueue("told", "x" * 50_000).id for _ in range(100))
        assert acked
        release(project)
        project.wait_for_fact("over")
        with pytest.raises(StorageFull):
            client.enqueue("told", "x" * 50_000)
        seen_by(pid, project.root / "disk/ballast").unlink()
        over = time.monotonic()
        acked.append(client.enqueue("told", "x" * 50_000).id)
        assert charged(client.wait(held, timeout=RESUMES)) == ("succeeded", 1, 0)
        assert time.monotonic() - over < RESUMES
        client.call("resume", group="default")
        assert {client.wait(run_id, timeout=RESUMES)["result"] for run_id in acked} == {50_000}
        assert client.status()["daemon"]["pid"] == pid
    assert not queue_file(project).exists()


def test_a_full_disk_below_the_logs_loses_lines_and_no_run(project: Project) -> None:
    mounted(project, (".tako/logs", "64k"))
    project.workflow(
        "a.py",
        """
        @workflow("chatty")
        def chatty(payload, step: BlockingStep):
            for number in range(200):
                print("x" * 1_000, flush=True)
            return payload
        """,
    )
    pid = project.serve()
    assert [project.run("chatty", number)["result"] for number in range(3)] == [0, 1, 2]
    log = seen_by(pid, project.root / ".tako/logs/default.jsonl")
    assert 0 < log.stat().st_size < 64 * 1024
    assert "Traceback" not in project.daemon_log()
    log.with_name("ballast").unlink()
    before = log.stat().st_size
    assert project.run("chatty", 4)["result"] == 4
    assert log.stat().st_size > before


# Cut short, smashed, killed


def serve_first(project: Project, **environment: str) -> None:
    """Start a daemon before anybody else opens the queue: a client that finds none reads the file, and tidies its log up."""
    command = [sys.executable, "-m", "tako_lite", "serve", "--server", "here"]
    with (project.root / "daemon.log").open("wb") as log:
        project.process = subprocess.Popen(
            command, cwd=project.root, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
    project.started.append(project.process.pid)
    wait_until(lambda: "serving" in project.daemon_log(), "the daemon serves")


def left_behind(project: Project, runs: int) -> list[str]:
    """A daemon takes runs of which some are checkpointed, and is killed; the ids of the runs, oldest first."""
    project.serve()
    project.call("pause", group="default")
    with project.client() as client:
        ids = [client.enqueue("told", "x" * 2_000).id for _ in range(runs)]
        assert project.stop(signal.SIGKILL) == -signal.SIGKILL
    assert wal(project).stat().st_size > 0
    return ids


def test_a_log_of_the_queue_that_was_cut_short_or_smashed_loses_no_more_than_its_end(project: Project, tmp_path: Path) -> None:
    project.workflow("told.py", TOLD)
    with project.client() as client:
        sure = client.enqueue_many("told", ["x"] * 20)  # nobody serves: closing the file checkpoints
    ids = left_behind(project, 12)
    whole, log = queue_file(project).read_bytes(), wal(project).read_bytes()
    copy = tmp_path / "copy/queue.db"
    copy.parent.mkdir()
    smashed = log[: len(log) // 2] + b"\xff" * 100 + log[len(log) // 2 + 100 :]
    kept = []
    for torn in (*(log[: len(log) * part // 24] for part in range(25)), log[:10], log[:40], smashed):
        copy.write_bytes(whole)
        copy.with_name("queue.db-wal").write_bytes(torn)
        with closing(connect(copy, "disk", check_integrity=True)) as connection:
            assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            found = [id for (id,) in connection.execute("SELECT id FROM runs ORDER BY rowid")]
        assert found == [*sure, *ids][: len(found)]
        assert len(found) >= len(sure)
        kept.append(len(found) - len(sure))
    assert kept[0] == 0
    assert kept[24] == len(ids)
    assert kept[:25] == sorted(kept[:25])
    assert 0 < kept[-1] < len(ids)
    project.spoilt = "the last third of the log is cut off"
    wal(project).write_bytes(log[: len(log) * 2 // 3])
    serve_first(project)
    project.call("resume", group="default")
    assert [project.wait(run_id)["state"] for run_id in [*sure, *ids[: kept[16]]]] == ["succeeded"] * (20 + kept[16])
    assert project.run("told", "more")["state"] == "succeeded"


def smash(project: Project, run_id: str) -> int:
    """Overwrite the page that has the row of a run; its number, counted from 0."""
    project.spoilt = "a page is smashed"
    with queue_file(project).open("r+b") as queue:
        content = queue.read()
        pages = [number for number in range(len(content) // PAGE) if content[number * PAGE] == TABLE_LEAF]
        (page, *_) = [page for page in pages if run_id.encode() in content[page * PAGE : (page + 1) * PAGE]]
        queue.seek(page * PAGE)
        queue.write(b"\xff" * PAGE)
    return page


def files(project: Project) -> dict[str, bytes]:
    """The queue and its log, as they are."""
    return {path.name: path.read_bytes() for path in (queue_file(project), wal(project)) if path.exists()}


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_page_smashed_in_the_middle_stops_the_start_and_nothing_is_touched(project: Project, end: str) -> None:
    project.workflow("told.py", TOLD)
    with project.client() as client:
        ids = client.enqueue_many("told", ["x" * 500] * 50, delay=3600)  # no daemon writes their pages anew
    if end == "killed":
        left_behind(project, 2)
    smash(project, ids[25])
    before = files(project)
    served = project.cli("serve")
    assert (served.returncode, "Traceback" in served.stderr) == (1, False)
    assert "tako-lite doctor --rescue rescued.db" in served.stderr
    assert files(project) == before


def test_damage_that_is_met_at_work_ends_the_daemon_with_the_command_that_rescues(project: Project) -> None:
    project.workflow("hold.py", HOLD)
    project.workflow("told.py", TOLD)
    with project.client() as client:
        ids = client.enqueue_many("told", ["x" * 500] * 50, delay=3600)
    page = smash(project, ids[25])
    os.truncate(queue_file(project), file.CHECKED_AT_START + PAGE)  # too long to be read at the start
    project.serve()
    project.enqueue("hold", "y")
    project.wait_for_fact("hold")
    with project.client() as client:
        for _ in range(2):  # who only reads is told, and work goes on
            with pytest.raises(StoreDamaged):
                client.get(ids[25])
        assert client.cancel(ids[0]) == {ids[0]: "cancelled"}
        with pytest.raises(StoreDamaged) as raised:
            client.cancel(ids[25])
    assert "tako-lite doctor --rescue rescued.db" in str(raised.value.hint)
    assert project.process is not None
    assert project.process.wait(10) == 1
    project.process = None
    assert project.daemon_log().count(str(raised.value.hint)) >= 1
    assert "Traceback" not in project.daemon_log()
    assert files(project)["queue.db"][page * PAGE : (page + 1) * PAGE] == b"\xff" * PAGE


def test_the_command_that_an_error_names_rescues_what_is_not_damaged(project: Project) -> None:
    project.workflow("told.py", TOLD)
    project.workflow("hold.py", WORKFLOWS)
    with project.client() as client:
        ids = client.enqueue_many("told", ["x" * 500] * 50, delay=3600)
    project.serve()
    held = project.enqueue("hold")
    project.wait_for_fact("second")
    refused = project.cli("doctor", "--rescue", "rescued.db")
    assert (refused.returncode, "must be stopped before the rescue" in refused.stderr) == (6, True)
    project.stop(signal.SIGKILL)
    wait_until(lambda: not project.survivors(), "its workers are gone")
    with closing(sqlite3.connect(queue_file(project))) as queue:  # closing puts the log into the file
        queue.execute("UPDATE runs SET run_at = 0, due_order = 0")
        queue.commit()
    smash(project, ids[25])
    before = files(project)
    said = json.loads(project.cli("show", ids[25], "--json").stderr.splitlines()[-1])["error"]
    command = re.search(r"tako-lite (doctor --rescue rescued\.db)$", said["hint"])
    assert command is not None
    done = project.cli(*command[1].split(), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["tables"]["runs"]["lost"]) == (1, len(told["lost_runs"]))
    assert (ids[25] in told["lost_runs"], len(told["lost_runs"]) < 20) == (True, True)
    assert files(project) == before

    assert told["commands"].pop() == "tako-lite serve"
    run_commands(project, told["commands"])
    project.spoilt = "a page of the queue was smashed, and the runs on it are lost"
    release(project)
    project.serve()
    rescued = set(ids) - set(told["lost_runs"])
    assert {project.wait(run_id)["state"] for run_id in [held, *rescued]} == {"succeeded"}
    assert (project.get(held)["result"], len(project.facts("first")), len(project.facts("second"))) == (7, 1, 2)


def dies_at_start(project: Project, shim: Shim) -> bool:
    """Start a daemon that is killed by its disk before it can answer."""
    command = [sys.executable, "-m", "tako_lite", "serve", "--server", "here"]
    ended = subprocess.run(
        command, cwd=project.root, env={**os.environ, **shim.environment()}, capture_output=True, timeout=10, check=False
    )
    return ended.returncode == -signal.SIGKILL and shim.fired == 1


def enqueued_until_it_dies(project: Project, payload: str) -> Iterator[str]:
    """The ids of runs that a daemon acknowledges; by hand, as a client would go on without it."""
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answers:
        client.connect(str(project.root / ".tako/tako.sock"))
        assert b"tako-lite" in answers.readline()
        while True:
            request = {"id": 1, "command": "enqueue", "workflow": "told", "payload": payload, "run_id": new_id()}
            client.sendall(json.dumps(request).encode() + b"\n")
            if not (line := answers.readline()):
                return
            yield json.loads(line)["ok"]["id"]


@pytest.mark.parametrize(("operation", "after", "part"), [(WRITE, 20, 1_000), (SYNC, 0, 0), (TRUNCATE, 0, 0)])
def test_kills_in_a_checkpoint_in_the_recovery_from_it_and_in_the_next_lose_nothing(
    project: Project, shim: Shim, operation: int, after: int, part: int
) -> None:
    project.workflow("told.py", TOLD)
    pid = project.serve(**shim.environment())
    project.call("pause", group="default")
    shim.kill(operation, file=QUEUE, after=after, part=part)
    acked = list(enqueued_until_it_dies(project, "x" * 900_000))
    assert (project.stop(signal.SIGKILL), shim.fired, is_gone(pid)) == (-signal.SIGKILL, 1, True)
    shim.kill(READ, file=WAL, after=100)
    assert dies_at_start(project, shim)
    shim.kill(WRITE, file=QUEUE, after=5)
    serve_first(project, **shim.environment())
    assert (project.stop(), shim.fired) == (-signal.SIGKILL, 1), "it was killed in the checkpoint of an orderly stop"
    project.serve()
    project.call("resume", group="default")
    assert len(acked) >= 3
    assert {project.wait(run_id)["result"] for run_id in acked} == {900_000}
    assert project.stop() == 0
    assert sound(project)


@pytest.mark.parametrize(("operation", "after"), [(WRITE, 0), (WRITE, 8), (WRITE, 30), (SYNC, 2)])
def test_a_kill_in_the_migration_of_a_file_leaves_it_as_it_was_or_finished(
    project: Project, shim: Shim, operation: int, after: int
) -> None:
    project.workflow("told.py", TOLD)
    shim.kill(operation, after=after)
    assert dies_at_start(project, shim)
    shim.heal()
    with closing(sqlite3.connect(queue_file(project))) as queue:
        (version,) = queue.execute("PRAGMA user_version").fetchone()
        (tables,) = queue.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    assert version in (0, migrations(file.PACKAGE)[-1].number)
    assert bool(tables) == bool(version)
    project.serve()
    assert project.run("told", "x")["state"] == "succeeded"


@pytest.mark.full
@pytest.mark.parametrize(("operation", "after"), [(WRITE, 10), (SYNC, 0), *scaled((), ((WRITE, 0), (WRITE, 25), (SYNC, 1)))])
def test_a_kill_during_a_migration_leaves_an_older_file_unchanged_or_finished_with_its_runs(
    project: Project, shim: Shim, operation: int, after: int
) -> None:
    project.workflow("greet.py", "@workflow('greet')\nasync def greet(payload):\n    return 'hello'\n")
    queue_file(project).parent.mkdir(mode=0o700)
    ids = make_older(queue_file(project))
    shim.kill(operation, after=after)
    assert dies_at_start(project, shim)
    shim.heal()
    with closing(sqlite3.connect(queue_file(project))) as queue:
        (version,) = queue.execute("PRAGMA user_version").fetchone()
        columns = {name for _, name, *_ in queue.execute("PRAGMA table_info(runs)")}
        states = dict(queue.execute("SELECT state, id FROM runs"))
        assert queue.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    assert version in (1, migrations(file.PACKAGE)[-1].number)
    assert ("fallback" in columns) == (version > 1)
    assert states == ids
    serve_first(project)
    assert [charged(project.wait(ids[state])) for state in ("pending", "running")] == [("succeeded", 1, 0)] * 2
    assert {state: project.get(ids[state])["state"] for state in ("waiting", *TERMINAL)} == {
        state: state for state in ("waiting", *TERMINAL)
    }
