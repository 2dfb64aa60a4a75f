"""Saving tako.toml wherever it lies: a link, a mount point, a folder of somebody else's, a full file system."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tako_lite.cli.main import main
from tako_lite.cli.rewriting import rewrite
from tako_lite.errors import TakoError

ROOT = Path(__file__).resolve().parents[2]
TOML = "# kept\n[workflows.email]\nconcurrency = 3\n"
SAVED = "# kept\n[workflows.email]\nconcurrency = 5\n"
NOBODY = 65534
SET = ("groups", "set", "email", "concurrency=5")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs mounts, or another user")


def unshare_works() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


WITH_MOUNTS = pytest.mark.skipif(not unshare_works(), reason="needs mounts of its own")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "workflows").mkdir(parents=True)
    (folder / "tako.toml").write_text(TOML)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    return folder


def with_mounts(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose mounts are gone when it ends; `$TAKO` is the command."""
    tako = f"{shlex.quote(sys.executable)} -m tako_lite"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = f"set -e\nTAKO={shlex.quote(tako)}\n{script}"
    return subprocess.run(["unshare", "-m", "bash", "-c", whole], env=environment, capture_output=True, text=True, check=False)


def as_nobody(action: Callable[[], None]) -> str:
    """What an action raises in a process of another user; empty where it succeeds."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        told = ""
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
        except BaseException as error:
            told = f"{error}; {getattr(error, 'hint', '')}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        told = stream.read().decode()
    os.waitpid(pid, 0)
    return told


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".tako-")]


def test_a_link_stays_a_link_and_the_file_behind_it_is_saved(project: Path) -> None:
    real = project.parent / "real.toml"
    (project / "tako.toml").rename(real)
    (project / "tako.toml").symlink_to(real)

    assert main(SET) == 0
    assert (project / "tako.toml").is_symlink()
    assert real.read_text() == SAVED


def test_a_file_with_two_names_keeps_both(project: Path) -> None:
    other = project.parent / "other.toml"
    other.hardlink_to(project / "tako.toml")

    assert main(SET) == 0
    assert other.read_text() == SAVED
    assert other.stat().st_ino == (project / "tako.toml").stat().st_ino


@WITH_MOUNTS
@pytest.mark.parametrize("words", [" ".join(SET), "groups add gpu", "scale email 2 --save"])
def test_a_file_that_is_a_mount_point_is_written_in_place(words: str, project: Path) -> None:
    host = project.parent / "host.toml"
    host.write_text(TOML)

    done = with_mounts(f"mount --bind {host} tako.toml\n$TAKO {words}")

    assert done.returncode == 0, done.stderr
    assert "# kept" in host.read_text()
    assert host.read_text() != TOML
    assert (project / "tako.toml").read_text() == TOML
    assert leftovers(project) == []


@WITH_MOUNTS
def test_a_file_of_a_read_only_mount_is_left_with_an_error_that_names_it(project: Path) -> None:
    host = project.parent / "host.toml"
    host.write_text(TOML)
    mounts = f"mount --bind {host} tako.toml\nmount -o remount,ro,bind tako.toml\n"

    done = with_mounts(f"{mounts}$TAKO {' '.join(SET)}")

    assert done.returncode == 1
    assert "error: tako.toml is not writable and was not changed" in done.stderr
    assert "read-only" in done.stderr
    assert host.read_text() == TOML
    assert leftovers(project) == []


@WITH_MOUNTS
@pytest.mark.parametrize("linked", [False, True], ids=["by a new file", "in place"])
def test_a_full_file_system_leaves_the_file_as_it_was(linked: bool, project: Path) -> None:
    text = TOML + "# long\n" * 600  # a page and some
    (project / "tako.toml").write_text(text)
    link = "ln full/tako.toml full/other\n" if linked else ""
    done = with_mounts(
        "mkdir full\nmount -t tmpfs -o size=64k none full\nmkdir full/workflows\ncp tako.toml full/\n"
        f"{link}head -c 1m /dev/zero >full/rest 2>/dev/null || true\n"
        f"code=0; $TAKO -c full groups set email description={'d' * 4096} || code=$?\n"
        "cmp tako.toml full/tako.toml\nls -A full | grep -c '^.tako-' || true\nexit $code"
    )

    assert done.returncode == 1, done.stderr
    assert "tako.toml cannot be written: No space left on device; it was not changed" in done.stderr
    assert done.stdout.splitlines()[-1] == "0"


@AS_ROOT
def test_a_file_in_a_folder_that_is_closed_to_us_is_written_in_place() -> None:
    with_folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        with_folder.chmod(0o755)
        file = with_folder / "tako.toml"
        file.write_text(TOML)
        os.chown(file, NOBODY, NOBODY)

        assert as_nobody(lambda: rewrite(file, SAVED.encode(), lambda: True)) == ""
        assert file.read_text() == SAVED
        assert file.stat().st_uid == NOBODY
    finally:
        subprocess.run(["rm", "-r", with_folder], check=True)


@AS_ROOT
def test_a_file_that_is_read_only_for_us_is_left_as_it_was() -> None:
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o755)
        file = folder / "tako.toml"
        file.write_text(TOML)
        os.chown(file, NOBODY, NOBODY)
        file.chmod(0o444)

        told = as_nobody(lambda: rewrite(file, SAVED.encode(), lambda: True))

        assert "is not writable" in told
        assert "chmod u+w" in told
        assert file.read_text() == TOML
    finally:
        subprocess.run(["rm", "-r", folder], check=True)


@pytest.mark.parametrize("names", [1, 2], ids=["by a new file", "in place"])
def test_changes_of_another_program_are_not_overwritten(names: int, project: Path) -> None:
    file = project / "tako.toml"
    if names == 2:
        (project / "other").hardlink_to(file)

    with pytest.raises(TakoError, match="changed by another program"):
        rewrite(file, SAVED.encode(), lambda: False)
    assert file.read_text() == TOML
    assert leftovers(project) == []
