"""What mypy and pyright know of an application whose tako-lite is the installed wheel.

The files in `tests/typing/` mark what must be refused with `type: ignore`; both checkers report a mark that nothing needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.npm import npm_program

pytestmark = [pytest.mark.editors, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
FILES = ("application.py", "handles.py")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A folder with the files to check, and an environment `.venv` in which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("application")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = (folder / ".venv/lib").glob("python*/site-packages")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(packages), str(wheel)], check=True)
    assert (packages / "tako_lite/py.typed").exists()
    for name in FILES:
        shutil.copy(ROOT / "tests/typing" / name, folder)
    return folder


def test_mypy_accepts_and_refuses_what_it_should(application: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", ".venv/bin/python", *FILES]
    done = subprocess.run(command, cwd=application, capture_output=True, text=True)
    assert done.stdout.strip() == f"Success: no issues found in {len(FILES)} source files"


def test_pyright_accepts_and_refuses_what_it_should(application: Path) -> None:
    settings = {"reportUnnecessaryTypeIgnoreComment": "error", "typeCheckingMode": "standard", "include": FILES}
    (application / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [npm_program("pyright"), "--pythonpath", ".venv/bin/python", "--outputjson"]
    done = subprocess.run(command, cwd=application, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    found = [
        f"{Path(each['file']).name}:{each['range']['start']['line'] + 1} {each['message']}"
        for each in report["generalDiagnostics"]
    ]
    assert found == []
