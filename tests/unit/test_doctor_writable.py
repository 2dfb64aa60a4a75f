"""`doctor` where `serve` and `enqueue` could not write: read-only file systems, and folders and files of another user."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tako_lite.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")

Findings = list[dict[str, Any]]


def unshare_works() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="tako-doctor-"))
    folder.chmod(0o755)
    (folder / "tako.toml").write_text('name = "shop"\n')
    (folder / "workflows").mkdir()
    (folder / "workflows/jobs.py").write_text(
        'from tako_lite import workflow\n\n\n@workflow("resize")\ndef resize(payload: dict) -> None:\n    pass\n'
    )
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TAKO_CONFIG", raising=False)
    yield folder
    shutil.rmtree(folder)


def doctor() -> tuple[int, Findings]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(["doctor", "--json"])
    return code, json.loads(out.getvalue())["findings"]


def doctor_as_nobody() -> tuple[int, Findings]:
    """What `doctor` says to another user, in a fork: that user may not read this interpreter's files."""
    doctor()  # imports all that the fork needs
    with tempfile.TemporaryFile() as told:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                code, findings = doctor()
                os.write(told.fileno(), json.dumps(findings).encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        told.seek(0)
        return os.waitstatus_to_exitcode(status), json.loads(told.read() or b"[]")


def problems(findings: Findings) -> str:
    return "\n".join(f"{each['check']}: {each['message']}" for each in findings if each["level"] == "problem")


def give_to_nobody(*paths: Path) -> None:
    for path in paths:
        os.chown(path, NOBODY, NOBODY)


@AS_ROOT
def test_a_folder_of_another_user_without_a_queue_is_a_problem(project: Path) -> None:
    code, findings = doctor_as_nobody()

    assert code == 1
    assert f"permissions: {project} is not writable for " in problems(findings)
    assert not (project / ".tako").exists()


@AS_ROOT
def test_a_folder_of_ones_own_is_none(project: Path) -> None:
    give_to_nobody(project)

    assert doctor_as_nobody()[0] == 0


@AS_ROOT
@pytest.mark.parametrize("closed", [".tako", ".tako/logs", ".tako/queue.db"])
def test_what_serve_writes_and_this_user_may_not_is_a_problem(closed: str, project: Path) -> None:
    assert main(["enqueue", "resize", "{}"]) == 0
    (project / ".tako/logs").mkdir(mode=0o700, exist_ok=True)
    give_to_nobody(project, *(project / ".tako").rglob("*"), project / ".tako")
    assert doctor_as_nobody()[0] == 0
    (project / closed).chmod(0o500 if (project / closed).is_dir() else 0o400)

    code, findings = doctor_as_nobody()

    assert code == 1
    assert str(project / closed) in problems(findings)


@AS_ROOT
def test_the_queue_of_another_user_is_a_problem(project: Path) -> None:
    assert main(["enqueue", "resize", "{}"]) == 0
    (project / ".tako").chmod(0o755)
    give_to_nobody(project)

    code, findings = doctor_as_nobody()

    assert code == 1
    assert "owned by root, not by" in problems(findings)


@pytest.mark.skipif(not unshare_works(), reason="needs mounts of its own")
@pytest.mark.parametrize("prepared", [False, True], ids=["without a queue", "with a queue"])
def test_a_read_only_file_system_is_a_problem(prepared: bool, project: Path) -> None:
    if prepared:
        assert main(["enqueue", "resize", "{}"]) == 0
    here = shlex.quote(str(project))
    mounts = f"mount --bind {here} {here} && mount -o remount,ro,bind {here} && cd {here}"
    script = f"{mounts} && exec {sys.executable} -m tako_lite doctor"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr
    assert "problem  permissions" in done.stdout
    assert "read-only file system, where serve and enqueue cannot store anything" in done.stdout


@AS_ROOT
def test_a_lock_beside_the_queue_that_is_of_another_user_is_a_problem(project: Path) -> None:
    main(["enqueue", "resize", "{}"])
    lock = project / ".tako/queue.db.lock"
    lock.touch(0o600)
    give_to_nobody(lock)
    _, findings = doctor()
    assert f"permissions: {lock} is owned by nobody" in problems(findings)
