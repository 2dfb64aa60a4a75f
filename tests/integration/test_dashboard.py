"""The dashboard that the daemon starts when a browser connects."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tako_lite.linux import read_process
from tests.support.project import Project, is_gone, wait_until
from tests.support.web_server import WebServer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configured(project: Project, *lines: str) -> int:
    """Have the daemon listen for the dashboard on a free port, which is returned."""
    port = free_port()
    project.configure("\n".join(["[web]", f'listen = "127.0.0.1:{port}"', *lines]))
    return port


def get(port: int, path: str = "/-/health") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def served_by(project: Project) -> list[int]:
    """The processes that serve the dashboard of a project."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"web" in words and str(project.root / "tako.toml").encode() in words and not is_gone(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def switches(pid: int) -> int:
    """How often the threads of a process have woken up."""
    statuses = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in statuses for line in text.splitlines() if line.startswith("voluntary_"))


def until_still(processes: Callable[[], list[int]], what: str) -> None:
    """Wait until none of the processes wakes up for a while."""
    since: dict[tuple[int, ...], float] = {}

    def still() -> bool:
        now = tuple(switches(pid) for pid in processes())
        return time.monotonic() - since.setdefault(now, time.monotonic()) > 2.5

    wait_until(still, what, 30)


def test_the_first_connection_starts_the_dashboard_and_idleness_ends_it(project: Project) -> None:
    port = configured(project, 'idle_timeout = "1s"')
    daemon = project.serve()
    assert served_by(project) == []
    for _ in range(2):
        with ThreadPoolExecutor(8) as browsers:
            assert set(browsers.map(lambda _: get(port), range(8))) == {(200, "ok\n")}
        (process,) = served_by(project)
        assert (read := read_process(process)) is not None and read.parent == daemon
        wait_until(lambda: served_by(project) == [], "it ends without a page")
    until_still(lambda: [daemon], "the daemon sleeps")
    assert "the dashboard failed" not in project.daemon_log()


def test_an_idle_dashboard_does_not_wake_up(project: Project) -> None:
    port = configured(project)
    daemon = project.serve()
    assert get(port)[0] == 200
    until_still(lambda: [daemon, *served_by(project)], "the daemon and the dashboard sleep")


def test_the_dashboard_ends_with_its_daemon_even_if_that_is_killed(project: Project) -> None:
    port = configured(project)
    for number in (signal.SIGTERM, signal.SIGKILL):
        project.serve()
        assert get(port)[0] == 200
        (process,) = served_by(project)
        project.stop(number)
        wait_until(lambda process=process: is_gone(process), "it ended")


def test_a_dashboard_that_was_killed_is_started_again(project: Project) -> None:
    port = configured(project)
    project.serve()
    assert get(port)[0] == 200
    (process,) = served_by(project)
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: served_by(project) == [], "it is gone")
    code, text = get(port)
    assert code == 503
    assert text.startswith("The dashboard failed to start: it ended with exit code -9")
    wait_until(lambda: get(port)[0] == 200, "it is back")
    assert "ERROR" in project.daemon_log()


def test_reload_applies_changed_settings(project: Project) -> None:
    port = configured(project)
    project.serve()
    assert get(port, "/runs")[0] == 401
    (before,) = served_by(project)
    project.call("reload")
    assert served_by(project) == [before], "nothing changed for it"
    other = configured(project, 'auth = "none"')
    project.call("reload")
    assert get(other, "/runs")[0] == 200
    assert is_gone(before)
    project.configure("")
    project.call("reload")
    wait_until(lambda: served_by(project) == [], "nothing is served")


def test_the_printed_address_can_be_opened_at_once(project: Project) -> None:
    with WebServer(project) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()


def test_a_taken_port_is_reported_and_the_daemon_works(project: Project) -> None:
    project.workflow("a.py", '@workflow("a")\nasync def a(payload): return 1\n')
    port = configured(project)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        project.serve()
        assert project.run("a")["state"] == "succeeded"
        (warning,) = (text for text in project.status()["warnings"] if "[web]" in text)
        assert f"cannot listen on 127.0.0.1:{port}" in warning
    project.call("reload")
    assert get(port)[0] == 200


def test_the_command_prints_where_the_daemon_serves_the_dashboard_and_refuses_a_taken_port(project: Project) -> None:
    port = configured(project)
    project.serve()
    printed = project.cli("web")
    assert printed.returncode == 0
    assert f"http://127.0.0.1:{port}/?token=" in printed.stdout
    assert "it is served already" in printed.stdout
    other = project.root / "other"
    (other / "workflows").mkdir(parents=True)
    (other / "tako.toml").write_text(f'name = "other"\n[web]\nlisten = "127.0.0.1:{port}"\n')
    refused = project.cli("-c", str(other), "web")
    assert refused.returncode == 6
    assert f"the dashboard of test ({project.root}) listens on 127.0.0.1:{port}" in refused.stderr


def test_the_dashboard_serves_a_unix_socket_of_its_owner_alone(project: Project) -> None:
    project.configure('[web]\nlisten = "unix:.tako/web.sock"\nauth = "none"\n')
    project.serve()
    path = project.root / ".tako/web.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"GET /-/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
    assert project.stop() == 0
    assert not path.exists()
