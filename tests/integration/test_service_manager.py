"""What the daemon tells a service manager, which here is the test itself: a socket that receives datagrams."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import LIMIT, Project, wait_until

WORKFLOWS = """
    @workflow("look", worker="media")
    async def look(payload):
        return sorted(os.environ)
"""


class Manager:
    """The receiving end of sd_notify(3)."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(LIMIT)
        self.received: list[dict[str, str]] = []

    def next_with(self, key: str) -> dict[str, str]:
        """The next message that has a key."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            message = dict(line.split("=", 1) for line in lines)
            self.received.append(message)
            if key in message:
                return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, str]]:
    folder = tmp_path_factory.mktemp("manager")
    place = f"{folder}/notify" if request.param == "a path" else f"@tako-{os.getpid()}-{folder.name}"
    made = Manager(place.replace("@", "\0") if place.startswith("@") else place)
    yield made, place
    made.close()


def test_the_service_manager_learns_when_the_daemon_is_ready_reloads_and_stops(
    manager: tuple[Manager, str], project: Project
) -> None:
    heard, place = manager
    project.configure('[workflows]\nenv_pass = ["*"]\ndrain_timeout = "70s"\n')
    project.workflow("a.py", WORKFLOWS)
    pid = project.serve(NOTIFY_SOCKET=place, WATCHDOG_USEC="50000", WATCHDOG_PID="1", SHOP_MODE="on")
    assert heard.next_with("READY") == {"READY": "1", "STATUS": "2 groups, 0 workers"}
    seen = project.run("look")["result"]
    assert {name for name in seen if name.startswith(("NOTIFY", "WATCHDOG", "SHOP"))} == {"SHOP_MODE"}
    assert heard.next_with("STATUS")["STATUS"] == "2 groups, 1 worker"

    project.call("reload")
    assert int(heard.next_with("RELOADING")["MONOTONIC_USEC"]) > 0
    assert heard.next_with("READY")["READY"] == "1"
    (project.root / "workflows/a.py").write_text("import nowhere\n" + (project.root / "workflows/a.py").read_text())
    project.call("reload")
    project.enqueue("look")
    wait_until(lambda: "cannot start: media" in heard.next_with("STATUS")["STATUS"], "the status names the group")

    assert project.stop() == 0
    stopping = heard.next_with("STOPPING")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) == 100_000_000
    assert not any("WATCHDOG" in message for message in heard.received), f"it was meant for pid 1, not {pid}"


def test_the_watchdog_of_the_unit_is_answered(manager: tuple[Manager, str], project: Project) -> None:
    heard, place = manager
    project.serve(NOTIFY_SOCKET=place, WATCHDOG_USEC="50000")
    for _ in range(3):
        assert heard.next_with("WATCHDOG") == {"WATCHDOG": "1"}


def test_a_service_manager_that_is_gone_does_not_disturb_the_daemon(project: Project, tmp_path: Path) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    assert project.run("look")["state"] == "succeeded"
