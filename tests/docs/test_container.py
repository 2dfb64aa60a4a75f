"""The files of examples/container: what they name exists, and their commands run here as they do in a container."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import LIMIT, REPOSITORY, wait_until

EXAMPLE = REPOSITORY / "examples/container"
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text()
COMPOSE = (EXAMPLE / "compose.yaml").read_text()
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "VOLUME", "USER", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    lines = (line for line in DOCKERFILE.splitlines() if line and not line.startswith("#"))
    return [(words[0], words[1]) for words in (line.split(maxsplit=1) for line in lines)]


def argument(instruction: str) -> str:
    (found,) = [text for name, text in instructions() if name == instruction]
    return found


def words(instruction: str) -> list[str]:
    """The words of an instruction in the exec form, which alone passes signals to the program itself."""
    found: list[str] = json.loads(argument(instruction).partition(" CMD ")[2] or argument(instruction))
    return found


@pytest.fixture
def container(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder of the image, and the environment of the container."""
    folder = tmp_path / "app"
    folder.mkdir()
    for name, text in instructions():
        if name == "COPY":
            source, target = text.split()
            copy = shutil.copytree if (EXAMPLE / source).is_dir() else shutil.copy
            copy(EXAMPLE / source, folder / (source if target == "." else target))
    program = tmp_path / "bin/tako-lite"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tako_lite "$@"\n')
    program.chmod(0o755)
    given = dict(re.findall(r"^      ([A-Z]+): (\w+)$", COMPOSE, re.MULTILINE))
    yield folder, {**os.environ, **given, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


def test_the_dockerfile_uses_no_root_and_passes_signals_to_the_daemon() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    assert argument("USER") not in ("root", "0")
    assert (words("ENTRYPOINT"), argument("STOPSIGNAL")) == (["tako-lite"], "SIGTERM")
    assert argument("VOLUME") == "/app/.tako"
    assert COMPOSE.count("- state:/app/.tako") == 2
    if hadolint := shutil.which("hadolint"):
        assert subprocess.run([hadolint, str(EXAMPLE / "Dockerfile")], check=False).returncode == 0


def test_the_commands_of_the_container_serve_report_health_and_stop_on_the_signal(
    container: tuple[Path, dict[str, str]],
) -> None:
    folder, environment = container

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)

    with (folder.parent / "log").open("w") as log:
        daemon = subprocess.Popen(
            [*words("ENTRYPOINT"), *words("CMD")], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        assert run(*words("HEALTHCHECK")).returncode in (0, 1)
        wait_until(lambda: run(*words("HEALTHCHECK")).returncode == 0, "it is healthy")
        assert "Hello, Ann!" in run("tako-lite", "enqueue", "greet", '"Ann"', "--wait").stdout
        web = json.loads("[" + re.search(r"command: \[(.*)\]", COMPOSE)[1] + "]")  # type: ignore[index]
        dashboard = subprocess.Popen(
            ["tako-lite", *web[:-1], "127.0.0.1:0"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert dashboard.stdout is not None
        assert "dashboard of shop on http://127.0.0.1:" in dashboard.stdout.readline()
        dashboard.terminate()
        dashboard.communicate(timeout=LIMIT)
        daemon.send_signal(signal.Signals[argument("STOPSIGNAL")])
        assert daemon.wait(LIMIT) == 0
        assert run(*words("HEALTHCHECK")).returncode == 1
    finally:
        daemon.kill()
        daemon.wait()
    assert {json.loads(line)["event"] for line in (folder.parent / "log").read_text().splitlines()} >= {"serving", "stopped"}
