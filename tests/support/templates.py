"""A project of `tako-lite init`, run as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.terminal import environment


def run(folder: Path, *command: str, **variables: str) -> str:
    """What a command prints; fails if it does not end with 0."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def make(folder: Path, template: str, *options: str) -> dict[str, Any]:
    """Make a project; returns what `init --json` prints."""
    folder.mkdir(exist_ok=True)
    answer: dict[str, Any] = json.loads(run(folder, "tako_lite", "init", "--template", template, "--json", *options))
    return answer


def passes_its_tests(folder: Path) -> None:
    """Run `check`, and the tests of the project."""
    assert run(folder, "tako_lite", "check").startswith("0 mistakes, 0 warnings")
    said = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "-W", "error::pytest.PytestUnhandledThreadExceptionWarning")
    assert " passed" in said, said


def result_of(folder: Path, workflow: str, payload: str = "null") -> Any:
    """Enqueue a run, execute it with `dev --once`, and return its result."""
    id = json.loads(run(folder, "tako_lite", "enqueue", workflow, payload, "--json"))["id"]
    run(folder, "tako_lite", "dev", "--once")
    shown = json.loads(run(folder, "tako_lite", "show", id, "--json"))
    assert shown["state"] == "succeeded", shown["error"]
    return shown["result"]
