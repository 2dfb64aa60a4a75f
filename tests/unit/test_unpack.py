"""The package as plain files: installed, from the single file, and when the cache is shared, damaged or shut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tako_lite
from tako_lite.unpack import package_dir

PACKAGE = Path(tako_lite.__path__[0])

PRINT = "from tako_lite.unpack import package_dir; print(package_dir())"
# A change of folder comes between the import and the call, as in the daemon.
PRINT_AFTER_MOVING = "import os, tako_lite.unpack as u; os.chdir('/'); print(u.package_dir())"
PRINT_WHETHER_THERE = "from tako_lite.unpack import package_dir; d = package_dir(); print(d, (d / 'tako_lite').is_dir())"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip with what unpacking needs of the package, a data file, and something that is not ours."""
    return make_archive(tmp_path / "tako-lite.pyz", query="select 1;\n")


def make_archive(path: Path, query: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for module in ("errors.py", "unpack.py"):
            file.write(PACKAGE / module, f"tako_lite/{module}")
        file.writestr("tako_lite/__init__.py", "")
        file.writestr("tako_lite/store/runs.sql", query)
        file.writestr("tako_lite-1.2.3.dist-info/METADATA", "Name: tako-lite\nVersion: 1.2.3\n")
        file.writestr("click/__init__.py", "")
    return path


def start(archive: Path | str, home: Path, code: str = PRINT, **options: str) -> subprocess.Popen[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(archive)}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment | options, cwd=home.parent
    )


def ask(archive: Path | str, home: Path, code: str = PRINT, **options: str) -> str:
    with start(archive, home, code, **options) as process:
        answer, _ = process.communicate()
    assert process.returncode == 0
    return answer.strip()


def files(folder: Path) -> set[str]:
    """The files in a folder, without what Python itself puts there."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_an_installed_package_is_where_it_was_installed() -> None:
    assert package_dir() == PACKAGE.parent


def test_from_the_single_file_the_package_alone_is_unpacked_to_the_cache(tmp_path: Path, archive: Path) -> None:
    folder = Path(ask(archive, tmp_path / "home"))

    assert folder.parent == tmp_path / "home/.cache/tako-lite"
    assert folder.name.startswith("1.2.3-")
    assert files(folder) == {f"tako_lite/{name}" for name in ("__init__.py", "errors.py", "unpack.py", "store/runs.sql")}
    assert (folder / "tako_lite/store/runs.sql").read_text() == "select 1;\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_the_unpacked_package_works_on_its_own(tmp_path: Path, archive: Path) -> None:
    folder = ask(archive, tmp_path / "home")

    assert ask(folder, tmp_path / "home") == folder


def test_the_cache_is_where_the_environment_says(tmp_path: Path, archive: Path) -> None:
    folder = Path(ask(archive, tmp_path / "home", XDG_CACHE_HOME=str(tmp_path / "elsewhere")))

    assert folder.parent == tmp_path / "elsewhere/tako-lite"


def test_a_change_of_folder_before_the_call_does_no_harm(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "home").mkdir()

    assert ask(archive.name, tmp_path / "home", PRINT_AFTER_MOVING) == ask(archive, tmp_path / "home")


def test_the_second_call_leaves_the_cache_as_it_is(tmp_path: Path, archive: Path) -> None:
    folder = Path(ask(archive, tmp_path / "home"))
    (folder / "mark").touch()

    assert ask(archive, tmp_path / "home") == str(folder)
    assert (folder / "mark").exists()


def test_another_build_of_the_same_version_gets_a_folder_of_its_own(tmp_path: Path, archive: Path) -> None:
    first = Path(ask(archive, tmp_path / "home"))
    make_archive(archive, query="select 2;\n")
    second = Path(ask(archive, tmp_path / "home"))

    assert first != second
    assert (first / "tako_lite/store/runs.sql").read_text() == "select 1;\n"
    assert (second / "tako_lite/store/runs.sql").read_text() == "select 2;\n"


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, archive: Path, damage: str) -> None:
    folder = Path(ask(archive, tmp_path / "home"))
    query = folder / "tako_lite/store/runs.sql"
    if damage == "missing":
        shutil.rmtree(query.parent)
    else:
        query.write_text("")

    assert ask(archive, tmp_path / "home") == str(folder)
    assert query.read_text() == "select 1;\n"


def test_the_remains_of_an_interrupted_unpacking_are_harmless(tmp_path: Path, archive: Path) -> None:
    draft = tmp_path / "home/.cache/tako-lite/.unpacking"
    draft.mkdir(parents=True)
    draft.parent.chmod(0o700)
    (draft / "half").touch()

    folder = Path(ask(archive, tmp_path / "home"))

    assert "half" not in files(folder)
    assert not draft.exists()


def test_eight_processes_at_once_get_one_whole_folder(tmp_path: Path, archive: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    answers = {process.communicate()[0] for process in [start(archive, home, PRINT_WHETHER_THERE) for _ in range(8)]}

    assert len(answers) == 1
    assert answers.pop().endswith(" True\n")
    assert {path.name[:6] for path in (home / ".cache/tako-lite").iterdir()} == {"1.2.3-", ".lock"}


@pytest.mark.parametrize("obstacle", ["a file", "open to others"])
def test_without_a_cache_to_trust_it_is_a_private_folder_that_goes_with_the_process(
    tmp_path: Path, archive: Path, obstacle: str
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    temporary.mkdir()
    if obstacle == "a file":
        home.touch()
    else:
        (home / ".cache/tako-lite").mkdir(parents=True)
        (home / ".cache/tako-lite").chmod(0o777)

    answer = ask(archive, home, PRINT_WHETHER_THERE, TMPDIR=str(temporary))

    assert answer.startswith(f"{temporary}/tako-lite-")
    assert answer.endswith(" True")
    assert list(temporary.iterdir()) == []


def test_a_fork_that_ends_leaves_the_private_folder_to_its_parent(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "home").touch()
    code = "import os, sys; from tako_lite.unpack import package_dir as p; d = p(); pid = os.fork()\n"
    code += "if pid == 0: sys.exit()\n"
    code += "os.waitpid(pid, 0); print((d / 'tako_lite').is_dir())"

    assert ask(archive, tmp_path / "home", code) == "True"
