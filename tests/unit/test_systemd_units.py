"""`systemd`: the units of a project, checked by systemd-analyze where that is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.project import REPOSITORY, command_in


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder with a short path: systemd listens on no socket with a long one."""
    with TemporaryDirectory(prefix="tako-") as folder:
        yield Path(folder).resolve()


@pytest.fixture
def shop(parent: Path) -> Path:
    """A project in a folder with a name that needs quotes."""
    root = parent / "releases" / 'my "50%" shop'
    (root / "workflows").mkdir(parents=True)
    (root / "tako.toml").write_text('name = "shop"\n[workflows]\ndrain_timeout = "70s"\n[workflows.mail]\nnice = -5\n')
    return root


def asked(folder: Path, *words: str) -> dict[str, Any]:
    done = command_in(folder, "systemd", "--json", *words)
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, found["complaints"]) == (0, [])
    return found


def settings(text: str) -> dict[str, str]:
    """The settings of a unit by their keys, without what systemd escapes."""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.replace("%%", "%") for key, value in lines}


def test_the_service_has_absolute_paths_and_a_stop_timeout_beyond_every_drain_timeout(shop: Path) -> None:
    (name, text), *others = asked(shop)["units"].items()
    found = settings(text)
    assert (name, others) == ("tako-shop.service", [])
    assert (found["Type"], found["KillMode"], found["TimeoutStopSec"], found["LimitNICE"]) == ("notify", "mixed", "85", "-5")
    assert (found["WorkingDirectory"], found["RestartPreventExitStatus"]) == (str(shop), "2 3 6")
    escaped = str(shop).replace('"', '\\"')
    program = found["ExecStart"].split()[0]
    assert Path(program).is_absolute()
    assert f'-c "{escaped}" serve --log-format journald' in found["ExecStart"]
    assert "--idle-exit" not in found["ExecStart"]
    assert f"{escaped}/.tako" in found["ReadWritePaths"]


def test_sockets_are_named_as_the_daemon_expects_and_schedules_wake_it_up(shop: Path) -> None:
    with (shop / "tako.toml").open("a") as file:
        file.write('[web]\nlisten = "127.0.0.1:8256"\n')
    units = asked(shop, "--schedules", "--name", "jobs")["units"]
    assert list(units) == ["jobs.service", "jobs.socket", "jobs-web.socket"]
    control, web, service = (settings(units[name]) for name in ("jobs.socket", "jobs-web.socket", "jobs.service"))
    assert (control["ListenStream"], control["FileDescriptorName"]) == (f"{shop}/.tako/tako.sock", "control")
    assert (control["SocketMode"], control["RemoveOnStop"], control["Service"]) == ("0600", "no", "jobs.service")
    assert (web["ListenStream"], web["FileDescriptorName"]) == ("127.0.0.1:8256", "web")
    assert service["Sockets"] == "jobs.socket jobs-web.socket"
    assert "--idle-exit 10m" in service["ExecStart"]
    assert "--unit=jobs-wake" in service["ExecStopPost"]
    assert "ExecStopPost" not in settings(asked(shop, "--socket")["units"]["tako-shop.service"])


def test_units_of_a_user_have_no_user_and_no_sandbox_that_needs_privileges(shop: Path) -> None:
    found = settings(asked(shop, "--user", "--schedules")["units"]["tako-shop.service"])
    assert not {"User", "ProtectSystem", "ReadWritePaths"} & found.keys()
    assert "systemctl --user" in found["ExecStopPost"]


def test_a_link_to_the_newest_release_stays_in_the_units(shop: Path, parent: Path) -> None:
    (parent / "current").symlink_to(shop)
    done = subprocess.run(
        [sys.executable, "-m", "tako_lite", "systemd", "--socket"],
        cwd=parent / "current",
        env={**os.environ, "PWD": str(parent / "current"), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "releases" not in done.stdout
    assert f"ListenStream={parent}/current/.tako/tako.sock" in done.stdout
    assert "schedules, sleeps and delayed runs wait until a client connects" in done.stderr


def test_installed_units_are_files_and_the_next_commands_are_printed(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = command_in(shop, "systemd", "--user", "--socket", "--install")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "config/systemd/user").iterdir()} == {"tako-shop.service", "tako-shop.socket"}
    assert "next: systemctl --user daemon-reload && systemctl --user enable --now tako-shop.socket" in done.stderr


def test_a_path_that_systemd_cannot_listen_on_is_refused_with_what_to_change(shop: Path) -> None:
    with (shop / "tako.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(f'state_dir = "{"long-" * 25}"\n{text}')
    refused = command_in(shop, "systemd", "--socket")
    assert (refused.returncode, "set a shorter `state_dir`" in refused.stderr) == (2, True)
    assert command_in(shop, "systemd").returncode == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_what_systemd_analyze_does_not_know_is_reported(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tako_lite.cli.systemd_units._SANDBOX_OF_ALL", "NoSuchSetting=yes")
    done = command_in(shop, "systemd")
    assert (done.returncode, "Unknown key 'NoSuchSetting'" in done.stderr) == (1, True)
