"""A queue file on a shared file system is refused by whoever would write it, and can be read to bring it elsewhere.

There is no such file system to mount in a test: the real programs are given another table of mounts than the kernel's.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tako_lite.errors import StoreError
from tako_lite.linux import ON_LINUX
from tako_lite.store.sqlite import filesystem
from tako_lite.store.sqlite.file import connect, connect_reading

pytestmark = pytest.mark.skipif(not ON_LINUX, reason="only Linux tells which file system a folder is on")

PROGRAM = """
import sys
from pathlib import Path
from tako_lite.store.sqlite import filesystem
filesystem.MOUNTS = Path(sys.argv.pop(1))
from tako_lite.cli.main import main
sys.exit(main())
"""


def mounted(folder: Path, kind: str, table: Path) -> Path:
    """A table of mounts in which a folder is of a kind."""
    table.write_text(f"22 1 259:1 / / rw - ext4 /dev/root rw\n40 22 0:35 / {folder} rw shared:9 - {kind} there:/ rw\n")
    return table


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_queue_on_a_shared_file_system_is_neither_made_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "far"
    monkeypatch.setattr(filesystem, "MOUNTS", mounted(tmp_path, kind, tmp_path / "mounts"))
    with pytest.raises(StoreError, match=f"queue.db is on {kind}, mounted at {tmp_path}: locks") as refused:
        connect(folder / "queue.db", "disk")
    assert "a path on a local disk" in str(refused.value.hint)
    assert not folder.exists()


def test_a_link_to_a_shared_file_system_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far").mkdir()
    connect(tmp_path / "far/queue.db", "disk").close()
    (tmp_path / "near.db").symlink_to(tmp_path / "far/queue.db")
    monkeypatch.setattr(filesystem, "MOUNTS", mounted(tmp_path / "far", "nfs4", tmp_path / "mounts"))
    with pytest.raises(StoreError, match="is on nfs4"):
        connect(tmp_path / "near.db", "disk")


def test_a_queue_that_got_there_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(tmp_path / "queue.db", "disk").close()
    monkeypatch.setattr(filesystem, "MOUNTS", mounted(tmp_path, "nfs4", tmp_path / "mounts"))
    with closing(connect_reading(tmp_path / "queue.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "none")
    connect(tmp_path / "queue.db", "disk").close()


def test_a_queue_with_a_second_hard_link_is_refused_until_that_is_gone(tmp_path: Path) -> None:
    connect(tmp_path / "queue.db", "disk").close()
    (tmp_path / "other.db").hardlink_to(tmp_path / "queue.db")
    for name in ("queue.db", "other.db"):
        with pytest.raises(StoreError, match=f"{name} has a second name"):
            connect(tmp_path / name, "disk")
    (tmp_path / "other.db").unlink()
    connect(tmp_path / "queue.db", "disk").close()


def test_a_queue_that_is_mounted_as_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(tmp_path / "queue.db", "disk").close()
    monkeypatch.setattr(filesystem, "MOUNTS", mounted(tmp_path / "queue.db", "ext4", tmp_path / "mounts"))
    with pytest.raises(StoreError, match="is a mount point") as refused:
        connect(tmp_path / "queue.db", "disk")
    assert refused.value.hint == "mount the folder of the queue, not the file alone"


@pytest.mark.parametrize("command", [["serve"], ["enqueue", "quick", "1"]])
def test_serve_and_an_enqueue_without_a_daemon_refuse_it_in_one_line(tmp_path: Path, command: list[str]) -> None:
    project = tmp_path / "project"
    (project / "workflows").mkdir(parents=True)
    (project / "tako.toml").write_text('name = "far"\n')
    (project / "workflows/a.py").write_text(
        'from tako_lite import workflow\n@workflow("quick")\nasync def quick(payload): ...\n'
    )
    table = mounted(project, "nfs4", tmp_path / "mounts")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(table), *command],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    said = " ".join(done.stderr.split())
    assert f"{project}/.tako/queue.db is on nfs4, mounted at {project}: locks" in said and "Traceback" not in said
    assert not (project / ".tako/queue.db").exists()
