"""`tako-lite doctor` on real files, sockets and processes: what it finds, which fix it prints, and that it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tako_lite.cli.checks.daemon import judge_groups, judge_lag
from tako_lite.cli.checks.machine import judge_space
from tako_lite.cli.main import main
from tako_lite.cli.rescue import _print
from tako_lite.clock import SystemClock
from tako_lite.linux import ON_LINUX, boot_id, read_process
from tako_lite.store.opening import QueueCheck
from tako_lite.store.rescued import Rescued, Tally
from tako_lite.store.sqlite.checks import judge_mount, judge_sqlite, wal
from tako_lite.store.sqlite.file import connect_reading
from tako_lite.store.sqlite.filesystem import Mount, mount_of
from tako_lite.store.sqlite.queue import SqliteQueue
from tako_lite.units import counted

Report = dict[str, dict[str, Any]]
Doctor = Callable[..., Report]

WORKFLOW = '@workflow("resize", worker="media")\ndef resize(payload: dict) -> None:\n    pass\n'
MOUNTS = r"""22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /srv rw shared:9 - nfs4 nas:/srv rw,vers=4.2
41 40 0:36 / /srv/a\040shop rw - fuse.sshfs ann@host:/ rw
42 22 0:37 / /tmp rw - tmpfs tmpfs rw
43 22 0:38 / /tmp rw shared:2 master:1 - xfs /dev/sdb rw
"""
KILLED_WITH_THE_QUEUE_OPEN = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
connection.execute("UPDATE runs SET priority = priority + 1")
os._exit(0)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one workflow, which is the current folder."""
    (tmp_path / "tako.toml").write_text('name = "shop"\n')
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/jobs.py").write_text("from tako_lite import workflow\n\n\n" + WORKFLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    monkeypatch.delenv("TAKO_SERVER", raising=False)
    return tmp_path


@pytest.fixture
def doctor(project: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs `doctor --json`, and gives its findings by check; of two the worse one."""

    def run(*words: str, code: int = 0) -> Report:
        capsys.readouterr()
        before = traces(project)
        ended = main(["doctor", "--json", *words])
        printed = capsys.readouterr()
        assert ended == code, printed
        assert traces(project) == before
        told = json.loads(printed.out)
        assert set(told) == {"schema", "findings"}
        assert all(set(finding) == {"check", "level", "message", "mend"} for finding in told["findings"])
        assert all(finding["mend"] for finding in told["findings"] if finding["level"] in ("warning", "problem"))
        worst = sorted(told["findings"], key=lambda finding: ("ok", "info", "warning", "problem").index(finding["level"]))
        return {finding["check"]: finding for finding in worst}

    return run


@pytest.fixture
def queue(project: Path) -> Path:
    """The queue file, with one run in it."""
    assert main(["enqueue", "resize", "{}"]) == 0
    return project / ".tako/queue.db"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session of its own, as a worker does."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def traces(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What would show that somebody wrote below a folder; what Python caches is not ours."""
    files = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    abouts = ((path, path.lstat()) for path in files)
    return {str(path): (about.st_mtime_ns, about.st_size, about.st_mode) for path, about in abouts}


def left_by_a_killed_writer(queue: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WITH_THE_QUEUE_OPEN, str(queue)], check=True)
    assert Path(f"{queue}-wal").stat().st_size and Path(f"{queue}-shm").exists()


def without_machine(report: Report) -> dict[str, str]:
    """The levels of what does not depend on the machine that the test runs on."""
    machine = ("sqlite", "filesystem", "space", "orphans")
    return {check: finding["level"] for check, finding in report.items() if check not in machine}


def test_a_new_project_has_no_problem_and_nothing_is_made(doctor: Doctor, project: Path) -> None:
    report = doctor()

    assert without_machine(report) == {
        "config": "ok", "catalog": "ok", "permissions": "ok", "queue": "info", "wal": "ok", "clock": "ok", "lock": "ok",
        "daemon": "info",
    }  # fmt: skip
    assert report["daemon"]["mend"] == "tako-lite serve"
    assert not (project / ".tako").exists()


def test_a_queue_without_a_daemon_is_read_and_left_as_it_was(doctor: Doctor, queue: Path) -> None:
    assert without_machine(doctor("--deep"))["queue"] == "ok"
    assert {path.name for path in queue.parent.iterdir()} == {"queue.db", "queue.db.write.lock"}


def test_text_has_a_line_for_each_finding_its_fix_below_and_counts_last(
    queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.chmod(0o644)
    capsys.readouterr()
    assert main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()

    at = next(number for number, line in enumerate(lines) if line.startswith("warning  permissions  "))
    assert f"{queue} (0644) is open to other users" in lines[at]
    assert lines[at + 1].strip() == f"fix: chmod -R u+rwX,go-rwx {queue.parent}"
    levels = Counter(line.partition(" ")[0] for line in lines if line.partition(" ")[0] in ("ok", "info", "warning", "problem"))
    assert last == f"0 problems, {counted(levels['warning'], 'warning')}, {levels['info']} info, {levels['ok']} ok"


def test_the_fix_for_permissions_fixes_them(doctor: Doctor, queue: Path) -> None:
    (queue.parent / "logs").mkdir(mode=0o700)
    for number in range(5):
        (queue.parent / f"logs/g{number}.jsonl").touch(0o644)
    queue.parent.chmod(0o755)
    found = doctor()["permissions"]

    assert (found["level"], "(0755)" in found["message"], "and 3 more are open" in found["message"]) == ("warning", True, True)
    subprocess.run(["sh", "-c", found["mend"]], check=True)
    assert doctor()["permissions"]["level"] == "ok"


def test_a_queue_that_its_owner_may_not_write_is_a_problem(doctor: Doctor, queue: Path) -> None:
    queue.chmod(0o400)

    assert "closed to their owner" in doctor(code=1)["permissions"]["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_of_another_user_are_a_problem(doctor: Doctor, queue: Path) -> None:
    os.chown(queue, 12345, -1)
    found = doctor(code=1)["permissions"]

    assert f"{queue} is owned by 12345" in found["message"]
    assert "chown -R" in found["mend"]


def test_a_queue_elsewhere_is_looked_at_where_it_is(doctor: Doctor, project: Path) -> None:
    (project / "tako.toml").write_text('[queue]\nurl = "sqlite:///data/q.db"\n')
    assert main(["enqueue", "resize", "{}"]) == 0
    (project / "data/q.db").chmod(0o640)
    found = doctor()

    assert found["queue"]["level"] == "ok"
    assert str(project / "data/q.db") in found["permissions"]["mend"]


def test_mistakes_in_tako_toml_and_workflow_files_are_shown_with_their_line_and_exit_with_3(
    doctor: Doctor, project: Path
) -> None:
    (project / "tako.toml").write_text('[workflows]\nconcurency = 5\n[queue]\nurl = "x"\n')
    found = doctor(code=3)["config"]
    assert found["message"].startswith("tako.toml:") and found["mend"].startswith("edit line ")

    (project / "tako.toml").write_text("[workflows.medai]\nworkers = 1\n")
    (project / "workflows/more.py").write_text("from tako_lite import workflow\n\n\n" + WORKFLOW)
    assert "resize" in doctor(code=3)["catalog"]["message"]

    (project / "workflows/more.py").unlink()
    found = doctor()["config"]
    assert (found["level"], "media" in found["mend"]) == ("warning", True)


def test_a_project_without_tako_toml_says_so(doctor: Doctor, project: Path) -> None:
    (project / "tako.toml").unlink()

    assert "no tako.toml" in doctor()["config"]["message"]


def test_a_project_without_a_workflow_folder_is_reported_with_the_folder_to_create(doctor: Doctor, project: Path) -> None:
    shutil.rmtree(project / "workflows")
    found = doctor()["catalog"]
    assert (found["level"], found["mend"].split(", or")[0]) == ("warning", f"mkdir {project / 'workflows'}")


def test_a_missing_workflow_folder_is_reported_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project / "workflows")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told if " catalog " in line] == ["warning"]


def test_a_file_as_the_workflow_folder_is_reported_without_a_line_to_edit(doctor: Doctor, project: Path) -> None:
    shutil.rmtree(project / "workflows")
    (project / "workflows").touch()
    found = doctor(code=3)["catalog"]
    assert found["message"] == "workflows: cannot be read: Not a directory"
    assert found["mend"] == "fix workflows"


def test_a_stale_socket_and_lock_are_harmless_and_said_to_be(doctor: Doctor, project: Path) -> None:
    (project / ".tako").mkdir(mode=0o700)
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(project / ".tako/tako.sock"))
    (project / ".tako/tako.sock").chmod(0o600)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (project / ".tako/daemon.lock").touch(0o600)
    (project / ".tako/daemon.lock").write_text(f"{gone.pid}\n")
    found = doctor()

    assert {check: found[check]["level"] for check in ("socket", "lock")} == {"socket": "info", "lock": "info"}
    assert "harmless" in found["socket"]["message"]
    assert f"pid {gone.pid} of a daemon that has ended" in found["lock"]["message"]


def test_a_file_in_the_place_of_the_socket_is_a_problem_and_the_fix_moves_it(doctor: Doctor, project: Path) -> None:
    (project / ".tako").mkdir(mode=0o700)
    (project / ".tako/tako.sock").touch(0o600)

    subprocess.run(["sh", "-c", doctor(code=1)["socket"]["mend"]], check=True)
    assert "socket" not in doctor()


@pytest.mark.skipif(not ON_LINUX, reason="only Linux tells which processes are of a session")
def test_a_recorded_session_that_lives_without_a_daemon_is_a_problem(
    doctor: Doctor, project: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    workers = project / ".tako/workers"
    workers.mkdir(mode=0o700, parents=True)
    workers.parent.chmod(0o700)
    record = workers / str(sleeper.pid)
    record.touch(0o600)
    process = read_process(sleeper.pid)
    assert process is not None
    record.write_text(f"{boot_id()} {process.started + 1}")
    assert doctor()["orphans"]["level"] == "ok"  # another process has the number by now

    record.write_text(f"{boot_id()} {process.started}")
    found = doctor(code=1)["orphans"]
    assert f"worker {sleeper.pid}" in found["message"]
    assert found["mend"].startswith("tako-lite serve")

    sleeper.kill()
    sleeper.wait()
    assert doctor()["orphans"]["level"] == "ok"


def test_what_a_killed_writer_left_is_read_and_not_touched(doctor: Doctor, queue: Path) -> None:
    left_by_a_killed_writer(queue)

    assert without_machine(doctor("--deep"))["queue"] == "ok"


def test_without_the_index_of_its_log_the_queue_is_left_alone_and_the_fix_makes_it_readable(
    doctor: Doctor, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_by_a_killed_writer(queue)
    Path(f"{queue}-shm").unlink()
    found = doctor()["queue"]

    assert (found["level"], found["mend"].startswith("tako-lite status")) == ("info", True)
    assert main(["status"]) == 0
    assert doctor()["queue"]["level"] == "ok"


def test_a_queue_that_another_process_reads_is_read_too(doctor: Doctor, queue: Path) -> None:
    left_by_a_killed_writer(queue)
    with closing(connect_reading(queue)) as reader:
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)

        assert doctor("--deep")["queue"]["level"] == "ok"


def test_a_long_log_is_a_warning(doctor: Doctor, queue: Path) -> None:
    log = Path(f"{queue}-wal")
    log.touch(0o600)
    os.truncate(log, 65_000_000)

    assert "65MB" in doctor()["wal"]["message"]


def test_with_a_daemon_a_long_log_is_attributed_to_a_long_reader(queue: Path) -> None:
    with closing(sqlite3.connect(queue)) as reader:
        reader.execute("SELECT count(*) FROM runs").fetchone()
        os.truncate(f"{queue}-wal", 65_000_000)
        (found,) = wal(queue, QueueCheck(True, False, SystemClock(), lambda queued: ()))
        os.truncate(f"{queue}-wal", 0)

    assert (found.level, f"fuser -v {queue}" in (found.fix or "")) == ("warning", True)


@pytest.mark.parametrize(
    ("release", "level", "says"),
    [
        ((3, 36, 0), "problem", "SQLite 3.36.0 is too old"),
        ((3, 37, 0), "info", "before 3.51.3, two connections"),
        ((3, 51, 2), "info", "the queue is not affected"),
        ((3, 51, 3), "ok", "SQLite 3.51.3"),
    ],
)
def test_an_sqlite_that_is_too_old_is_a_problem_and_one_with_the_known_bug_is_said_to_be(
    release: tuple[int, ...], level: str, says: str
) -> None:
    found = judge_sqlite(release)

    assert (found.level, says in found.message) == (level, True)
    assert (found.fix is not None) == (level == "problem")


def test_damage_shows_with_deep(doctor: Doctor, queue: Path) -> None:
    with closing(sqlite3.connect(queue)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with queue.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    found = doctor("--deep", code=1)["queue"]

    assert "is damaged" in found["message"]
    assert "tako-lite doctor --rescue rescued.db" in found["mend"]


def test_a_rescue_prints_what_became_of_the_rows_and_what_to_do_with_them(
    project: Path, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "aside").mkdir()
    capsys.readouterr()
    assert main(["doctor", "--rescue", "new.db"]) == 0
    told = capsys.readouterr().out
    assert "1 rescued" in told
    assert "nothing is lost" in told
    assert told.splitlines()[-7:] == [
        f"  cd {project} &&",
        "  mkdir aside-2 &&",
        "  mv .tako/queue.db aside-2/ &&",
        "  install -m 600 new.db .tako/queue.db &&",
        "  tako-lite doctor --deep &&",
        "  tako-lite status &&",
        "  tako-lite serve",
    ]
    assert main(["doctor", "--rescue", "new.db", "--deep"]) == 2
    with queue.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    assert main(["doctor", "--rescue", "newer.db", "-c", "tako.toml"]) == 1
    told = capsys.readouterr().out
    assert "1 run known to be lost:" in told
    assert told.splitlines()[-1] == f"  tako-lite -c {project}/tako.toml serve"


def test_the_printed_commands_also_work_for_a_new_file_with_a_longer_name_beside_the_queue(
    project: Path, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = queue.with_name("queue.db-wal")
    log.touch()
    assert main(["doctor", "--rescue", ".tako/queue.db.rescued"]) == 0
    moving = capsys.readouterr().out.splitlines()[-7:-3]
    assert "mv .tako/queue.db .tako/queue.db-wal aside/ &&" in moving[2]
    new = queue.with_name("queue.db.rescued").read_bytes()
    subprocess.run(["sh", "-c", "\n".join([*moving, "true"])], check=True, timeout=30)
    assert (queue.read_bytes(), log.exists()) == (new, False)
    assert sorted(path.name for path in (project / "aside").iterdir()) == ["queue.db", "queue.db-wal"]


def test_a_rescue_reports_what_may_have_been_deleted_and_what_may_be_done_twice(capsys: pytest.CaptureFixture[str]) -> None:
    queue, tallies = Path("queue.db"), {"runs": Tally(9, unlisted=1)}
    _print(Rescued(queue, 1, tallies, unlisted={"deleted"}, repeated={"child"}), queue, ["true"])
    assert capsys.readouterr().out.splitlines()[:5] == [
        "runs                    9 rescued, 1 of them missing from the index: perhaps deleted",
        "1 run missing from the index, so perhaps deleted before: check them before `serve`:",
        "  deleted",
        "1 run that may be executed twice: their parents lost the record of waiting for them:",
        "  child",
    ]


def test_a_rescue_does_not_wait_for_a_process_that_keeps_writing(
    project: Path, queue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tako_lite.cli.exclusive.PATIENCE", 0.1)
    lock = SqliteQueue(project / ".tako/queue.db").write_lock()
    assert lock.acquire()
    try:
        assert main(["doctor", "--rescue", "new.db"]) == 1
    finally:
        lock.release()
    assert "another program holds" in capsys.readouterr().err
    assert not (project / "new.db").exists()


def test_a_file_that_is_no_queue_is_a_problem(doctor: Doctor, queue: Path) -> None:
    queue.write_bytes(b"not a database, and longer than a header of one " * 4)
    assert "is damaged" in doctor(code=1)["queue"]["message"]

    queue.unlink()
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    queue.chmod(0o600)
    assert "not a queue of tako-lite" in doctor(code=1)["queue"]["message"]


def test_a_queue_of_a_newer_release_is_a_problem_and_one_of_an_older_release_is_not(doctor: Doctor, queue: Path) -> None:
    for version, code, level in ((99, 1, "problem"), (0, 0, "info")):
        with closing(sqlite3.connect(queue)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        assert doctor(code=code)["queue"]["level"] == level


def test_a_run_of_the_future_shows_that_the_clock_was_set_back(doctor: Doctor, queue: Path) -> None:
    later = (time.time_ns() // 1_000_000) + 3_600_000
    with closing(sqlite3.connect(queue, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET created_at = ?", (later,))
    found = doctor()["clock"]

    assert (found["level"], "the clock was set back" in found["message"]) == ("warning", True)


def test_a_clock_before_2024_is_not_set(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tako_lite.cli.commands.doctor.SystemClock", lambda: Early())

    assert doctor(code=1)["clock"]["message"].startswith("the clock is not set: it shows 1970-01-01")


class Early:
    """The clock of a machine without a battery."""

    def now(self) -> int:
        return 1000

    def monotonic(self) -> float:
        return time.monotonic()


def test_the_deepest_and_latest_mount_is_the_one_that_a_folder_is_on() -> None:
    assert mount_of(Path("/home/ann"), MOUNTS) == Mount(Path("/"), "ext4")
    assert mount_of(Path("/srv/shop/.tako"), MOUNTS) == Mount(Path("/srv"), "nfs4")
    assert mount_of(Path("/srv/a shop"), MOUNTS) == Mount(Path("/srv/a shop"), "fuse.sshfs")
    assert mount_of(Path("/tmp/x"), MOUNTS) == Mount(Path("/tmp"), "xfs")
    assert mount_of(Path("/srvant"), MOUNTS) == Mount(Path("/"), "ext4")


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        *((kind, "problem") for kind in ("nfs4", "cifs", "9p", "fuse.sshfs", "ceph", "lustre")),
        *(("tmpfs", "warning"), ("overlay", "info"), ("ext4", "ok"), ("btrfs", "ok")),
    ],
)
def test_only_local_disks_are_good_for_a_queue(kind: str, level: str) -> None:
    found = judge_mount(Path("/srv/shop"), Mount(Path("/srv"), kind))

    assert (found.level, f"is on {kind}, mounted at /srv" in found.message) == (level, True)
    assert (found.fix is None) == (level == "ok")


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="there is no memory file system to try")
def test_a_queue_in_memory_is_a_warning(doctor: Doctor, project: Path) -> None:
    (project / "tako.toml").write_text('[queue]\nurl = "sqlite:////dev/shm/tako-lite-nowhere/queue.db"\n')

    assert doctor()["filesystem"]["level"] == "warning"


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(99_000_000, 10**9, "problem"), (10**9, 10**11, "warning"), (2 * 10**10, 10**12, "ok"), (10**9, 10**10, "ok")],
)
def test_little_space_is_reported_before_there_is_none(free: int, total: int, level: str) -> None:
    assert judge_space(Path("/srv"), free, total).level == level


@pytest.mark.parametrize(
    ("waits", "level"), [([0.001] * 20, "ok"), ([0.001] * 19 + [0.3], "warning"), ([0.06] * 20, "warning")]
)
def test_a_slow_answer_is_a_warning(waits: list[float], level: str) -> None:
    assert judge_lag(waits, 1).level == level


def test_groups_that_cannot_start_are_problems_and_paused_ones_are_infos() -> None:
    states = {"mail": ("active", None), "media": ("unhealthy", "cannot run /nope\x1b[31m"), "books": ("paused", None)}
    found = list(judge_groups({"name": name, "state": state, "last_error": error} for name, (state, error) in states.items()))
    assert [(finding.level, finding.fix) for finding in found] == [
        ("problem", "fix the error, then tako-lite resume media"),
        ("info", "tako-lite resume books"),
    ]
    assert "\x1b" not in found[0].message
